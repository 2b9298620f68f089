//! `vocabularies.json`. Run with `cargo +nightly fuzz run vocabularies` in `recs-core`.
//! Finds belong into `corpus/vocabularies`, which the tests replay.
#![no_main]

#[path = "../../tests/it/parsers.rs"]
#[allow(dead_code)]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parsers::vocabularies(bytes);
});
