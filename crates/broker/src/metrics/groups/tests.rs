use super::*;

fn seen(numbers: impl Iterator<Item = usize>) -> Seen {
    let mut seen = Seen::default();
    for number in numbers {
        let group = format!("g{number:05}");
        let label = OfPartition { group: group.clone(), topic: "t".into(), partition: "0".into() };
        seen.lags.insert(label, 3);
        seen.members.insert(OfGroup { group }, 2);
    }
    seen
}

fn shown(gauges: &GroupGauges) -> String {
    let mut registry = Registry::default();
    gauges.register(&mut registry);
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry).expect("a string takes everything");
    out
}

#[test]
fn groups_beyond_the_limit_are_counted_together() {
    let mut gauges = GroupGauges::default();
    gauges.set(seen(0..LAGS_MAX + 5));
    let text = shown(&gauges);
    assert_eq!(text.matches("group_members{").count(), GROUPS_MAX + 1);
    assert_eq!(text.matches("group_lag{").count(), LAGS_MAX + 1);
    let of_others = format!("group_members{{group=\"(others)\"}} {}", (LAGS_MAX + 5 - GROUPS_MAX) * 2);
    assert!(text.contains(&of_others), "{of_others}");
    let others = "group_lag{group=\"(others)\",topic=\"(others)\",partition=\"(others)\"} 15";
    assert!(text.contains(others), "{others}");
}

#[test]
fn a_group_keeps_its_label_when_others_come_and_gives_it_away_when_it_goes() {
    let mut gauges = GroupGauges::default();
    gauges.set(seen(1..=GROUPS_MAX));
    gauges.set(seen(0..=GROUPS_MAX));
    assert!(!shown(&gauges).contains("group_members{group=\"g00000\"}"), "it came last");
    gauges.set(seen((0..=GROUPS_MAX).filter(|number| *number != 7)));
    let text = shown(&gauges);
    assert!(text.contains("group_members{group=\"g00000\"} 2"));
    assert!(!text.contains("\"g00007\"") && !text.contains("group_members{group=\"(others)\"}"));
}

#[test]
fn a_group_with_a_very_long_name_has_no_label() {
    let mut gauges = GroupGauges::default();
    let mut seen = Seen::default();
    seen.members.insert(OfGroup { group: "x".repeat(NAME_BYTES_MAX + 1) }, 4);
    gauges.set(seen);
    assert!(shown(&gauges).contains("group_members{group=\"(others)\"} 4"));
}
