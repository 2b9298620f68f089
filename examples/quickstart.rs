//! From a real purchase log to served recommendations, every stage in order.
//!
//! ```text
//! cargo run --release --example quickstart [-- --serve] [--json]
//! ```
//! `--serve` keeps the server running until Ctrl-C, `--json` puts what was measured on the last line. Nothing is needed
//! but this repository: the log lies in `examples/data/`, everything written goes to a temporary folder.

// An example may print; the library crates may not.
#![allow(clippy::print_stdout)]

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use recs_core::artifact::ModelArtifact;
use recs_core::dataset::Dataset;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Schema;
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_core::vocab::{VOCABULARY_FILE, Vocabulary, VocabularyConfig};
use recs_etl::dataset::{DatasetConfig, DatasetInput, write_dataset};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Tables};
use recs_etl::extract::{ExtractConfig, ProductColumns, TransactionColumns, extract};
use recs_etl::source::{ParquetConfig, ParquetSource};
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::index::IndexConfig;
use recs_serve::model::publish as publish_model;
use recs_serve::retriever::{Host, Request, Retriever};
use recs_serve::workers::Workers;
use recs_train::{Fitted, LoadOptions, TrainConfig, TrainData, Trainer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Prints what the stages tell.
struct Printer;

impl Observer for Printer {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Finished { stage, seconds } => println!("   {stage} took {seconds:.1} s"),
            Event::Metric { name, step, value } if name == "validation_recall_at_100" => {
                println!("   epoch {step:>2}: validation Recall@100 {:.2} %", 100.0 * value);
            }
            Event::Warning { stage, message } => println!("   warning in {stage}: {message}"),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let flags: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let started = Instant::now();
    let folder = tempfile::tempdir()?;

    // Everything of a tenant lies below its own root in a store: here a local folder, elsewhere gs://, s3:// or az://.
    let tenant = TenantId::new("quickstart")?;
    let root = Store::local(folder.path())?.tenant(&tenant)?;

    let schema = Schema::retail();
    let dataset = extract_to_shards(&root, &schema).await?;
    let vocabulary = build_vocabulary(&dataset, &schema).await?;
    let sizes = vocabulary.sizes(&schema);
    let fitted = train(&dataset, &schema, vocabulary).await?;
    let mut measured = json!({
        "rows": dataset.metadata().total_examples, "customers": sizes["customers"], "products": sizes["products"],
        "cities": sizes["cities"], "train_examples_per_s": fitted.examples_per_s().round(),
        "recall_at_100": fitted.test.served().recall_at_100, "towers_recall_at_100": fitted.test.recall_at_100,
        "popularity_recall_at_100": fitted.popularity.recall_at_100,
    });
    print_table(&fitted);
    publish(fitted, &root).await?;
    serve(&root, &tenant, has("--serve")).await?;

    let seconds = started.elapsed().as_secs_f64();
    println!("\nDone in {seconds:.0} s.");
    if has("--json") {
        measured["seconds"] = json!((seconds * 10.0).round() / 10.0);
        println!("{measured}");
    }
    Ok(())
}

/// Stage 1: one SQL statement picks the window, the products that make 80 % of the revenue and the active customers;
/// the rows stream into gzip TFRecord shards.
async fn extract_to_shards(root: &TenantRoot, schema: &Schema) -> Result<Dataset, Failure> {
    println!("1. Extract the last 90 days of the log and write TFRecord shards");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let file = |name: &str| [data.join(name)];
    let tables = ParquetConfig::default()
        .with_table("transactions", file("transactions.parquet"))
        .with_table("products", file("products.parquet"));
    let source = Arc::new(ParquetSource::new(tables)?);
    let tables = Tables::new()
        .with("transactions", source.clone(), "transactions")
        .with("products", source, "products");
    let config = ExtractConfig {
        transactions: TransactionColumns {
            table: "transactions".into(),
            customer: "household_id".into(),
            product: "product_id".into(),
            city: "store_id".into(),
            value: "sales_value".into(),
            timestamp: "transaction_timestamp".into(),
        },
        products: ProductColumns {
            table: "products".into(),
            product: "product_id".into(),
            name: "product_type".into(),
            category: "department".into(),
            subcategory: "product_category".into(),
        },
        city_prefix: "store_".into(),
        ..ExtractConfig::default()
    };
    let (engine, cancel) = (DataFusionEngine::new(&DataFusionConfig::default())?, CancelToken::new());
    let extraction = extract(&engine, &tables, &config, &Printer, &cancel).await?;
    for stage in extraction.counts.to_metadata() {
        println!(
            "   {:<17} {:>8} rows {:>6} customers {:>6} products",
            stage.stage, stage.rows, stage.customers, stage.products
        );
    }
    let folder = root.dataset("first")?;
    let shards = DatasetConfig::default();
    write_dataset(&folder, DatasetInput::from(extraction), schema, &shards, &Printer, &cancel).await?;
    Ok(Dataset::open(folder).await?)
}

/// Stage 2: every distinct text gets an id, every number its buckets.
async fn build_vocabulary(dataset: &Dataset, schema: &Schema) -> Result<Vocabulary, Failure> {
    println!("2. Build the vocabularies");
    let config = VocabularyConfig::default();
    let vocabulary =
        Vocabulary::build(dataset, schema, &config, 2, Arc::new(Printer), &CancelToken::new()).await?;
    let folder = dataset.store().child("vocabularies")?;
    folder.put(VOCABULARY_FILE, vocabulary.to_json(schema)?.into()).await?;
    for (what, size) in vocabulary.sizes(schema) {
        println!("   {what:<22} {size:>6}");
    }
    Ok(vocabulary)
}

/// Stage 3: train two towers; the last 7 days are the test; on the 7 days before them it is fitted
/// how much more likely people buy what they bought before.
async fn train(dataset: &Dataset, schema: &Schema, vocabulary: Vocabulary) -> Result<Fitted, Failure> {
    println!("3. Train the two towers");
    let (config, cancel) = (TrainConfig::recommended(), CancelToken::new());
    let (model, vocabulary) = (config.model(schema)?, Arc::new(vocabulary));
    let data = TrainData::load(
        dataset,
        &model.schema,
        vocabulary.clone(),
        &LoadOptions::in_memory(2),
        Arc::new(Printer),
        &cancel,
    )
    .await?;
    let trainer = Trainer::new(Arc::new(data), model, vocabulary, config)?;
    Ok(tokio::task::spawn_blocking(move || trainer.fit(&Printer, &cancel)).await??)
}

fn print_table(fitted: &Fitted) {
    let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.2} %", 100.0 * s));
    println!("\n   On {} purchases of the last 7 days:", fitted.test.rows);
    let (served, towers, popular) = (fitted.test.served(), &fitted.test, &fitted.popularity);
    println!("   {:<12} {:>10} {:>13} {:>12}", "", "served", "towers alone", "popularity");
    for (name, served, towers, popular) in [
        ("Recall@10", served.recall_at_10, towers.recall_at_10, popular.recall_at_10),
        ("Recall@50", served.recall_at_50, towers.recall_at_50, popular.recall_at_50),
        ("Recall@100", served.recall_at_100, towers.recall_at_100, popular.recall_at_100),
        ("personalised", served.personalisation, towers.personalisation, popular.personalisation),
    ] {
        println!("   {name:<12} {:>10} {:>13} {:>12}", percent(served), percent(towers), percent(popular));
    }
    println!("   {:.0} examples/s\n", fitted.examples_per_s());
}

