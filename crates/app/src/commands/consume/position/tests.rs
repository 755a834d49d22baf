use super::*;

#[test]
fn places() {
    let parse = |text| Start::parse(text).ok();
    assert_eq!(parse("beginning"), Some(Start::Beginning));
    assert_eq!(parse("end"), Some(Start::End));
    assert_eq!(parse("17"), Some(Start::Offset(17)));
    assert_eq!(parse("-5"), Some(Start::Last(5)));
    // `date -u -d TIME +%s` says so.
    assert_eq!(parse("2026-01-31T12:00:00Z"), Some(Start::Time(1_769_860_800_000)));
    assert_eq!(parse("2024-02-29T23:59:59.5Z"), Some(Start::Time(1_709_251_199_500)));
    assert_eq!(parse("1970-01-01"), Some(Start::Time(0)));
    for wrong in ["yesterday", "2026-13-01", "2026-01-31T12:00:00", "2026-01-31T25:00:00Z", "2026-01", ""] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}
