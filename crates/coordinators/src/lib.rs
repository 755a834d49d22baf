//! The broker's coordinators as pure machines: cluster metadata, groups, transactional ids.
//!
//! Nothing here knows a socket, a file, a clock or a wire format. The broker's `hosting` turns records into
//! Kafka's record formats, appends them to the internal topics and feeds them back through `apply`.
//! Start at [`metadata`].

pub mod groups;
pub mod metadata;
pub mod transactional_ids;
