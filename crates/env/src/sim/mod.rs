//! The simulated outside: one thread, one seed, the same run every time.

mod clock;
mod disk;

use std::cell::Cell;

pub use clock::SimClock;
pub use disk::{Fault, SimDisk, Survival};

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a simulation.
pub fn is_simulated() -> bool {
    SIMULATED.get()
}

/// Marks this thread as a simulation until the guard is dropped.
#[must_use = "the simulation ends when this is dropped"]
pub fn enter() -> Entered {
    assert!(!SIMULATED.replace(true), "this thread is a simulation already");
    Entered(())
}

/// See [`enter`].
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        SIMULATED.set(false);
    }
}
