use super::*;

const NOW: Timestamp = Timestamp(1_769_860_800_000);

fn parse(text: &str) -> Option<Start> {
    Start::parse("--from", text, NOW).ok()
}

fn refused(text: &str) -> String {
    format!("{:#}", Start::parse("--from", text, NOW).expect_err(text))
}

#[test]
fn places() {
    assert_eq!(parse("beginning"), Some(Start::Beginning));
    assert_eq!(parse("end"), Some(Start::End));
    assert_eq!(parse("17"), Some(Start::Offset(17)));
    assert_eq!(parse("-5"), Some(Start::Last(5)));
    // `date -u -d TIME +%s` says so.
    assert_eq!(parse("2026-01-31T12:00:00Z"), Some(Start::Time(1_769_860_800_000)));
    assert_eq!(parse("2024-02-29T23:59:59.5Z"), Some(Start::Time(1_709_251_199_500)));
    assert_eq!(parse("1970-01-01"), Some(Start::Time(0)));
    let wrong = ["yesterday", "2026-13-01", "2026-01-31T12:00:00", "2026-01-31T25:00:00Z", "2026-01", ""];
    for wrong in
        wrong.into_iter().chain(["2026-02-30", "2026-01-31T12:00:00+1", "2026-01-31T12:00:00.xZ", "1y"])
    {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_time_may_carry_its_offset_from_utc() {
    let noon = Some(Start::Time(1_769_860_800_000));
    assert_eq!(parse("2026-01-31T13:00:00+01:00"), noon);
    assert_eq!(parse("2026-01-31T06:30-0530"), noon);
    assert_eq!(parse("2026-01-31 12:00:00.000Z"), noon);
}

#[test]
fn a_time_may_be_how_long_ago() {
    assert_eq!(parse("1h"), Some(Start::Time(NOW.0 - 3_600_000)));
    assert_eq!(parse("30m"), Some(Start::Time(NOW.0 - 1_800_000)));
    assert_eq!(parse("2d"), Some(Start::Time(NOW.0 - 172_800_000)));
}

#[test]
fn what_is_wrong_is_said() {
    assert!(refused("yesterday").contains("such as 1h"), "{}", refused("yesterday"));
    assert!(!refused("yesterday").contains("UTC"), "it is no time at all: {}", refused("yesterday"));
    let no_zone = refused("2026-01-31T12:00:00");
    assert!(no_zone.contains("end with Z for UTC"), "{no_zone}");
    assert!(refused("2026-02-30").contains("no such day"), "{}", refused("2026-02-30"));
}
