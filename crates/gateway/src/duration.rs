//! Durations as people write them: `500ms`, `30s`, `5m`, `1h`.

use std::time::Duration;

pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// In the largest unit that says it in whole numbers.
pub fn write(duration: Duration) -> String {
    let millis = duration.as_millis();
    match [(3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (text, millis) in
            [("0ms", 0), ("500ms", 500), ("30s", 30_000), ("90s", 90_000), ("2h", 7_200_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)));
            assert_eq!(write(Duration::from_millis(millis)), text);
        }
        for text in
            ["", "5", "s", "-5s", "1.5s", "5 s", "5d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
