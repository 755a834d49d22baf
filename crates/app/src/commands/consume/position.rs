//! Places in a log as users name them: `--from` of consume, `--to` of group reset.

use anyhow::{Context, bail, ensure};
use model::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
    Offset(i64),
    /// So many before the end, in each partition.
    Last(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

impl Start {
    /// `flag` is the one that the text was given to, for what is said about it.
    pub fn parse(flag: &str, text: &str, now: Timestamp) -> anyhow::Result<Start> {
        match text {
            "beginning" | "earliest" => return Ok(Start::Beginning),
            "end" | "latest" => return Ok(Start::End),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(if number < 0 { Start::Last(number.saturating_neg()) } else { Start::Offset(number) });
        }
        if let Some(ago) = duration_ms(text) {
            return Ok(Start::Time(now.0.saturating_sub(ago)));
        }
        let begins_like_a_day = text.len() > 4 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
        if begins_like_a_day {
            return timestamp(text).map(Start::Time).with_context(|| format!("{flag} `{text}`"));
        }
        bail!(
            "{flag} `{text}`: give beginning, end, an offset, -N for the last N, a time such as 2026-01-31T12:00:00Z, \
             or how long ago, such as 1h"
        )
    }
}

/// `90s`, `15m`, `1h`, `2d`, `500ms`.
fn duration_ms(text: &str) -> Option<i64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let number: i64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// `2026-01-31T12:00:00Z` or `…+01:00`, with or without seconds and a fraction; or the day alone, in UTC.
fn timestamp(text: &str) -> anyhow::Result<i64> {
    let (day, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let (time, offset_minutes) = zone(time)?;
    let day: Vec<i64> = numbers(day, '-').context("a day is written as 2026-01-31")?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock: Vec<i64> = numbers(clock, ':').context("a time of day is written as 12:00:00")?;
    if clock.len() == 2 {
        clock.push(0);
    }
    let ([year, month, day], [hour, minute, second]) = (&day[..], &clock[..]) else {
        bail!("a time is written as 2026-01-31T12:00:00Z")
    };
    ensure!((0..=9999).contains(year) && (1..=12).contains(month), "there is no such month");
    ensure!((1..=days_of_month(*year, *month)).contains(day), "the month has no such day");
    ensure!(
        (0..24).contains(hour) && (0..60).contains(minute) && (0..=60).contains(second),
        "there is no such time of day"
    );
    let seconds = days_since_1970(*year, *month, *day) * 86_400 + hour * 3600 + minute * 60 + second;
    let fraction = format!("{fraction:0<3}");
    ensure!(fraction.bytes().all(|byte| byte.is_ascii_digit()), "the fraction of a second is no number");
    let milliseconds: i64 = fraction[..3].parse()?;
    Ok((seconds - offset_minutes * 60) * 1000 + milliseconds)
}

/// The time of day without its zone, and how many minutes the zone is ahead of UTC.
fn zone(time: &str) -> anyhow::Result<(&str, i64)> {
    if let Some(utc) = time.strip_suffix(['Z', 'z']) {
        return Ok((utc, 0));
    }
    let at = time.rfind(['+', '-']);
    let at = at.context("say in which zone: end with Z for UTC, or with an offset such as +01:00")?;
    let (clock, offset) = time.split_at(at);
    let digits = offset[1..].replace(':', "");
    ensure!(
        digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()),
        "an offset from UTC is written as +01:00"
    );
    let (hours, minutes): (i64, i64) = (digits[..2].parse()?, digits[2..].parse()?);
    ensure!(hours <= 23 && minutes < 60, "there is no such offset from UTC");
    let minutes = hours * 60 + minutes;
    Ok((clock, if offset.starts_with('-') { -minutes } else { minutes }))
}

fn numbers(text: &str, separator: char) -> anyhow::Result<Vec<i64>> {
    let number = |part: &str| {
        ensure!(!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()), "`{part}` is no number");
        Ok(part.parse()?)
    };
    text.split(separator).map(number).collect()
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_since_1970(next_year, next_month, 1) - days_since_1970(year, month, 1)
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
