//! The fuzz corpus of index files, replayed on stable: what is not refused is searched without harm.
//!
//! `RECS_MAKE_CORPUS=1` writes the valid files anew, for a new version of the format.

use ndarray::Array2;
use recs_core::artifact::Candidates;
use recs_core::observe::CancelToken;
use recs_serve::Error;
use recs_serve::index::conformance::sign_hnsw;
use recs_serve::index::{Filter, HnswConfig, HnswIndex, Scratch, VectorIndex};
use std::sync::Arc;

/// Those that the corpus was built of: the fuzz target has the same.
fn candidates() -> Arc<Candidates> {
    let text = vec![String::new(); 40];
    Arc::new(Candidates {
        ids: text.clone(),
        names: text.clone(),
        categories: text,
        available: vec![true; 40],
        popularity: vec![0; 40],
        vectors: Array2::from_shape_fn((40, 4), |(i, j)| ((i * 7 + j * 3) % 11) as f32 - 5.0),
    })
}

#[test]
fn index_file_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/index_file");
    let config = HnswConfig { m: 4, ef_construction: 10, ..HnswConfig::default() };
    let built = HnswIndex::build_shared(candidates(), &config, &CancelToken::new()).unwrap();
    if std::env::var_os("RECS_MAKE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("built"), built.bytes()).unwrap();
        std::fs::write(folder.join("deleted"), built.with_deleted(&[0, 3, 7]).unwrap().bytes()).unwrap();
    }
    // A file of this format opens for ever.
    assert_eq!(std::fs::read(folder.join("built")).unwrap(), built.bytes());
    let mut opened = 0;
    for path in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        sign_hnsw(&mut bytes);
        match HnswIndex::read(&bytes, candidates()) {
            Ok(index) => {
                let mut hits = Vec::new();
                let query = [1.0, -1.0, 0.5, 2.0];
                index.search(&query, 12, &Filter::default(), &mut Scratch::default(), &mut hits).unwrap();
                opened += 1;
            }
            Err(Error::Index { reason, .. }) => assert!(!reason.is_empty()),
            Err(other) => panic!("{}: {other}", path.display()),
        }
    }
    assert!(opened >= 2, "valid files are in the corpus too");
}
