//! `manifest.json` of a model version. Run with `cargo +nightly fuzz run manifest` in `recs-core`.
//! Finds belong into `corpus/manifest`, which the tests replay.
#![no_main]

#[path = "../../tests/it/parsers.rs"]
#[allow(dead_code)]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parsers::manifest(bytes);
});