/// Stage 4: a version is published as a whole or not at all, every file with its SHA-256.
async fn publish(fitted: Fitted, root: &TenantRoot) -> Result<(), Failure> {
    println!("4. Publish the model");
    let (artifact, index) = (fitted.into_artifact("v1")?, IndexConfig::default());
    let manifest = publish_model(&artifact, root, "2018-01-02T00:00:00Z", &index, &Workers::new(0)?).await?;
    for (file, digest) in &manifest.files {
        println!("   {file:<22} {:>9} bytes  sha256 {}…", digest.size_bytes, &digest.sha256[..12]);
    }
    Ok(())
}

/// Stage 5: load the published version, recommend in this process, then over HTTP.
async fn serve(root: &TenantRoot, tenant: &TenantId, keep: bool) -> Result<(), Failure> {
    println!("5. Load it, recommend, and serve");
    let artifact = ModelArtifact::load(root, &ModelArtifact::latest_version(root).await?).await?;
    let (candidates, customers) = (artifact.candidates.clone(), artifact.customers.clone());
    let name_of = |id: &str| {
        let at = candidates.ids.iter().position(|c| c == id);
        at.map_or("", |i| candidates.names[i].as_str())
    };
    let host = Host::new(Workers::new(0)?);
    let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone())?);
    for customer in customers.ids.iter().step_by(customers.len() / 3).take(3) {
        println!("   customer {customer}:");
        let city = customers.position(customer).map(|c| customers.segment[c].clone());
        let request = Request { customer_id: customer.clone(), city, k: 5, ..Request::default() };
        for item in retriever.recommend(&request)?.items {
            let reason = serde_json::to_value(item.reason)?;
            let reason = reason.as_str().unwrap_or_default();
            println!("     {}. {:<9} {:<32} {reason}", item.rank, item.product_id, name_of(item.product_id));
        }
    }

    let config = ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() };
    let state = AppState::new(host, config)?;
    state.swap(tenant, retriever);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, router(state, Auth::Open)).await });
    println!("   serving on http://{address}");
    ask(&format!("http://{address}/recommend"), &customers.ids[0]).await?;
    if keep {
        println!("   Ctrl-C stops; try: curl -s http://{address}/model-info");
        tokio::signal::ctrl_c().await?;
    }
    server.abort();
    Ok(())
}

/// Asks the server as any HTTP client would.
async fn ask(url: &str, customer: &str) -> Result<(), Failure> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<axum::body::Bytes>>();
    let question = json!({
        "customer_id": customer, "city": "store_367", "revenue": 250.0, "timestamp": 1_514_764_800, "num_recommendations": 3,
    });
    let request = axum::http::Request::post(url)
        .header("content-type", "application/json")
        .body(Full::from(question.to_string()))?;
    let response = client.request(request).await?;
    let status = response.status();
    let answer: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    if !status.is_success() {
        return Err(format!("{url} answered {status}: {answer}").into());
    }
    println!("   POST /recommend -> {status}: {}", answer["recommendations"]);
    Ok(())
}
