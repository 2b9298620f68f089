//! The fuzz corpus, replayed on stable: no input may panic, and what is refused says where.

use recs_serve::Error;
use recs_serve::http::{check_change, parse_batch, parse_events, parse_request, parse_similar};

#[test]
fn request_json_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request_json");
    let mut accepted = 0;
    let mut entries: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    assert!(entries.len() >= 10, "the corpus is in {}", folder.display());
    for path in entries {
        let body = std::fs::read(&path).unwrap();
        let read = [
            parse_request(&body).map(drop),
            parse_batch(&body).map(drop),
            parse_similar(&body).map(drop),
            parse_events(&body, 1_500_000_000).map(drop),
            check_change(&body),
        ];
        for error in read.map(Result::err) {
            match error {
                None => accepted += 1,
                Some(Error::Malformed { .. }) => {}
                Some(Error::Request { faults, .. }) => assert!(!faults.is_empty()),
                Some(other) => panic!("{}: {other}", path.display()),
            }
        }
    }
    assert!(accepted >= 8, "valid requests are in the corpus too");
}
