//! TFRecord files, gzip or plain. Run with `cargo +nightly fuzz run tfrecord` in `recs-core`.
//! Finds belong into `corpus/tfrecord`, which the tests replay.
#![no_main]

#[path = "../../tests/it/parsers.rs"]
#[allow(dead_code)]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parsers::tfrecord(bytes);
});
