use std::collections::BTreeSet;

use super::*;

/// All that is described, as it is served.
fn document() -> Value {
    let mut document = serde_json::to_value(crate::events::document()).unwrap();
    fill(&mut document);
    document
}

#[test]
fn every_problem_is_described_as_it_comes() {
    let mut document = document();
    for (path, method, operation) in operations(&mut document) {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("default"), "{method} {path}");
        let has_body = operation.get("requestBody").is_some();
        assert!(
            !has_body || responses.contains_key("400") && responses.contains_key("415"),
            "{method} {path}"
        );
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            let content = response["content"].as_object().unwrap();
            assert_eq!(content.keys().collect::<Vec<_>>(), [PROBLEM], "{method} {path} {status}");
            let example = &content[PROBLEM]["example"];
            let told = example["status"].as_u64().unwrap();
            assert_eq!(told, status.parse().unwrap_or(503), "{method} {path}");
        }
    }
    assert!(document["components"]["schemas"]["ProblemDetails"].is_object());
    assert_eq!(document["servers"][0]["url"], "/");
}

#[test]
fn operations_have_names_of_their_own_that_say_what_they_do() {
    let mut document = document();
    let mut seen = BTreeSet::new();
    for (path, method, operation) in operations(&mut document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(name.contains('_'), "{method} {path} is only called {name}");
        assert!(seen.insert(name.clone()), "{method} {path}: {name} is there twice");
    }
}

#[test]
fn what_is_limited_says_how_far_and_what_is_one_of_few_says_which() {
    let mut document = document();
    let (mut limits, mut directions) = (0, 0);
    for (path, method, operation) in operations(&mut document) {
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let schema = &parameter["schema"];
            if parameter["name"] == "limit" {
                let known = (&schema["minimum"], &schema["maximum"]);
                assert_eq!(known, (&json!(1), &json!(1000)), "{method} {path}: {parameter}");
                limits += 1;
            }
            if parameter["name"] == "direction" {
                assert!(parameter.to_string().contains(r#"["forward","backward"]"#), "{parameter}");
                directions += 1;
            }
            assert!(parameter["in"] != "path" || parameter["description"].is_string(), "{method} {path}");
        }
    }
    assert_eq!((limits, directions), (5, 1));
}
