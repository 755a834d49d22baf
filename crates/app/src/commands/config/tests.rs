use super::*;

/// Kafka's number for a topic.
const TOPIC: i8 = 2;

#[test]
fn a_setting_that_is_looked_for_in_the_wrong_place_is_told_where_it_is() {
    let cases = [
        (BROKER_RESOURCE, "retention.ms", "`levada topic alter TOPIC --set retention.ms=VALUE`"),
        (BROKER_RESOURCE, "retention.ms", "log.retention.ms is what counts for topics that set nothing"),
        (BROKER_RESOURCE, "listeners", "counts from a start on"),
        (BROKER_RESOURCE, "consumer.session.timeout.ms", "add --group GROUP"),
        (GROUP_RESOURCE, "log.retention.ms", "leave --group out"),
        (TOPIC, "log.retention.ms", "a topic's own is retention.ms"),
        (TOPIC, "consumer.session.timeout.ms", "levada config set --group GROUP"),
    ];
    for (kind, name, wanted) in cases {
        let told = hint(kind, name).unwrap_or_default();
        assert!(told.contains(wanted), "{name}: {told}");
    }
    for (kind, name) in
        [(BROKER_RESOURCE, "log.retention.ms"), (TOPIC, "retention.ms"), (BROKER_RESOURCE, "x")]
    {
        assert_eq!(hint(kind, name), None, "{name}");
    }
}

#[test]
fn a_guess_that_points_elsewhere_is_left_out() {
    let refused =
        anyhow!("unknown name: log.retention.ms; did you mean local.retention.ms? (INVALID_CONFIG)");
    let told = hinted(refused, TOPIC, &["log.retention.ms".to_owned()]).to_string();
    assert!(
        told.starts_with("unknown name: log.retention.ms (INVALID_CONFIG). log.retention.ms is"),
        "{told}"
    );
    let refused = anyhow!("unknown name: x; did you mean y?");
    assert_eq!(hinted(refused, TOPIC, &["x".to_owned()]).to_string(), "unknown name: x; did you mean y?");
}
