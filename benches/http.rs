//! How long does a request take inside the router, without a network?
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyExt;
use recs_benches::{CUSTOMERS, PRODUCTS, PurchaseLog};
use recs_core::artifact::ModelArtifact;
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
use tower::ServiceExt;

const ROWS: usize = 50_000;
const BATCH: usize = 1000;
const K: usize = 100;

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

fn app(artifact: ModelArtifact, threads: usize) -> Router {
    let (host, tenant) = (Host::new(Workers::new(threads).unwrap()), TenantId::new("bench").unwrap());
    let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone()).unwrap());
    let config = ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() };
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

fn http(c: &mut Criterion) {
    let threads = rayon::current_num_threads();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = app(runtime.block_on(model()), threads);
    let mut group = c.benchmark_group(format!("http/{PRODUCTS}_products_k{K}_{threads}_threads"));

    let one = |i: usize| {
        let mut body = customer(i);
        body["num_recommendations"] = K.into();
        body.to_string()
    };
    let bodies: Vec<String> = (0..BATCH).map(one).collect();
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
}

criterion_group!(benches, http);
criterion_main!(benches);
