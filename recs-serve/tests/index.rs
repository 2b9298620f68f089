use ndarray::Array2;
use proptest::prelude::*;
use recs_serve::index::{ExactIndex, Filter, Hit, Labels, Query, Scratch, ScratchPool, VectorIndex};

/// Scores and sorts everything.
fn naive(vectors: &Array2<f32>, query: &[f32], k: usize, filter: &Filter) -> Vec<Hit> {
    let score = |row: ndarray::ArrayView1<'_, f32>| row.iter().zip(query).map(|(a, b)| a * b).sum();
    let rows = vectors.rows().into_iter().zip(0u32..).filter(|(_, i)| filter.passes(*i));
    let mut hits: Vec<Hit> = rows.map(|(row, index)| Hit { index, score: score(row) }).collect();
    // Minus zero equals zero: the lower number goes first.
    hits.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then(a.index.cmp(&b.index)));
    hits.truncate(k);
    hits
}

fn filter() -> impl Strategy<Value = Filter> {
    let list = || proptest::collection::vec(0u32..700, 0..200);
    let allow = proptest::option::weighted(0.3, list());
    let label = proptest::option::weighted(0.3, proptest::collection::vec(0u32..5, 0..4));
    (allow, list(), label).prop_map(|(allow, deny, among)| {
        let filter = Filter::default().deny(deny);
        let filter = allow.into_iter().fold(filter, Filter::allow);
        let of = std::sync::Arc::new(Labels::new((0..700).map(|i| i % 5).collect::<Vec<_>>()));
        among.into_iter().fold(filter, |f, among| f.labelled(of.clone(), among))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Small whole numbers: products are exact, so order and ties must be the oracle's to the last bit.
    #[test]
    fn exact_search_equals_the_oracle_alone_and_in_batches(
        n in 0usize..700,
        dim in 1usize..40,
        seed in any::<u32>(),
        asked in proptest::collection::vec((0usize..130, filter()), 1..70),
    ) {
        let number = |i: usize| ((seed as usize).wrapping_mul(31).wrapping_add(i * 2_654_435_761) >> 7) % 7;
        let vectors = Array2::from_shape_fn((n, dim), |(i, j)| number(i * dim + j) as f32 - 3.0);
        let index = ExactIndex::new(vectors.clone()).unwrap();
        let queries: Vec<Vec<f32>> =
            (0..asked.len()).map(|q| (0..dim).map(|j| number(q * 1009 + j + 7) as f32 - 3.0).collect()).collect();
        let batch: Vec<Query<'_>> =
            queries.iter().zip(&asked).map(|(vector, (k, filter))| Query { vector, k: *k, filter }).collect();
        let found = index.search_batch(&batch, &ScratchPool::new()).unwrap();
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        for (query, hits) in batch.iter().zip(found) {
            let expected = naive(&vectors, query.vector, query.k, query.filter);
            index.search(query.vector, query.k, query.filter, &mut scratch, &mut out).unwrap();
            prop_assert_eq!(&out, &expected);
            prop_assert_eq!(&hits, &expected);
        }
    }
}
