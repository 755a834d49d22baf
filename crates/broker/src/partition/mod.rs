//! Between a handler and the log of one partition: what may be appended, and as which bytes.

pub mod validate;
