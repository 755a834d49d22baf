//! What the page has filled in before anybody types: each works as it stands, in the order of the document.

use serde_json::{Value, json};

/// Parts of paths, by name.
fn of_path(name: &str) -> Option<&'static str> {
    Some(match name {
        "category" => "orders",
        "stream" => "order-1",
        "name" => "mailer",
        "type" => "OrderPlaced",
        "fromVersion" => "1",
        "subject" => "customer:7",
        "table" => "lv.upcasters",
        _ => return None,
    })
}

/// Bodies, by method and path.
fn of_body(method: &str, path: &str) -> Option<Value> {
    let placed = json!({
        "type": "OrderPlaced", "data": {"total": 12.5, "name": "Ada"}, "tags": ["customer:7"],
        "subject": "customer:7", "personal": ["/name"]
    });
    Some(match (method, path) {
        ("post", "/v1/tables/{table}/repair") => json!({"action": "restore"}),
        ("put", "/v1/categories/{category}") => json!({"partitions": 16}),
        ("post", "/v1/streams/{category}/{stream}/events") => placed,
        ("post", "/v1/categories/{category}/append") => json!({
            "boundary": "customer-7",
            "streams": [
                {"stream": "order-2", "events": [{"type": "OrderPlaced", "data": {"total": 3.5}}]},
                {"stream": "bill-2", "events": [{"type": "BillSent", "data": {"total": 3.5}}]}
            ],
            "conditions": [{"failIfEventsMatch": [{"types": ["CustomerBlocked"], "tags": ["customer:7"]}]}]
        }),
        ("post", "/v1/categories/{category}/query") => {
            json!({"anyOf": [{"types": ["OrderPlaced"], "tags": ["customer:7"]}], "limit": 10})
        }
        ("put", "/v1/streams/{category}/{stream}/snapshot") => {
            json!({"version": 1, "data": {"total": 12.5}})
        }
        ("post", "/v1/streams/{category}/{stream}/truncate") => json!({"before": 2, "archive": true}),
        ("put", "/v1/upcasters/{type}/{fromVersion}") => json!({
            "patch": [{"op": "move", "from": "/sum", "path": "/total"}],
            "defaults": {"currency": "EUR"},
            "example": {"sum": 12.5}
        }),
        ("post", "/v1/erasure/{subject}") => json!({"reason": "request 4711"}),
        ("put", "/v1/subscriptions/{category}/{name}") => {
            json!({"anyOf": [{"types": ["OrderPlaced"]}], "ackTimeout": "30s", "maxAttempts": 10})
        }
        ("post", "/v1/subscriptions/{category}/{name}/pull") => json!({"max": 10, "wait": "1s"}),
        // What a pull gave goes there.
        ("post", "/v1/subscriptions/{category}/{name}/ack") => json!({"deliveries": []}),
        ("post", "/v1/subscriptions/{category}/{name}/nack") => {
            json!({"deliveries": [], "action": "retry", "delay": "5s", "reason": "no connection"})
        }
        ("post", "/v1/subscriptions/{category}/{name}/reset") => json!({"from": "beginning"}),
        (
            "post",
            "/v1/subscriptions/{category}/{name}/parked/replay"
            | "/v1/subscriptions/{category}/{name}/parked/discard",
        ) => json!({}),
        // Refused unless the partition has halted there.
        ("post", "/v1/categories/{category}/repair") => {
            json!({"action": "pass-over", "partition": 3, "offset": 17, "reason": "written by a test"})
        }
        _ => return None,
    })
}

/// Puts them into the document.
pub fn fill(document: &mut Value) {
    for (path, method, operation) in operations(document) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            if parameter["in"] == "path"
                && let Some(example) = of_path(&name)
            {
                parameter["example"] = example.into();
            }
        }
        let content = operation.get_mut("requestBody").and_then(|body| body["content"].as_object_mut());
        if let (Some(content), Some(example)) = (content, of_body(&method, &path)) {
            content.values_mut().for_each(|content| content["example"] = example.clone());
        }
    }
}

/// Path, method, and what is described of it.
pub fn operations(document: &mut Value) -> impl Iterator<Item = (String, String, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let item = item.as_object_mut().into_iter().flatten();
        item.filter(|(method, _)| matches!(method.as_str(), "get" | "put" | "post" | "delete"))
            .map(move |(method, operation)| (path.clone(), method.clone(), operation))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is described, as it is served.
    fn document() -> Value {
        let mut document = serde_json::to_value(crate::events::document()).unwrap();
        fill(&mut document);
        document
    }

    #[test]
    fn an_operation_without_parameters_has_none() {
        let mut document = document();
        for (path, method, operation) in operations(&mut document) {
            let is_list = operation.get("parameters").is_none_or(Value::is_array);
            assert!(is_list, "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_in_a_path_is_not_described_as_if_it_were() {
        let mut document = document();
        let mut count = 0;
        for (path, method, operation) in operations(&mut document) {
            for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let is_in_path = path.contains(&format!("{{{name}}}"));
                assert_eq!(is_in_path, parameter["in"] == "path", "{method} {path}: {name}");
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn everything_that_must_be_filled_in_is() {
        let mut document = document();
        for (path, method, operation) in operations(&mut document) {
            for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let is_filled = parameter["in"] != "path" || parameter["example"].is_string();
                assert!(is_filled, "{method} {path}: {}", parameter["name"]);
            }
            if let Some(body) = operation.get("requestBody") {
                let content = body["content"].as_object().unwrap();
                assert!(content.values().all(|it| it["example"].is_object()), "{method} {path}");
            }
        }
    }
}
