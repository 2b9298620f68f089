//! The 90-day extraction of the example data against the digest of the expected rows.

use super::formats::text;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use futures::TryStreamExt;
use recs_core::artifact::Digest;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_etl::dataset::{DatasetConfig, DatasetInput, write_dataset};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Tables};
use recs_etl::extract::{ExtractConfig, OutputColumns, ProductColumns, Stage, TransactionColumns, extract};
use recs_etl::source::{ParquetConfig, ParquetSource, Source};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data").join(file)
}

fn tables() -> Tables {
    let config = ParquetConfig::default()
        .with_table("transactions", [example("transactions.parquet")])
        .with_table("products", [example("products.parquet")]);
    let source: Arc<dyn Source> = Arc::new(ParquetSource::new(config).unwrap());
    Tables::new()
        .with("transactions", Arc::clone(&source), "transactions")
        .with("products", source, "products")
}

fn config() -> ExtractConfig {
    ExtractConfig {
        transactions: TransactionColumns {
            customer: "household_id".into(),
            city: "store_id".into(),
            value: "sales_value".into(),
            timestamp: "transaction_timestamp".into(),
            ..TransactionColumns::default()
        },
        products: ProductColumns {
            name: "product_type".into(),
            category: "department".into(),
            subcategory: "product_category".into(),
            ..ProductColumns::default()
        },
        output: OutputColumns {
            customer_id: "cust_person_id".into(),
            category: "stratbuy_domain_desc".into(),
            subcategory: "mge_main_cat_desc".into(),
            ..OutputColumns::default()
        },
        city_prefix: "store_".into(),
        ..ExtractConfig::default()
    }
}

fn schema() -> Schema {
    let names = [
        ("customer_id", "cust_person_id"),
        ("category", "stratbuy_domain_desc"),
        ("subcategory", "mge_main_cat_desc"),
    ];
    Schema::retail().with_records(names).unwrap()
}

fn line(batch: &RecordBatch, row: usize) -> String {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let value = |name: &str| text(column(name), row).unwrap();
    let revenue = column("revenue").as_primitive::<Float32Type>().value(row).to_bits();
    let names = ["city", "timestamp", "art_name", "stratbuy_domain_desc", "mge_main_cat_desc"];
    let rest: Vec<String> = names.iter().map(|name| value(name)).collect();
    format!("{}\t{}\t{revenue:08x}\t{}\n", value("cust_person_id"), value("product_id"), rest.join("\t"))
}

