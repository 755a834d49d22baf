//! The points of Kafka's protocol that broke real clients elsewhere, each with a test named after it, against a
//! whole broker over a simulated disk. The numbers are those of `docs/kafka-behaviour.md`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test is its own outside")]

mod admin;
mod bad_input;
mod damaged;
mod fetching;
mod group_configs;
mod groups;
mod harness;
mod metrics;
mod producing;
