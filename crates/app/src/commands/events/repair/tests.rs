use super::*;

#[test]
fn what_is_wrong_is_told_once_and_with_what_to_type() {
    let trouble =
        json!({"category": "orders", "partition": 3, "offset": 17, "why": "at offset 17: no owner wrote it"});
    let lines = told(&trouble);
    assert_eq!(lines[0], "orders 3.17: no owner wrote it");
    assert!(lines[1].starts_with("  levada events repair orders --pass-over 3.17 "), "{}", lines[1]);
    assert!(lines[2].starts_with("  levada events repair orders --adopt 3.17 --type TYPE "), "{}", lines[2]);
    let lines = told(&json!({"category": "orders", "why": "its topic was deleted"}));
    assert!(lines.iter().any(|line| line.contains("repair orders --give-up")), "{lines:?}");
    let lines = told(&json!({"table": "lv.upcasters", "why": "lv.upcasters was deleted"}));
    assert!(lines.iter().any(|line| line.contains("--table lv.upcasters --restore")), "{lines:?}");
}
