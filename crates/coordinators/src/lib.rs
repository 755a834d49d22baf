//! The broker's coordinators as pure machines: cluster metadata, committed offsets, transactional ids.
//!
//! Nothing here knows a socket, a file, a clock or a wire format. The broker's `hosting` turns records into
//! Kafka's record formats, appends them to the internal topics and feeds them back through `apply`.
//! Start at [`metadata`].

pub mod metadata;
pub mod offsets;
pub mod transactional_ids;
