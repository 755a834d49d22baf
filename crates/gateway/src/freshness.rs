//! How fresh a read must be, in headers that all patterns share.
//!
//! ```text
//! Levada-Position      on every answer: at least this fresh. Opaque; hand it on as it is
//! Levada-Min-Position  on a read: wait until it is at least as fresh
//! Levada-Wait          how long, such as 500ms or 2s
//! Levada-Consistency   strong: as fresh as the log is now; owner (the default): as fresh as what was answered here
//! ```

use std::time::Duration;

use axum::http::HeaderMap;
use client::Position;
use events::Freshness;

use crate::{Problem, duration};

pub const POSITION: &str = "levada-position";
const MIN_POSITION: &str = "levada-min-position";
const WAIT: &str = "levada-wait";
const CONSISTENCY: &str = "levada-consistency";

/// What a read waits for the position that it asks for, unless it says.
const WAIT_DEFAULT: Duration = Duration::from_secs(2);
/// And at most.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

pub fn of(headers: &HeaderMap) -> Result<Freshness, Problem> {
    let text = |name: &str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Problem::invalid(format!("header {name} is no text"))),
    };
    let at_least = match text(MIN_POSITION)? {
        None => Position::default(),
        Some(text) => {
            text.parse().map_err(|error| Problem::invalid(format!("header {MIN_POSITION}: {error}")))?
        }
    };
    let wait = match text(WAIT)? {
        None => WAIT_DEFAULT,
        Some(text) => duration::parse(text).filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
            let max = WAIT_MAX.as_secs();
            Problem::invalid(format!("header {WAIT}: write 500ms or 2s, at most {max}s, not `{text}`"))
        })?,
    };
    let is_strong = match text(CONSISTENCY)? {
        None | Some("owner") => false,
        Some("strong") => true,
        Some(other) => {
            return Err(Problem::invalid(format!(
                "header {CONSISTENCY}: strong or owner (the default), not `{other}`"
            )));
        }
    };
    Ok(Freshness { at_least, is_strong, wait })
}
