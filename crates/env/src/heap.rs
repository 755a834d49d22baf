//! How the process keeps the memory it has freed. Only glibc can be told; elsewhere these do nothing.
//!
//! By default glibc maps a large block afresh each time it is asked for and unmaps it when it is freed, so that every
//! megabyte read for a consumer costs 256 page faults and as many pages cleared. That was a third of the CPU of a
//! broker serving cold data (`docs/decisions/0003`).

/// Blocks up to this size come from the heap, where they are used again. The most that glibc takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const REUSED_BLOCK_BYTES_MAX: libc::c_int = 32 << 20;

/// Free memory that each arena keeps at its end before giving it back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES_MAX: libc::c_int = 64 << 20;

/// Makes freed blocks be used again instead of going back to the kernel, from `arenas` heaps at the most (the more
/// there are, the more of them keep free memory that another needs). To be called once, before threads are started.
pub fn reuse_freed_memory(arenas: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc's own switches have no safe form")]
    // SAFETY: mallopt takes numbers only; it may be called at any time, and refuses what it does not know.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, REUSED_BLOCK_BYTES_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
        libc::mallopt(libc::M_ARENA_MAX, arenas.clamp(1, 64) as libc::c_int);
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = arenas;
}

/// Gives free memory back to the kernel. May take some milliseconds.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc's own switches have no safe form")]
    // SAFETY: it only looks at free blocks, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
