//! `metadata.json` of a dataset. Run with `cargo +nightly fuzz run dataset_metadata` in `recs-core`.
//! Finds belong into `corpus/dataset_metadata`, which the tests replay.
#![no_main]

#[path = "../../tests/it/parsers.rs"]
#[allow(dead_code)]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parsers::dataset_metadata(bytes);
});
