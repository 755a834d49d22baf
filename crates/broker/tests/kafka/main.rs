//! The points of Kafka's protocol that broke real clients elsewhere, each with a test named after it, against a
//! whole broker over a simulated disk. The numbers are those of `docs/kafka-notes.md`.

mod admin;
mod bad_input;
mod fetching;
mod groups;
mod harness;
mod producing;
