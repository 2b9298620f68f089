//! How fast do rows become ids and numbers, for training and for a request?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recs_benches::PurchaseLog;
use recs_core::model::{FeatureEncoder, TowerColumns};
use recs_core::schema::Schema;
use recs_core::vocab::{VocabularyBuilder, VocabularyConfig};
use std::sync::Arc;

const ROWS: usize = 50_000;

fn encode(c: &mut Criterion) {
    let log = PurchaseLog::new(ROWS);
    let mut builder = VocabularyBuilder::new(&Schema::retail(), &VocabularyConfig::default()).unwrap();
    log.rows.iter().for_each(|row| builder.push(&row.values()).unwrap());
    let vocabulary = Arc::new(builder.finish().unwrap());
    let mut group = c.benchmark_group(format!("encode/{ROWS}_rows_one_thread"));
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    let presets = [
        ("reference", Schema::retail()),
        ("recommended", Schema::retail().with_recommended_encodings().unwrap()),
    ];
    for (preset, schema) in presets {
        let encoder = FeatureEncoder::new(&schema, Arc::clone(&vocabulary)).unwrap();
        for (tower, encoder) in [("query", &encoder.query), ("candidate", &encoder.candidate)] {
            let mut columns = TowerColumns::default();
            group.bench_function(format!("{preset}_{tower}"), |b| {
                b.iter(|| {
                    columns.clear();
                    log.rows.iter().for_each(|row| encoder.encode(&row.values(), &mut columns).unwrap());
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
