//! The fuzz corpora, replayed on stable: nothing panics, nothing takes long, and what is refused blames the file.

use super::parsers;
use recs_core::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far above what any file needs, so that a busy machine does not fail the test; a loop without end does.
const AT_MOST: Duration = Duration::from_secs(20);

/// Replays `fuzz/corpus/{target}`; at least `accepted` files are valid, so that the corpus reaches the code behind the
/// checks.
fn replay(target: &str, accepted: usize, parse: fn(&[u8]) -> Result<()>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus is in {}", folder.display());
    let mut valid = 0;
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let started = Instant::now();
        match parse(&bytes) {
            Ok(()) => valid += 1,
            Err(error) => assert!(parsers::blames_the_file(&error), "{}: {error}", path.display()),
        }
        assert!(started.elapsed() < AT_MOST, "{} took {:?}", path.display(), started.elapsed());
    }
    assert!(valid >= accepted, "{target}: {valid} valid files");
}

#[test]
fn tfrecord_files() {
    replay("tfrecord", 4, parsers::tfrecord);
}

#[test]
fn example_records() {
    replay("example", 3, parsers::example);
}

#[test]
fn vocabularies_json() {
    replay("vocabularies", 2, parsers::vocabularies);
}

#[test]
fn manifest_json() {
    replay("manifest", 2, parsers::manifest);
}

#[test]
fn dataset_metadata_json() {
    replay("dataset_metadata", 2, parsers::dataset_metadata);
}
