//! Who may ask: programs, and pages that this door has served or that are allowed. Other pages may not, whatever browser
//! shows them.
//!
//! A browser sends requests to a developer's machine for any page that it shows. It says which page asks (`Origin`,
//! Fetch Metadata), and by which name it has found the door (`Host`): a page of a stranger can have its own name mean
//! 127.0.0.1 (DNS rebinding), but not have the browser say another name. Programs send no `Origin`, and pass.
//!
//! ```text
//! Host      an IP address, localhost, the name of levada.http.advertised.url, one of levada.http.hosts; else 421
//! Origin    the same host and port as Host, one of levada.http.origins; else 403
//! Sec-Fetch-Site cross-site, same-site without Origin: only for pages (GET /, /docs, …), else 403
//! ```
//!
//! `/healthz` and `/readyz` answer everybody: they tell nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::Problem;

/// How long a browser may remember what it was allowed.
const PREFLIGHT_AGE_SECONDS: &str = "600";

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of answers that a page of another origin may read.
const EXPOSED: &str = "etag, levada-position, location, retry-after";

/// Which callers are served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callers {
    /// Names in lower case, without port. `*`: whatever they ask for.
    pub hosts: Vec<String>,
    /// As browsers send them, such as `https://shop.example`. `*`: any.
    pub origins: Vec<String>,
}

/// What is done for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Program,
    /// It is answered, and the answer is for a page of this origin.
    Page(HeaderValue),
}

impl Callers {
    /// `advertised`: the URL by which others reach this door, or nothing.
    pub fn new(hosts: &[String], origins: &[String], advertised: &str) -> Callers {
        let advertised: Option<Uri> = advertised.parse().ok();
        let advertised = advertised.and_then(|url| url.host().map(str::to_owned));
        let lower = |name: String| name.to_ascii_lowercase();
        let hosts = hosts.iter().cloned().chain(advertised).map(lower).collect();
        let origins =
            origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Callers { hosts, origins }
    }

    /// Whether a request is to be answered, and for whom.
    pub fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Verdict, Problem> {
        if matches!(uri.path(), "/healthz" | "/readyz") {
            return Ok(Verdict::Program);
        }
        let authority = self.authority(uri, headers)?;
        match headers.get(header::ORIGIN) {
            Some(origin) => self.judge_page(origin, &authority),
            None if is_foreign_navigation(method, uri, headers) => Err(refuse_page(
                "a page of another site".to_owned(),
                "the browser says that another site has this asked",
            )),
            None => Ok(Verdict::Program),
        }
    }

    /// The name and port by which whoever asks has found this door.
    fn authority(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
        let mut named = headers.get_all(header::HOST).iter();
        let host = named.next().map(|host| host.to_str().unwrap_or_default());
        if named.next().is_some() {
            return Err(Problem::invalid("the header Host is there more than once"));
        }
        // Only programs say none (HTTP/1.0).
        if host.is_none() && uri.authority().is_none() {
            return Ok(String::new());
        }
        // HTTP/2 has it in the address.
        let authority =
            uri.authority().map(|it| it.as_str()).or(host).unwrap_or_default().to_ascii_lowercase();
        let name = without_port(&authority);
        let is_known = |known: &String| known == "*" || known == name;
        if name == "localhost" || is_address(name) || self.hosts.iter().any(is_known) {
            return Ok(authority);
        }
        let title = "This name is not served";
        let detail = format!(
            "this door is not called `{name}`: ask for its address, or allow the name with --set levada.http.hosts={name}"
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host-not-served", title, detail))
    }

    fn judge_page(&self, origin: &HeaderValue, authority: &str) -> Result<Verdict, Problem> {
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_same =
            ["http://", "https://"].iter().any(|scheme| text.strip_prefix(scheme) == Some(authority));
        if is_same {
            return Ok(Verdict::Program);
        }
        if self.origins.iter().any(|known| known == "*" || *known == text) {
            return Ok(Verdict::Page(origin.clone()));
        }
        let name = if text.is_empty() { "an unnamed one".to_owned() } else { text };
        let advice = format!("allow it with --set levada.http.origins={name}");
        Err(refuse_page(format!("the page of {name}"), &advice))
    }
}

impl Verdict {
    /// The answer to the question of a browser whether a page may ask; None: it is no such question.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let Verdict::Page(_) = self else { return None };
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let all = response.headers_mut();
        all.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"),
        );
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            all.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        all.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE_SECONDS));
        Some(self.mark(response))
    }

    /// Says on an answer which page may read it.
    pub fn mark(&self, mut response: Response) -> Response {
        if let Verdict::Page(origin) = self {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }
}

/// Whether a browser asks because a page of another site has it ask, without saying which: an image, a form, a link. Links
/// to pages are followed.
fn is_foreign_navigation(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let site = headers.get(SITE).and_then(|site| site.to_str().ok()).unwrap_or("none");
    let is_page = method == Method::GET && !uri.path().starts_with("/v1/") && uri.path() != "/metrics";
    !matches!(site, "none" | "same-origin") && !is_page
}

fn refuse_page(who: String, advice: &str) -> Problem {
    let title = "Pages of other origins may not ask";
    let detail = format!("{who} may not ask here: {advice}");
    Problem::new(StatusCode::FORBIDDEN, "foreign-origin", title, detail)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => authority,
    }
}

fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    bare.is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok())
        || name.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests;
