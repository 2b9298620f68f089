//! How long does a request take inside the router, without a network? And how many are answered by a catalogue that no cache
//! holds, when they come several at a time: each alone, and together?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyExt;
use recs_benches::{CUSTOMERS, PRODUCTS, PurchaseLog, SEED, vectors};
use recs_core::artifact::{Candidates, ModelArtifact};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::tenant::TenantId;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use recs_train::data::SplitKind;
use recs_train::{LoadOptions, TrainConfig, TrainData, Trainer};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const ROWS: usize = 50_000;
const BATCH: usize = 1000;
const K: usize = 100;
/// As many as are searched one by one, by default, at 32 numbers each.
const LARGE: usize = 400_000;
/// Requests of one client after another.
const ROUNDS: usize = 20;

/// A reference model after one epoch on the synthetic log.
async fn model() -> ModelArtifact {
    let (cancel, schema) = (CancelToken::new(), Schema::retail());
    let dataset = PurchaseLog::new(ROWS).dataset(4).await.unwrap();
    let buckets = VocabularyConfig::default();
    let built = Vocabulary::build(&dataset, &schema, &buckets, 2, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let config = TrainConfig { epochs: 1, split: SplitKind::Random, ..TrainConfig::reference() };
    let model = config.model(&schema).unwrap();
    let loaded = TrainData::load(
        &dataset,
        &schema,
        Arc::clone(&vocabulary),
        &LoadOptions::in_memory(2),
        Arc::new(Silent),
        &cancel,
    )
    .await;
    let trainer = Trainer::new(Arc::new(loaded.unwrap()), model, vocabulary, config).unwrap();
    trainer.fit(&Silent, &cancel).unwrap().into_artifact("bench").unwrap()
}

/// The same model with more products, which nobody bought.
fn larger(artifact: ModelArtifact, products: usize) -> ModelArtifact {
    let mut all = Candidates::clone(&artifact.candidates);
    let new = products - all.len();
    let vectors = vectors(new, artifact.config.embedding_dim(), SEED);
    all.vectors = ndarray::concatenate![ndarray::Axis(0), all.vectors, vectors];
    all.ids.extend((0..new).map(|i| format!("new-{i}")));
    all.names.extend((0..new).map(|i| format!("NEW PRODUCT {i}")));
    all.categories.extend((0..new).map(|i| format!("CATEGORY {}", i % 25)));
    all.available.resize(products, true);
    all.popularity.resize(products, 0);
    ModelArtifact { candidates: Arc::new(all), ..artifact }
}

fn app(artifact: ModelArtifact, threads: usize, together: usize) -> Router {
    let (host, tenant) = (Host::new(Workers::new(threads).unwrap()), TenantId::new("bench").unwrap());
    let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone()).unwrap());
    let config = ServeConfig { default_tenant: Some(tenant.clone()), together, ..ServeConfig::default() };
    let state = AppState::new(host, config).unwrap();
    state.swap(&tenant, retriever);
    router(state, Auth::Open)
}

/// Sends a request through the router and reads the whole answer; gives its size.
async fn ask(app: Router, path: &str, body: String) -> usize {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
    let response = app.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes().len()
}

fn customer(i: usize) -> Value {
    json!({"customer_id": (i % CUSTOMERS + 1).to_string(), "city": format!("store_{}", i % 143), "revenue": 123.5, "timestamp": 1_514_764_800})
}

fn bodies() -> Vec<String> {
    let one = |i: usize| {
        let mut body = customer(i);
        body["num_recommendations"] = K.into();
        body.to_string()
    };
    (0..BATCH).map(one).collect()
}

fn http(c: &mut Criterion) {
    let threads = rayon::current_num_threads();
    let runtime = Runtime::new().unwrap();
    let model = runtime.block_on(model());
    let app = app(model.clone(), threads, 1);
    let mut group = c.benchmark_group(format!("http/{PRODUCTS}_products_k{K}_{threads}_threads"));
    let bodies = bodies();
    let mut next = bodies.iter().cycle();
    group.sample_size(20).throughput(Throughput::Elements(1));
    group.bench_function("recommend", |b| {
        b.iter(|| runtime.block_on(ask(app.clone(), "/recommend", next.next().unwrap().clone())));
    });
    let all: Vec<Value> = (0..BATCH).map(customer).collect();
    let body = json!({"requests": all, "num_recommendations": K}).to_string();
    group.sample_size(10).throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("recommend_batch_of_{BATCH}"), |b| {
        b.iter(|| runtime.block_on(ask(app.clone(), "/recommend-batch", body.clone())));
    });
    group.finish();
    for products in [100_000, LARGE] {
        several_at_a_time(c, &runtime, &larger(model.clone(), products));
    }
}

/// Requests of so many clients, each of which asks again when it has its answer.
fn several_at_a_time(c: &mut Criterion, runtime: &Runtime, model: &ModelArtifact) {
    let threads = rayon::current_num_threads();
    let name = format!("http/{}_products_k{K}_{threads}_threads", model.candidates.len());
    let (mut group, bodies) = (c.benchmark_group(name), Arc::new(bodies()));
    let most = ServeConfig::default().together;
    for (clients, together) in [(1, 1), (1, most), (8, 1), (8, most), (32, 1), (32, most)] {
        let app = app(model.clone(), threads, together);
        let asked = ROUNDS * clients;
        group.sample_size(10).throughput(Throughput::Elements(asked as u64));
        group.bench_function(format!("{clients}_clients_{together}_together"), |b| {
            b.iter(|| runtime.block_on(rounds(&app, clients, &bodies)));
        });
    }
    group.finish();
}

async fn rounds(app: &Router, clients: usize, bodies: &Arc<Vec<String>>) {
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let (app, bodies) = (app.clone(), Arc::clone(bodies));
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let body = bodies[(client * ROUNDS + round) % bodies.len()].clone();
                    ask(app.clone(), "/recommend", body).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

criterion_group!(benches, http);
criterion_main!(benches);
