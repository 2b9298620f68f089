//! Files of a model as it is served, with checksums that fit: whatever is not refused answers. Run with
//! `cargo +nightly fuzz run served_model` in `recs-serve`. Finds belong into `corpus/served_model`, which the tests replay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use recs_serve::model::{ServingModel, ask_all};
use recs_serve::retriever::Host;
use recs_serve::workers::Workers;
use std::sync::LazyLock;

static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(Workers::new(1).expect("a thread")));

fuzz_target!(|file: &[u8]| {
    if let Ok(model) = ServingModel::read_signed(file) {
        let _ = ask_all(model, &HOST);
    }
});
