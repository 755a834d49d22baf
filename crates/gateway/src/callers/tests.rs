use super::*;

fn callers() -> Callers {
    let hosts = ["Levada.internal".to_owned()];
    let origins = ["https://shop.example/".to_owned()];
    Callers::new(&hosts, &origins, "http://node-1.example:8080")
}

fn judged(method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Verdict, u16> {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    callers().judge(&method, &path.parse().unwrap(), &all).map_err(|problem| problem.details().status)
}

const DISCARD: &str = "/v1/subscriptions/orders/mailer/parked/discard";

#[test]
fn only_names_that_are_served_are_answered() {
    for host in [
        "127.0.0.1:8080",
        "localhost",
        "LOCALHOST:8080",
        "[::1]:8080",
        "10.1.2.3",
        "levada.internal:80",
        "node-1.example",
    ] {
        assert_eq!(judged(Method::GET, "/v1/categories", &[("host", host)]), Ok(Verdict::Program), "{host}");
    }
    for host in
        ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", ":8080"]
    {
        assert_eq!(judged(Method::GET, "/v1/categories", &[("host", host)]), Err(421), "{host}");
    }
    // HTTP/1.0 needs none, and no browser leaves it out.
    assert_eq!(judged(Method::GET, "/v1/categories", &[]), Ok(Verdict::Program));
    assert_eq!(judged(Method::GET, "/v1/categories", &[("origin", "http://evil.example")]), Err(403));
    assert_eq!(judged(Method::GET, "/v1/categories", &[("host", "localhost"), ("host", "evil")]), Err(400));
    // HTTP/2 names it in the address.
    assert_eq!(judged(Method::GET, "http://evil.example/v1/categories", &[]), Err(421));
    assert_eq!(judged(Method::GET, "http://localhost:8080/v1/categories", &[]), Ok(Verdict::Program));
    // Whoever watches over the process names it as it likes.
    assert_eq!(judged(Method::GET, "/healthz", &[("host", "evil.example")]), Ok(Verdict::Program));
}

#[test]
fn a_page_of_another_origin_may_not_ask_by_any_method_or_type() {
    let host = ("host", "127.0.0.1:8080");
    for origin in [
        "http://evil.example",
        "http://127.0.0.1:3000",
        "https://127.0.0.1:8080.evil.example",
        "null",
        "http://localhost:8080",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
            assert_eq!(judged(method, DISCARD, &[host, ("origin", origin)]), Err(403), "{origin}");
        }
        let grpc_web = [host, ("origin", origin), ("content-type", "application/grpc-web+proto")];
        assert_eq!(judged(Method::POST, "/levada.events.v1.Events/Append", &grpc_web), Err(403), "{origin}");
    }
    let own = [host, ("origin", "http://127.0.0.1:8080")];
    assert_eq!(judged(Method::POST, DISCARD, &own), Ok(Verdict::Program));
    assert_eq!(judged(Method::POST, DISCARD, &[host]), Ok(Verdict::Program));
}

#[test]
fn what_a_page_has_loaded_without_saying_who_it_is_is_refused_and_a_link_to_a_page_is_followed() {
    let host = ("host", "127.0.0.1:8080");
    for site in ["cross-site", "same-site"] {
        let headers = [host, ("sec-fetch-site", site)];
        assert_eq!(judged(Method::GET, "/v1/subscriptions/orders/mailer/events", &headers), Err(403));
        assert_eq!(judged(Method::POST, "/docs", &headers), Err(403));
        assert_eq!(judged(Method::GET, "/docs", &headers), Ok(Verdict::Program));
    }
    for site in ["none", "same-origin"] {
        assert_eq!(judged(Method::GET, DISCARD, &[host, ("sec-fetch-site", site)]), Ok(Verdict::Program));
    }
}

#[test]
fn a_page_that_is_allowed_may_ask_and_read() {
    let host = ("host", "127.0.0.1:8080");
    let verdict = judged(Method::POST, DISCARD, &[host, ("origin", "https://shop.example")]).unwrap();
    assert_eq!(verdict, Verdict::Page(HeaderValue::from_static("https://shop.example")));
    let asked = HeaderMap::from_iter([
        (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT")),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("if-match")),
    ]);
    let answer = verdict.preflight(&Method::OPTIONS, &asked).unwrap();
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "if-match");
    assert!(verdict.preflight(&Method::POST, &asked).is_none());
    let answer = verdict.mark(StatusCode::OK.into_response());
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
    assert_eq!(answer.headers()[header::VARY], "origin");
    // What no page asks for says nothing of pages.
    assert!(Verdict::Program.mark(StatusCode::OK.into_response()).headers().is_empty());
}
