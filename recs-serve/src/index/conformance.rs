//! The behaviour suite of [`VectorIndex`]: one rule of its contract a function, so that a failure names the rule.
//!
//! An index of yours runs it too: hand over a function that builds it from vectors.
//!
//! ```
//! use recs_serve::index::{ExactIndex, VectorIndex, conformance};
//!
//! let build = |vectors| Ok(Box::new(ExactIndex::new(vectors)?) as Box<dyn VectorIndex>);
//! conformance::run(&build);
//! conformance::agrees_with_naive_search(&build); // only where recall is 1
//! conformance::recall_is_at_least(&build, 0.95); // for approximate indexes
//! ```
//!
//! Most vectors of the suite hold small whole numbers: their dot products are exact in whichever order they are added, so
//! that even ties are compared exactly.

use super::{BitSet, Filter, Hit, Labels, Query, Scratch, ScratchPool, VectorIndex};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use recs_core::hash::fingerprint64;
use recs_core::kernel::dot_scalar;
use std::sync::Arc;

/// Makes an index of vectors `[len, dim]`.
pub type Build<'b> = dyn Fn(Array2<f32>) -> Result<Box<dyn VectorIndex>> + 'b;

const LEN: usize = 2100;
const DIM: usize = 24;

/// Runs every rule that holds for all indexes, exact or not.
///
/// # Panics
/// When a rule is broken.
pub fn run(build: &Build<'_>) {
    tells_its_size(build);
    an_empty_index_finds_nothing(build);
    finds_k_or_all(build);
    orders_hits_and_breaks_ties_by_number(build);
    scores_are_dot_products(build);
    filters_hold_and_k_are_found_when_k_pass(build);
    selective_filters_find_all_that_pass(build);
    a_batch_answers_like_single_searches(build);
    earlier_searches_leave_no_trace(build);
    bad_queries_are_errors(build);
}

/// `len`, `is_empty` and `dim` are those of the vectors.
///
/// # Panics
/// When the rule is broken.
pub fn tells_its_size(build: &Build<'_>) {
    let index = make(build, whole_numbers(7, DIM, 1));
    assert_eq!((index.len(), index.is_empty(), index.dim()), (7, false, DIM));
}

/// An index without vectors is built, and finds nothing.
///
/// # Panics
/// When the rule is broken.
pub fn an_empty_index_finds_nothing(build: &Build<'_>) {
    let index = make(build, Array2::zeros((0, DIM)));
    assert!(index.is_empty());
    assert!(find(&*index, &[1.0; DIM], 5, &Filter::default()).is_empty());
}

/// k hits, or all when there are fewer; none for k = 0; no candidate twice.
///
/// # Panics
/// When the rule is broken.
pub fn finds_k_or_all(build: &Build<'_>) {
    let index = make(build, whole_numbers(300, DIM, 2));
    for k in [0, 1, 7, 299, 300, 301, 5000] {
        let mut found = numbers(&find(&*index, &query(3), k, &Filter::default()));
        assert_eq!(found.len(), k.min(300), "hits for k = {k}");
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), k.min(300), "a candidate came twice for k = {k}");
    }
}

/// Best first; equal scores by ascending number.
///
/// # Panics
/// When the rule is broken.
pub fn orders_hits_and_breaks_ties_by_number(build: &Build<'_>) {
    // Two distinct vectors only, so that nearly all scores are tied.
    let vectors = Array2::from_shape_fn((200, DIM), |(i, j)| if i % 3 == 0 && j == 0 { 2.0 } else { 1.0 });
    let hits = find(&*make(build, vectors), &[1.0; DIM], 150, &Filter::default());
    assert!(hits.windows(2).all(|w| w[0].before(&w[1])), "hits are not in order: {hits:?}");
    let (better, rest) = hits.split_at(67);
    assert!(better.iter().all(|h| h.index % 3 == 0), "the 67 best are the multiples of 3: {better:?}");
    let exhaustive = find(&*make(build, whole_numbers(100, DIM, 4)), &query(4), 100, &Filter::default());
    assert!(exhaustive.windows(2).all(|w| w[0].before(&w[1])) && rest.iter().all(|h| h.index % 3 != 0));
}

/// The score of a hit is the dot product of query and candidate.
///
/// # Panics
/// When the rule is broken.
pub fn scores_are_dot_products(build: &Build<'_>) {
    let vectors = Array2::from_shape_fn((500, DIM), |(i, j)| noise(i * DIM + j, 5));
    let query: Vec<f32> = (0..DIM).map(|j| noise(j, 6)).collect();
    for hit in find(&*make(build, vectors.clone()), &query, 500, &Filter::default()) {
        let exact = dot_scalar(&query, row(&vectors.view(), hit.index));
        assert!(
            (hit.score - exact).abs() < 1e-4,
            "candidate {}: {} instead of {exact}",
            hit.index,
            hit.score
        );
    }
}

