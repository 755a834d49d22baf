//! `--from`: where reading begins.

use anyhow::{Context, bail, ensure};

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
    pub fn parse(text: &str) -> anyhow::Result<Start> {
        match text {
            "beginning" | "earliest" => return Ok(Start::Beginning),
            "end" | "latest" => return Ok(Start::End),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(if number < 0 { Start::Last(number.saturating_neg()) } else { Start::Offset(number) });
        }
        let time = timestamp(text).with_context(|| {
            format!(
                "--from `{text}`: give beginning, end, an offset, -N, or a time such as 2026-01-31T12:00:00Z"
            )
        })?;
        Ok(Start::Time(time))
    }
}

/// `2026-01-31T12:00:00Z`, with or without a fraction, in UTC; or the day alone.
fn timestamp(text: &str) -> anyhow::Result<i64> {
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let Some(time) = time.strip_suffix('Z') else { bail!("times are in UTC and end in Z") };
    let day: Vec<i64> = numbers(day, '-')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock: Vec<i64> = numbers(clock, ':')?;
    let ([year, month, day], [hour, minute, second]) = (&day[..], &clock[..]) else { bail!("not a time") };
    ensure!((1..=12).contains(month) && (1..=31).contains(day) && (0..=9999).contains(year), "not a day");
    ensure!(
        (0..24).contains(hour) && (0..60).contains(minute) && (0..=60).contains(second),
        "not a time of day"
    );
    let seconds = days_since_1970(*year, *month, *day) * 86_400 + hour * 3600 + minute * 60 + second;
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3).context("not a fraction")?.parse()?;
    Ok(seconds * 1000 + milliseconds)
}

fn numbers(text: &str, separator: char) -> anyhow::Result<Vec<i64>> {
    text.split(separator).map(|part| Ok(part.parse()?)).collect()
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
