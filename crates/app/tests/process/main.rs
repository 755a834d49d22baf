//! The real binary, from outside: killed under load, and with more connections than it has use for.

mod client;
mod killed;
mod many;
mod server;
