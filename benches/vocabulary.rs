//! How fast is a vocabulary built, from rows in memory and from gzip shards?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recs_benches::PurchaseLog;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyBuilder, VocabularyConfig};
use std::sync::Arc;

const ROWS: usize = 50_000;
const SHARDS: usize = 4;

fn vocabulary(c: &mut Criterion) {
    let (log, schema, config) = (PurchaseLog::new(ROWS), Schema::retail(), VocabularyConfig::default());
    let mut group = c.benchmark_group(format!("vocabulary/{ROWS}_rows"));
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("from_rows_one_thread", |b| {
        b.iter(|| {
            let mut builder = VocabularyBuilder::new(&schema, &config).unwrap();
            log.rows.iter().for_each(|row| builder.push(&row.values()).unwrap());
            builder.finish().unwrap()
        });
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dataset = runtime.block_on(log.dataset(SHARDS)).unwrap();
    let threads = rayon::current_num_threads();
    group.bench_function(format!("from_{SHARDS}_gzip_shards_{threads}_threads"), |b| {
        b.iter(|| {
            let cancel = CancelToken::new();
            let built = Vocabulary::build(&dataset, &schema, &config, threads, Arc::new(Silent), &cancel);
            runtime.block_on(built).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, vocabulary);
criterion_main!(benches);