/// Nothing that a filter stops is returned, and k are found when k pass.
///
/// # Panics
/// When the rule is broken.
pub fn filters_hold_and_k_are_found_when_k_pass(build: &Build<'_>) {
    let index = make(build, whole_numbers(LEN, DIM, 7));
    for (name, filter) in filters() {
        let passing = filter.count(LEN);
        for k in [1, 100, LEN] {
            let hits = find(&*index, &query(8), k, &filter);
            assert!(hits.iter().all(|h| filter.passes(h.index)), "filter `{name}` let something through");
            assert_eq!(hits.len(), k.min(passing), "filter `{name}`, k = {k}, {passing} pass");
        }
    }
}

/// A filter that leaves a handful still finds exactly those, in order.
///
/// # Panics
/// When the rule is broken.
pub fn selective_filters_find_all_that_pass(build: &Build<'_>) {
    let vectors = whole_numbers(LEN, DIM, 9);
    let index = make(build, vectors.clone());
    let few = [3u32, 77, 1024, 2099];
    let set = Arc::new(BitSet::from_fn(LEN, |i| few.contains(&(i as u32))));
    for filter in
        [Filter::default().allow(few), Filter::default().within(set), Filter::default().allow(few).deny([5])]
    {
        let expected = naive(&vectors.view(), &query(10), 100, &filter);
        assert_eq!(find(&*index, &query(10), 100, &filter), expected);
    }
}

/// `search_batch` gives what `search` gives, whatever k and filter each query has.
///
/// # Panics
/// When the rule is broken.
pub fn a_batch_answers_like_single_searches(build: &Build<'_>) {
    let index = make(build, whole_numbers(LEN, DIM, 11));
    let (filters, vectors): (Vec<_>, Vec<_>) = (filters(), (0..150).map(|i| query(12 + i)).collect());
    let asked: Vec<Query<'_>> = vectors
        .iter()
        .enumerate()
        .map(|(i, vector)| Query {
            vector,
            k: [0, 1, 40, LEN * 2][i % 4],
            filter: &filters[i % filters.len()].1,
        })
        .collect();
    for size in [0, 1, 2, 150] {
        let found = index.search_batch(&asked[..size], &ScratchPool::new());
        let found = found.unwrap_or_else(|e| panic!("a batch of {size} failed: {e}"));
        assert_eq!(found.len(), size);
        for (i, (query, hits)) in asked.iter().zip(found).enumerate() {
            assert_eq!(
                hits,
                find(&*index, query.vector, query.k, query.filter),
                "query {i} of a batch of {size}"
            );
        }
    }
}

/// Neither scratch nor output carries anything from one search into the next.
///
/// # Panics
/// When the rule is broken.
pub fn earlier_searches_leave_no_trace(build: &Build<'_>) {
    let (large, small) = (make(build, whole_numbers(LEN, DIM, 13)), make(build, whole_numbers(20, DIM, 14)));
    let (mut scratch, mut out) = (Scratch::default(), vec![Hit { index: 9, score: 9.0 }; 9]);
    for index in [&large, &small, &large] {
        let searched = index.search(&query(15), 30, &Filter::default().deny([1]), &mut scratch, &mut out);
        searched.unwrap_or_else(|e| panic!("the search failed: {e}"));
        assert_eq!(out, find(&**index, &query(15), 30, &Filter::default().deny([1])));
    }
}

/// Queries of another width, infinite ones and NaN are typed errors, alone and in a batch.
///
/// # Panics
/// When the rule is broken.
pub fn bad_queries_are_errors(build: &Build<'_>) {
    let index = make(build, whole_numbers(50, DIM, 16));
    let open = Filter::default();
    let ask = |vector: &[f32]| index.search(vector, 3, &open, &mut Scratch::default(), &mut Vec::new());
    for width in [0, DIM - 1, DIM + 1] {
        let refused = ask(&vec![1.0; width]);
        assert!(matches!(refused, Err(Error::Dimension { .. })), "width {width}: {refused:?}");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut vector = query(17);
        vector[DIM - 1] = bad;
        assert!(matches!(ask(&vector), Err(Error::NonFinite { .. })), "{bad} was searched for");
        let good = query(18);
        let batch = [&good, &vector].map(|vector| Query { vector, k: 3, filter: &open });
        let refused = index.search_batch(&batch, &ScratchPool::new());
        assert!(matches!(refused, Err(Error::NonFinite { row: 1, .. })), "{bad} in a batch: {refused:?}");
    }
}

