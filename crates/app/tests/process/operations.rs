//! What operators are given (rules, a dashboard) against what a server really exports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::server::{Server, levada};

fn deployed(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Every name of a metric in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_of_name(c));
    let is_metric = |word: &&str| word.starts_with("levada_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

/// Names of all samples.
fn exported(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

fn must(arguments: &[&str]) {
    let output = levada(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A gRPC call with this message, as bytes; whatever is answered.
async fn call(http: &str, method: &str, message: &[u8]) {
    let client: Client<_, Full<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    let request = Request::post(format!("http://{http}/levada.events.v1.Events/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::from(body))
        .unwrap();
    let answer = client.request(request).await.unwrap().map(Body::new);
    answer.into_body().collect().await.unwrap();
}

#[test]
fn every_metric_that_rules_and_dashboard_name_is_exported() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with_http(data.path());
    let (kafka, url) = (server.kafka.as_str(), format!("http://{}", server.http));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    server.wait_for_events(&runtime);

    // A bit of everything that is counted.
    must(&["topic", "create", "orders", "-p", "1", "-b", kafka]);
    must(&["group", "reset", "g", "--topic", "orders", "--to", "beginning", "--create", "-b", kafka]);
    assert!(!levada(&["consume", "nowhere", "-b", kafka]).status.success());
    must(&["events", "append", "shop", "cart-1", "--type", "Filled", "--data", "{}", "--url", &url]);
    must(&["events", "subscription", "create", "shop", "mailer", "--url", &url]);
    must(&["events", "subscription", "describe", "shop", "mailer", "--url", &url]);
    assert!(!levada(&["events", "read", "shop", "nobody", "--url", &url]).status.success());
    // A stream of the category `shop`, which is field 1.
    runtime.block_on(call(&server.http, "ReadStream", b"\x0a\x04shop\x12\x06cart-1"));
    runtime.block_on(call(&server.http, "ReadStream", b"\x0a\x04shop\x12\x06nobody"));

    let text = runtime.block_on(server.get("/metrics"));
    let exported = exported(&text);
    for wanted in ["OK", "NOT_FOUND"] {
        let sample = format!("method=\"levada.events.v1.Events/ReadStream\",code=\"{wanted}\"}} 1\n");
        assert!(text.contains(&sample), "{sample}: {text}");
    }
    let read = "route=\"/v1/streams/{category}/{stream}/events\",method=\"GET\",status=\"4xx\"} 1\n";
    assert!(text.contains(read), "{text}");
    for name in ["grafana-dashboard.json", "prometheus-rules.yml"] {
        let missing: Vec<String> = named(&deployed(name)).difference(&exported).cloned().collect();
        assert!(missing.is_empty(), "{name} names what is not exported: {missing:?} of {text}");
        assert!(named(&deployed(name)).len() > 10, "{name} was not read");
    }
    let standard =
        ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds"];
    for name in standard.into_iter().chain(["start_time_seconds", "threads"]) {
        assert!(exported.contains(&format!("process_{name}")), "{name}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: serde_json::Value = serde_json::from_str(&deployed("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    assert!(dashboard["uid"] == "levada" && dashboard["schemaVersion"].as_u64() >= Some(36));
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            assert!(!named(target["expr"].as_str().unwrap()).is_empty(), "{}", panel["title"]);
            assert_eq!(target["datasource"]["uid"], "${datasource}");
        }
    }
    // No two lie on one another.
    let place = |panel: &serde_json::Value, name: &str| panel["gridPos"][name].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    for panel in panels {
        for x in place(panel, "x")..place(panel, "x") + place(panel, "w") {
            for y in place(panel, "y")..place(panel, "y") + place(panel, "h") {
                assert!(x < 24 && taken.insert((x, y)), "{} is on another", panel["title"]);
            }
        }
    }
}