async fn rows(engine: &DataFusionEngine, config: &ExtractConfig) -> Vec<String> {
    let extraction = extract(engine, &tables(), config, &Silent, &CancelToken::new()).await.unwrap();
    let batches: Vec<RecordBatch> = extraction.rows.batches.try_collect().await.unwrap();
    batches.iter().flat_map(|b| (0..b.num_rows()).map(|row| line(b, row))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_extraction_is_the_expected_multiset_in_an_order_that_threads_do_not_change() {
    let golden = include_str!("data/complete_journey_extract.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let one = DataFusionEngine::new(&DataFusionConfig { threads: 1, ..DataFusionConfig::default() }).unwrap();
    let limits =
        DataFusionConfig { threads: 3, memory_limit_bytes: Some(128 << 20), ..DataFusionConfig::default() };
    let three = DataFusionEngine::new(&limits).unwrap();

    let mut lines = rows(&three, &config()).await;
    assert!(lines == rows(&one, &config()).await, "the order depends on the threads");
    assert_eq!(lines.len(), golden["rows"].as_u64().unwrap() as usize);
    lines.sort_unstable();
    assert_eq!(Digest::of(lines.concat().as_bytes()).sha256, golden["sha256"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_tell_each_filter_and_the_dataset_keeps_them() {
    let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
    let (observer, cancel) = (Collect::default(), CancelToken::new());
    let extraction = extract(&engine, &tables(), &config(), &observer, &cancel).await.unwrap();
    let counts = extraction.counts.clone();
    assert_eq!(
        (counts.first_day.to_string(), counts.last_day.to_string()),
        ("2017-10-03".into(), "2018-01-01".into())
    );
    let after = |stage| {
        let count = counts.after(stage).unwrap();
        (count.rows, count.customers, count.products, count.revenue.as_str())
    };
    assert_eq!(after(Stage::All).0, 418_721, "with the days before the window and the rows of value zero");
    assert_eq!(after(Stage::Window), (364_704, 2_326, 37_892, "1167921.00"));
    assert_eq!(after(Stage::PositiveValue), (361_826, 2_326, 37_731, "1167921.00"));
    assert_eq!(after(Stage::TopProducts), (275_607, 2_307, 9_672, "934346.05"));
    assert_eq!(after(Stage::ActiveCustomers), (275_489, 2_240, 9_667, "933184.41"));
    assert_eq!((counts.nulls, counts.negative_values, counts.duplicate_products), Default::default());

    let folder = tempfile::tempdir().unwrap();
    let store = Store::local(folder.path()).unwrap();
    let (schema, shape) = (schema(), DatasetConfig::default());
    let metadata =
        write_dataset(&store, extraction.into(), &schema, &shape, &observer, &cancel).await.unwrap();
    assert_eq!((metadata.total_examples, metadata.shards.len(), metadata.counts.len()), (275_489, 25, 8));
    assert_eq!(metadata.period.as_ref().unwrap().first_day, "2017-10-03");
    assert_eq!(metadata.filters["revenue_share"], 0.8);
    let finished: Vec<_> =
        observer.events().into_iter().filter(|e| matches!(e, Event::Finished { .. })).collect();
    assert_eq!(finished.len(), 2, "{finished:?}");

    let dataset = recs_core::dataset::Dataset::open(store).await.unwrap();
    let counted = dataset
        .fold_rows(
            &schema,
            2,
            &cancel,
            |_| 0u64,
            |n, _| {
                *n += 1;
                Ok(())
            },
        )
        .await
        .unwrap();
    assert_eq!(counted.iter().sum::<u64>(), 275_489);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_a_dataset_too_and_a_smaller_sample_is_part_of_a_larger() {
    let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
    let sampled =
        |sample_fraction| ExtractConfig { sample_fraction, revenue_share: 1.0, min_products: 1, ..config() };
    let (small, large) = (rows(&engine, &sampled(0.05)).await, rows(&engine, &sampled(0.1)).await);
    let customers = |lines: &[String]| -> std::collections::BTreeSet<String> {
        lines.iter().map(|l| l.split('\t').next().unwrap().to_owned()).collect()
    };
    let (small, large) = (customers(&small), customers(&large));
    assert!(small.is_subset(&large) && (60..190).contains(&small.len()) && (150..330).contains(&large.len()));

    let extraction = extract(&engine, &tables(), &sampled(0.05), &Silent, &CancelToken::new()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("extract.parquet");
    let schema_of_rows = extraction.rows.schema.clone();
    let batches: Vec<RecordBatch> = extraction.rows.batches.try_collect().await.unwrap();
    let batch = arrow::compute::concat_batches(&schema_of_rows, &batches).unwrap();
    super::formats::write_parquet(&path, &batch, 1000);
    let source: Arc<dyn Source> =
        Arc::new(ParquetSource::new(ParquetConfig::file("extract", &path)).unwrap());
    let (schema, cancel) = (schema(), CancelToken::new());
    let shape = DatasetConfig { shards: 3, sort_key: vec!["timestamp".into()], ..DatasetConfig::default() };
    let input =
        DatasetInput::from_table(source, "extract", &schema, &shape, Some(&engine), &cancel).await.unwrap();
    let store = Store::local(&folder.path().join("dataset")).unwrap();
    let metadata = write_dataset(&store, input, &schema, &shape, &Silent, &cancel).await.unwrap();
    assert_eq!(metadata.total_examples, batch.num_rows() as u64);
    assert_eq!(metadata.period.unwrap().last_day, "2018-01-01", "the period is that of the timestamps");
}
