use super::*;

#[test]
fn what_is_not_named_stays_as_it_is() {
    let present = json!({
        "anyOf": [{"types": ["OrderPlaced"]}], "ackTimeout": "5s", "maxAttempts": 2, "retryDelay": "5s",
        "maxInFlight": 256, "ordered": false,
    });
    assert_eq!(changed(present.clone(), &SubscriptionArgs::default(), None), present);
    let named = SubscriptionArgs { ack_timeout: Some("7s".to_owned()), ..SubscriptionArgs::default() };
    let mut wanted = present.clone();
    wanted["ackTimeout"] = "7s".into();
    assert_eq!(changed(present.clone(), &named, None), wanted);
    wanted["ordered"] = true.into();
    assert_eq!(changed(present, &named, Some(true)), wanted);
}

#[test]
fn a_filter_is_told() {
    for (one, told) in [
        (json!({}), "all events"),
        (json!({"anyOf": [{"types": ["A", "B"], "tags": ["x"]}]}), "type A or type B and tag x"),
        (json!({"anyOf": [{"types": ["A"]}, {"tags": ["x"]}]}), "(type A) or (tag x)"),
        (json!({"correlationId": "7"}), "correlation 7"),
    ] {
        assert_eq!(filter(&one), told);
    }
}
