//! Bodies of `/recommend`, `/recommend-batch`, `/similar`, `/events` and `/deployment`. Run with `cargo +nightly fuzz run request_json` in `recs-serve`.
//! Finds belong into `corpus/request_json`, which the tests replay.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = recs_serve::http::parse_request(body);
    let _ = recs_serve::http::parse_batch(body);
    let _ = recs_serve::http::parse_similar(body);
    let _ = recs_serve::http::parse_events(body, 1_500_000_000);
    let _ = recs_serve::http::check_change(body);
});
