use prometheus_client::encoding::text;

use super::*;

fn shown(traffic: &TopicTraffic) -> String {
    let mut registry = Registry::default();
    traffic.register(&mut registry);
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("a string takes everything");
    out
}

#[test]
fn topics_beyond_the_limit_are_counted_together() {
    let traffic = TopicTraffic::default();
    for number in 0..TOPICS_MAX + 5 {
        traffic.of(&format!("t{number}")).produced(10, 2);
    }
    traffic.of("t3").fetched(7, 1);
    let text = shown(&traffic);
    assert_eq!(text.matches("topic_produced_bytes_total{").count(), TOPICS_MAX + 1);
    assert!(text.contains("topic_produced_bytes_total{topic=\"(others)\"} 50"), "{text}");
    assert!(text.contains("topic_produced_records_total{topic=\"(others)\"} 10"), "{text}");
    assert!(text.contains("topic_fetched_bytes_total{topic=\"t3\"} 7"), "{text}");
}

#[test]
fn a_deleted_topic_gives_its_place_to_another() {
    let traffic = TopicTraffic::default();
    for number in 0..TOPICS_MAX {
        traffic.of(&format!("t{number}")).produced(10, 2);
    }
    traffic.forget_unless(|name| name != "t7");
    traffic.of("late").produced(3, 1);
    let text = shown(&traffic);
    assert!(!text.contains("topic=\"t7\""), "{text}");
    assert!(text.contains("topic_produced_bytes_total{topic=\"late\"} 3"), "{text}");
    assert!(!text.contains("(others)"), "{text}");
}
