//! Records of `tf.train.Example`, by both decoders. Run with `cargo +nightly fuzz run example` in `recs-core`.
//! Finds belong into `corpus/example`, which the tests replay.
#![no_main]

#[path = "../../tests/it/parsers.rs"]
#[allow(dead_code)]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parsers::example(bytes);
});
