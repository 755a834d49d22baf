//! Tests of the whole storage; those of single modules lie beside them.

mod basics;
mod bench;
pub(crate) mod faults;
