//! How many examples a second does one training epoch take?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPoolBuilder;
use recs_benches::{PurchaseLog, beside, encoded, vocabulary_of};
use recs_core::model::Activation;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::Vocabulary;
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::data::{EpochOrder, SplitKind};
use recs_train::trainer::{Popularity, initial_weights};
use recs_train::{TrainConfig, TrainData, Trainer};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: usize = 50_000;
const BATCH: usize = 2048;
/// Epochs of which the share of products is taken.
const EPOCHS: usize = 10;

fn data(config: &TrainConfig) -> (Arc<TrainData>, Arc<Vocabulary>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (schema, dataset) = (Schema::retail(), PurchaseLog::new(ROWS).dataset(4).await.unwrap());
        let vocabulary = vocabulary_of(&dataset, &schema, 2).await.unwrap();
        let read = config.model(&schema).unwrap().schema;
        (encoded(&dataset, &read, &vocabulary, 2).await.unwrap(), vocabulary)
    })
}

/// A backend at the starting weights.
fn backend(config: &TrainConfig, data: &Arc<TrainData>, vocabulary: &Vocabulary, rows: &[u32]) -> CpuBackend {
    let model = config.model(&Schema::retail()).unwrap();
    let weights = initial_weights(&model, vocabulary, config.seed, config.embedding_init).unwrap();
    let log_q = Popularity::fit(data, rows).log_q();
    let pool = Arc::new(ThreadPoolBuilder::new().num_threads(config.threads).build().unwrap());
    CpuBackend::new(Arc::clone(data), model, config.clone(), weights, log_q, pool).unwrap()
}

fn train_epoch(c: &mut Criterion) {
    let threads = rayon::current_num_threads();
    let mut group = c.benchmark_group(format!("train_epoch/{ROWS}_rows_batch_{BATCH}_{threads}_threads"));
    let trained = ROWS / BATCH * BATCH;
    group.sample_size(10).throughput(Throughput::Elements(trained as u64));
    let mut relu = TrainConfig::reference();
    (relu.query.activation, relu.candidate.activation) = (Activation::Relu, Activation::Relu);
    for (preset, mut config) in [("reference", TrainConfig::reference()), ("reference_relu", relu)] {
        (config.batch, config.threads) = (BATCH, threads);
        let (data, vocabulary) = data(&config);
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        let start = || backend(&config, &data, &vocabulary, &(0..ROWS as u32).collect::<Vec<_>>());
        let epoch = |mut backend: CpuBackend| {
            let mut order = EpochOrder::new(&rows, config.seed, 0);
            while let Some(batch) = order.next_batch(BATCH) {
                backend.step(Batch::rows(batch), config.learning_rate).unwrap();
            }
            backend
        };
        // The first epoch touches the memory of tables and rooms for the first time.
        let warm = epoch(start());
        let (from, before) = (Instant::now(), warm.gemm_time());
        let done = (0..EPOCHS).fold(warm, |backend, _| epoch(backend));
        let time = from.elapsed().as_secs_f64() * threads as f64;
        let share = (done.gemm_time() - before).as_secs_f64() / time;
        beside(&format!("train_epoch/{preset}: share of the step inside matrix products"), share, "of 1");
        group.bench_function(preset, |b| {
            b.iter_batched(start, epoch, BatchSize::PerIteration);
        });
    }
    recommended(&mut group, threads);
    group.finish();
}

/// Its batches are customers, which a whole training makes: the time of the steps is what counts.
fn recommended(group: &mut BenchmarkGroup<'_, WallTime>, threads: usize) {
    let mut config = TrainConfig::recommended();
    (config.threads, config.split, config.epochs, config.repeat) = (threads, SplitKind::Random, 1, None);
    let (data, vocabulary) = data(&config);
    let model = config.model(&Schema::retail()).unwrap();
    let trainer = Trainer::new(data, model, vocabulary, config).unwrap();
    group.throughput(Throughput::Elements((ROWS * 95 / 100) as u64));
    group.bench_function("recommended", |b| {
        b.iter_custom(|times| {
            let epoch = |_| trainer.fit(&Silent, &CancelToken::new()).unwrap().history[0].seconds;
            Duration::from_secs_f64((0..times).map(epoch).sum())
        });
    });
}

criterion_group!(benches, train_epoch);
criterion_main!(benches);
