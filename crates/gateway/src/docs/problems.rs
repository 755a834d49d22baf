//! What every operation answers where something is wrong, as it is described: one shape, one media type, and an example
//! for each status.

use serde_json::{Value, json};

use super::examples::operations;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The name of the problem, its title and detail, by status.
fn example(status: &str) -> (&'static str, &'static str, &'static str) {
    match status {
        "400" => ("invalid-request", "The request cannot be taken", "`type` is missing"),
        "404" => ("not-found", "It is not there", "there is no category orders"),
        "409" => ("id-taken", "An event id is taken", "event id 17 is taken by an event of stream order-2"),
        "412" => (
            "wrong-version",
            "The stream has another version",
            "stream order-1 is at version 2, expected was 1",
        ),
        "413" => ("too-large", "Too large", "the body is larger than a request may be"),
        "415" => (
            "unsupported-media-type",
            "The body is no JSON",
            "send JSON, with the header Content-Type: application/json",
        ),
        _ => ("unavailable", "Not now", "partition 3 of orders.events has no owner just now"),
    }
}

/// Details of a problem of this status; that of `default` is any.
fn problem(status: &str, description: &str) -> Value {
    let (name, title, detail) = example(status);
    json!({
        "description": description,
        "content": {PROBLEM: {
            "schema": {"$ref": "#/components/schemas/ProblemDetails"},
            "example": {
                "type": format!("urn:levada:problem:{name}"), "title": title,
                "status": status.parse::<u16>().unwrap_or(503), "detail": detail,
            },
        }},
    })
}

/// What the parts of a path and the headers of answers are.
fn description(name: &str) -> Option<&'static str> {
    Some(match name {
        "category" => "Name of the category, such as `orders` or `shop.orders`",
        "stream" => "Id of the stream",
        "name" => "Name of the subscription",
        "type" => "Type of the events",
        "fromVersion" => "The schema version that it lifts",
        "subject" => "Whose data",
        "table" => "The store's own topic, such as `lv.upcasters`",
        _ => return None,
    })
}

/// Puts them into the document.
pub fn fill(document: &mut Value) {
    for (_, _, operation) in operations(document) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        let mut takes = operation_takes(parameters.as_deref().map(Vec::as_slice));
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            if parameter["in"] == "path"
                && parameter["description"].as_str().unwrap_or_default().is_empty()
                && let Some(text) = description(&name)
            {
                parameter["description"] = text.into();
            }
        }
        let has_body = operation.get("requestBody").is_some();
        takes |= has_body;
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
        if takes && !responses.contains_key("400") {
            responses
                .insert("400".to_owned(), problem("400", "It cannot be understood, or says what cannot be"));
        }
        if has_body {
            responses.insert("415".to_owned(), problem("415", "The body is no JSON"));
        }
        for (status, response) in responses.iter_mut() {
            let headers = response.get_mut("headers").and_then(Value::as_object_mut);
            if let Some(position) = headers.and_then(|headers| headers.get_mut("Levada-Position")) {
                position["description"] =
                    "What was answered; a read with it as Levada-Min-Position is at least as fresh".into();
            }
            if status.starts_with(['4', '5']) && response["content"].get(JSON).is_some() {
                let text = response["description"].as_str().unwrap_or_default().to_owned();
                *response = problem(status, &text);
            }
        }
        responses.insert("default".to_owned(), problem("default", "Anything else that is wrong"));
    }
}

/// Whether there is anything in the parameters that could be wrong.
fn operation_takes(parameters: Option<&[Value]>) -> bool {
    parameters.is_some_and(|parameters| !parameters.is_empty())
}

#[cfg(test)]
mod tests;
