//! The process's allocator.

/// jemalloc: freed blocks, large ones too, are used again for ten seconds, and a thread of its own gives the rest back to the
/// kernel. Why not the C library's: `docs/decisions/0011`.
pub type Heap = tikv_jemallocator::Jemalloc;

/// For a binary's `#[global_allocator]`.
pub const HEAP: Heap = tikv_jemallocator::Jemalloc;
