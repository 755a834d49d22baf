//! The real binary, from outside: killed under load, with damaged data, with more connections than it has use for, and
//! its commands while the broker changes under them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test is its own outside")]

mod client;
mod commands;
mod damaged;
mod data_directory;
mod groups;
mod killed;
mod many;
mod operations;
mod server;
