//! Faults that are built in on purpose, so that the history checker (`faults/`) is seen to notice them.
//!
//! Only a build with the feature `planted` has them, and only where the environment variable LEVADA_PLANTED names one. In
//! every other build nothing of this is left.

/// What an owner leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// `no-claim`: it takes appends without having written its claim.
    NoClaim,
    /// `claim-not-awaited`: it takes appends before its index has what lies below its claim.
    ClaimNotAwaited,
    /// `heads-not-rebuilt`: it knows of no stream but what it has appended itself.
    HeadsNotRebuilt,
}

#[cfg(feature = "planted")]
pub fn is(fault: Planted) -> bool {
    static NAMED: std::sync::OnceLock<Option<Planted>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let named = std::env::var("LEVADA_PLANTED").ok()?;
        tracing::warn!(fault = named, "A FAULT IS PLANTED: this is no build to keep events with");
        match named.as_str() {
            "no-claim" => Some(Planted::NoClaim),
            "claim-not-awaited" => Some(Planted::ClaimNotAwaited),
            "heads-not-rebuilt" => Some(Planted::HeadsNotRebuilt),
            other => panic!("LEVADA_PLANTED: there is no fault {other}"),
        }
    });
    *named == Some(fault)
}

#[cfg(not(feature = "planted"))]
pub const fn is(_: Planted) -> bool {
    false
}
