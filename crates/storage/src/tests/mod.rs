//! Tests of the whole storage; those of single modules lie beside them.

mod basics;
mod behaviour;
mod bench;
mod compaction;
mod crash;
mod damage;
pub(crate) mod faults;
mod gone;
mod model;
mod threads;
mod trouble;