/// Finds exactly what scoring and sorting everything finds, ties included. Only for indexes with recall 1.
///
/// # Panics
/// When the rule is broken.
pub fn agrees_with_naive_search(build: &Build<'_>) {
    for len in [1, 15, 16, 17, 511, 1024, LEN] {
        let vectors = whole_numbers(len, DIM, len as u64);
        let index = make(build, vectors.clone());
        for (name, filter) in filters() {
            for k in [1, 10, 600] {
                let expected = naive(&vectors.view(), &query(19), k, &filter);
                assert_eq!(
                    find(&*index, &query(19), k, &filter),
                    expected,
                    "{len} vectors, k = {k}, filter `{name}`"
                );
            }
        }
    }
}

/// Of the 10 best of 100 queries, at least this share is found, with and without filters.
///
/// # Panics
/// When less is found.
pub fn recall_is_at_least(build: &Build<'_>, share: f64) {
    let vectors = Array2::from_shape_fn((LEN, DIM), |(i, j)| noise(i * DIM + j, 20));
    let index = make(build, vectors.clone());
    for (name, filter) in filters() {
        let (mut found, mut wanted) = (0, 0);
        for seed in 0..100 {
            let query: Vec<f32> = (0..DIM).map(|j| noise(j, 100 + seed)).collect();
            let hits = numbers(&find(&*index, &query, 10, &filter));
            let best = naive(&vectors.view(), &query, 10, &filter);
            wanted += best.len();
            found += best.iter().filter(|h| hits.contains(&h.index)).count();
        }
        let recall = found as f64 / wanted.max(1) as f64;
        assert!(wanted == 0 || recall >= share, "recall {recall:.3} below {share} with filter `{name}`");
    }
}

/// Makes the checksums of the bytes of an [`HnswIndex`](super::HnswIndex) fit whatever they are: files that somebody means to do
/// harm with have checksums that fit.
pub fn sign_hnsw(bytes: &mut [u8]) {
    super::hnsw::sign(bytes);
}

/// What scoring and sorting everything gives: the oracle.
pub fn naive(vectors: &ArrayView2<'_, f32>, query: &[f32], k: usize, filter: &Filter) -> Vec<Hit> {
    let passing = (0..vectors.nrows() as u32).filter(|&i| filter.passes(i));
    let mut hits: Vec<Hit> =
        passing.map(|index| Hit { index, score: dot_scalar(query, row(vectors, index)) }).collect();
    hits.sort_by(|a, b| b.before(a).cmp(&a.before(b)));
    hits.truncate(k);
    hits
}

fn filters() -> Vec<(&'static str, Filter)> {
    let odd = Arc::new(BitSet::from_fn(LEN, |i| i % 2 == 1));
    let labels = Arc::new(Labels::new((0..LEN as u32).map(|i| i % 50).collect::<Vec<_>>()));
    vec![
        ("open", Filter::default()),
        ("half", Filter::default().within(Arc::clone(&odd))),
        ("without the first 1000", Filter::default().deny(0..1000)),
        ("one label of fifty", Filter::default().labelled(Arc::clone(&labels), [13])),
        ("a list, some beyond the end", Filter::default().allow([0, 5, 8, 14, 600, 2099, 2100, u32::MAX])),
        ("all rules", Filter::default().within(odd).labelled(labels, 0..25).allow(0..900).deny(500..600)),
        ("nothing", Filter::default().allow([])),
    ]
}

fn make(build: &Build<'_>, vectors: Array2<f32>) -> Box<dyn VectorIndex> {
    let len = vectors.nrows();
    build(vectors).unwrap_or_else(|e| panic!("building an index of {len} vectors failed: {e}"))
}

fn find(index: &dyn VectorIndex, query: &[f32], k: usize, filter: &Filter) -> Vec<Hit> {
    let mut out = Vec::new();
    let searched = index.search(query, k, filter, &mut Scratch::default(), &mut out);
    searched.unwrap_or_else(|e| panic!("the search for {k} failed: {e}"));
    out
}

fn row<'v>(vectors: &ArrayView2<'v, f32>, index: u32) -> &'v [f32] {
    let dim = vectors.ncols();
    vectors.to_slice().unwrap_or_default().chunks_exact(dim).nth(index as usize).unwrap_or_default()
}

fn numbers(hits: &[Hit]) -> Vec<u32> {
    hits.iter().map(|h| h.index).collect()
}

/// Whole numbers from -4 to 4.
fn whole_numbers(len: usize, dim: usize, seed: u64) -> Array2<f32> {
    Array2::from_shape_fn((len, dim), |(i, j)| (noise(i * dim + j, seed) * 4.5).trunc())
}

fn query(seed: u64) -> Vec<f32> {
    (0..DIM).map(|j| (noise(j, seed ^ 0x9e37) * 4.5).trunc()).collect()
}

/// A number between -1 and 1, the same on every machine.
fn noise(i: usize, seed: u64) -> f32 {
    let bits = fingerprint64(&[i.to_le_bytes(), (seed as usize).to_le_bytes()].concat());
    (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}
