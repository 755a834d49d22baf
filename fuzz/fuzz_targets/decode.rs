//! The decoder against anything: `cargo +nightly fuzz run decode`. What is checked is in `any_bytes`, which
//! the ordinary tests of `wire` run over the kept corpus.

#![no_main]

#[path = "../../crates/wire/tests/wire/any_bytes.rs"]
#[allow(dead_code)]
mod any_bytes;
#[path = "../../crates/wire/tests/wire/counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    any_bytes::check(input);
});
