//! How fast is exact search, for one query, for a few at a time and for a batch? Recall is printed beside the time.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use rayon::ThreadPoolBuilder;
use recs_benches::{SEED, beside, vectors};
use recs_serve::index::{ExactIndex, Filter, Hit, Int8Index, Query, Scratch, ScratchPool, VectorIndex};
use std::collections::HashSet;

const K: usize = 100;
const BATCH: usize = 1000;
/// Requests that come at the same time.
const FEW: usize = 8;

/// The k best by the definition, in f64.
fn truth(candidates: &Array2<f32>, query: &[f32]) -> HashSet<u32> {
    let score = |row: ndarray::ArrayView1<'_, f32>| -> f64 {
        row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut scores: Vec<(f64, u32)> = candidates.rows().into_iter().map(score).zip(0..).collect();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    scores.iter().take(K).map(|s| s.1).collect()
}

fn recall(index: &dyn VectorIndex, candidates: &Array2<f32>, queries: &Array2<f32>) -> f64 {
    let (mut scratch, mut hits, mut found) = (Scratch::default(), Vec::<Hit>::new(), 0);
    for query in queries.rows() {
        let query = query.to_slice().unwrap();
        index.search(query, K, &Filter::default(), &mut scratch, &mut hits).unwrap();
        let truth = truth(candidates, query);
        found += hits.iter().filter(|hit| truth.contains(&hit.index)).count();
    }
    found as f64 / (queries.nrows() * K) as f64
}

fn exact_search(c: &mut Criterion) {
    for (rows, dim) in [(9_667, 32), (9_667, 256), (200_000, 64)] {
        let (candidates, queries) = (vectors(rows, dim, SEED), vectors(BATCH, dim, SEED + 1));
        let indexes: [(&str, Box<dyn VectorIndex>); 2] = [
            ("f32", Box::new(ExactIndex::new(candidates.clone()).unwrap())),
            ("int8", Box::new(Int8Index::new(candidates.clone()).unwrap())),
        ];
        let sample = queries.slice(ndarray::s![..10, ..]).to_owned();
        for (form, index) in indexes {
            let name = format!("exact_search/{form}_{rows}x{dim}_k{K}");
            beside(&name, recall(&*index, &candidates, &sample), &format!("recall@{K}"));
            search(c, &name, &*index, &queries);
        }
    }
}

fn search(c: &mut Criterion, name: &str, index: &dyn VectorIndex, queries: &Array2<f32>) {
    let mut group = c.benchmark_group(name);
    let (filter, mut scratch, mut hits) = (Filter::default(), Scratch::default(), Vec::new());
    let mut next = queries.rows().into_iter().cycle();
    group.sample_size(20).throughput(Throughput::Elements(1));
    group.bench_function("one_query_one_thread", |b| {
        b.iter(|| {
            let query = next.next().unwrap().to_slice().unwrap();
            index.search(query, K, &filter, &mut scratch, &mut hits).unwrap();
            hits.len()
        });
    });
    let all: Vec<Query<'_>> = queries
        .rows()
        .into_iter()
        .map(|q| Query { vector: q.to_slice().unwrap(), k: K, filter: &filter })
        .collect();
    for (size, threads) in [(FEW, 1), (BATCH, rayon::current_num_threads())] {
        let (pool, idle) =
            (ThreadPoolBuilder::new().num_threads(threads).build().unwrap(), ScratchPool::new());
        let mut next = all.chunks(size).cycle();
        group.sample_size(10).throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("batch_{size}_{threads}_threads"), |b| {
            b.iter(|| pool.install(|| index.search_batch(next.next().unwrap(), &idle)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, exact_search);
criterion_main!(benches);
