//! Planted faults: each checker is shown to find one.

use std::cell::Cell;

thread_local! {
    static ACKNOWLEDGE_BEFORE_SYNC: Cell<bool> = const { Cell::new(false) };
}

/// Whether the writer answers before it has synced.
pub(crate) fn acknowledges_before_sync() -> bool {
    ACKNOWLEDGE_BEFORE_SYNC.get()
}

pub(crate) fn acknowledge_before_sync(on: bool) {
    ACKNOWLEDGE_BEFORE_SYNC.set(on);
}
