//! From the text that a table stores to the type that code works with.

use std::time::Duration;

/// Reads a value that [`Kind::normalise`](crate::Kind::normalise) has let through.
pub(crate) trait Typed: Sized {
    fn read(name: &str, text: &str) -> Self;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Typed for $number {
            fn read(name: &str, text: &str) -> Self {
                text.parse().unwrap_or_else(|_| panic!("{name}: the table let `{text}` through"))
            }
        })*
    };
}

numbers!(bool, i16, i32, i64, u16, u32, u64, usize, f64);

impl Typed for String {
    fn read(_: &str, text: &str) -> Self {
        text.to_owned()
    }
}

/// The unit is the last word of the name, as always in Kafka.
impl Typed for Duration {
    fn read(name: &str, text: &str) -> Self {
        let count = u64::read(name, text);
        match name.rsplit('.').next() {
            Some("ms") => Duration::from_millis(count),
            Some("seconds") => Duration::from_secs(count),
            Some("minutes") => Duration::from_secs(count.saturating_mul(60)),
            Some("hours") => Duration::from_secs(count.saturating_mul(3600)),
            _ => panic!("{name}: a duration needs its unit in its name"),
        }
    }
}

/// Below zero is "no limit".
impl<T: Typed> Typed for Option<T> {
    fn read(name: &str, text: &str) -> Self {
        (!text.starts_with('-') && !text.is_empty()).then(|| T::read(name, text))
    }
}

impl Typed for Vec<String> {
    fn read(_: &str, text: &str) -> Self {
        crate::kind::items(text)
    }
}
