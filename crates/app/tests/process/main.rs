//! The real binary, from outside: killed under load, with damaged data, and with more connections than it has use for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test is its own outside")]

mod client;
mod damaged;
mod killed;
mod many;
mod server;
