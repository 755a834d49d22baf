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

#[test]
fn what_the_broker_has_said_itself_is_not_said_again() {
    let refused =
        anyhow!("num.partitions is read when the broker starts: set it there and restart (INVALID_REQUEST)");
    let told = hinted(refused, BROKER_RESOURCE, &["num.partitions".to_owned()]).to_string();
    assert!(!told.contains("counts from a start on"), "{told}");
}

#[test]
fn a_star_stands_for_anything() {
    for (asked, name, is) in [
        ("log.retention.ms", "log.retention.ms", true),
        ("log.*", "log.retention.ms", true),
        ("*.ms", "log.retention.ms", true),
        ("log.*.ms", "log.retention.ms", true),
        ("log.*", "num.partitions", false),
        ("*", "num.partitions", true),
    ] {
        assert_eq!(is_named(asked, name), is, "{asked}");
    }
}
