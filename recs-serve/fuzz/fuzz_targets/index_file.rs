//! Files of a graph, with checksums that fit: whatever is not refused is searched. Run with
//! `cargo +nightly fuzz run index_file` in `recs-serve`. Finds belong into `corpus/index_file`, which the tests replay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ndarray::Array2;
use recs_core::artifact::Candidates;
use recs_serve::index::conformance::sign_hnsw;
use recs_serve::index::{Filter, HnswIndex, Scratch, VectorIndex};
use std::sync::{Arc, LazyLock};

/// Those that the corpus was built of: `recs-serve/tests/index_corpus.rs` has the same.
static CANDIDATES: LazyLock<Arc<Candidates>> = LazyLock::new(|| {
    let text = vec![String::new(); 40];
    Arc::new(Candidates {
        ids: text.clone(),
        names: text.clone(),
        categories: text,
        available: vec![true; 40],
        popularity: vec![0; 40],
        vectors: Array2::from_shape_fn((40, 4), |(i, j)| ((i * 7 + j * 3) % 11) as f32 - 5.0),
    })
});

fuzz_target!(|file: &[u8]| {
    let mut file = file.to_vec();
    sign_hnsw(&mut file);
    if let Ok(index) = HnswIndex::read(&file, Arc::clone(&CANDIDATES)) {
        for filter in [Filter::default(), Filter::default().deny(0..9)] {
            let mut hits = Vec::new();
            let _ = index.search(&[1.0, -1.0, 0.5, 2.0], 12, &filter, &mut Scratch::default(), &mut hits);
            assert!(hits.len() <= 12 && hits.iter().all(|hit| hit.index < 40));
        }
        let _ = index.with_deleted(&[1, 2, 3]);
    }
});
