//! Lists for all customers.

use crate::artifact::{NOW, artifact, host};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recs_core::artifact::Digest;
use recs_core::observe::{CancelToken, Event, Observer, Silent};
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::bulk::{Asked, BulkConfig, BulkMetadata, BulkReport, all_customers, recommend_all};
use recs_serve::clock::FixedClock;
use recs_serve::retriever::{Host, Request, Retriever};
use recs_serve::{Error, Result};
use std::sync::Arc;

fn root() -> TenantRoot {
    Store::memory().tenant(&TenantId::new("acme").unwrap()).unwrap()
}

fn retriever(version: &str) -> Arc<Retriever> {
    Arc::new(Retriever::new(Arc::new(artifact(version)), host()).unwrap())
}

fn config() -> BulkConfig {
    BulkConfig { part_requests: 3 }
}

fn everybody(k: usize) -> Asked {
    all_customers(retriever("v1"), Request { k, ..Request::default() })
}

async fn run(root: &TenantRoot, requests: Asked) -> Result<BulkReport> {
    recommend_all(root, "monday", retriever("v1"), requests, &config(), &Silent, &CancelToken::new()).await
}

/// Cancels when so many requests are done.
struct StopAt(u64, CancelToken);

impl Observer for StopAt {
    fn on_event(&self, event: &Event) {
        if matches!(event, Event::Progress { done, .. } if *done >= self.0) {
            self.1.cancel();
        }
    }
}

async fn files(root: &TenantRoot, metadata: &BulkMetadata) -> Vec<bytes::Bytes> {
    let folder = root.table("predictions", "bulk-monday").unwrap();
    let mut files = Vec::new();
    for part in &metadata.parts {
        let bytes = folder.get(&part.file, 1 << 20).await.unwrap();
        part.digest.verify(&part.file, &Digest::of(&bytes)).unwrap();
        files.push(bytes);
    }
    files
}

fn batches(file: &bytes::Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().build().unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

#[tokio::test]
async fn everybody_gets_the_list_that_a_request_gets() {
    let (root, retriever) = (root(), retriever("v1"));
    let report = run(&root, everybody(4)).await.unwrap();
    assert_eq!((report.resumed, report.metadata.requests), (0, retriever.customers() as u64));
    assert_eq!(report.metadata.parts.len(), retriever.customers().div_ceil(3));
    assert_eq!(BulkMetadata::load(&root, "monday").await.unwrap(), report.metadata);
    let mut customers = (0..).map_while(|number| retriever.customer(number));
    for file in files(&root, &report.metadata).await {
        for batch in batches(&file) {
            let ids = batch["customer_id"].as_string::<i32>();
            let (products, scores) =
                (batch["product_ids"].as_list::<i32>(), batch["scores"].as_list::<i32>());
            let reasons = arrow::compute::cast(
                &batch["reasons"],
                &arrow::datatypes::DataType::new_list(arrow::datatypes::DataType::Utf8, false),
            )
            .unwrap();
            for row in 0..batch.num_rows() {
                let customer_id = customers.next().unwrap().to_owned();
                assert_eq!(ids.value(row), customer_id);
                let request = Request { customer_id, k: 4, ..Request::default() };
                let expected = retriever.recommend(&request).unwrap();
                let (products, scores) = (products.value(row), scores.value(row));
                let reasons = reasons.as_list::<i32>().value(row);
                assert_eq!((products.len(), expected.items.len()), (4, 4));
                for (i, item) in expected.items.iter().enumerate() {
                    assert_eq!(products.as_string::<i32>().value(i), item.product_id);
                    assert_eq!(scores.as_primitive::<Float32Type>().value(i), item.score);
                    assert_eq!(reasons.as_string::<i32>().value(i), item.reason.name());
                }
            }
        }
    }
    assert!(customers.next().is_none());
}

#[tokio::test]
async fn a_run_that_was_stopped_goes_on_to_the_same_bytes() {
    let (whole, stopped) = (root(), root());
    let expected = run(&whole, everybody(5)).await.unwrap().metadata;
    assert!(expected.parts.len() > 3);
    let cancel = CancelToken::new();
    let observer = StopAt(6, cancel.clone());
    let first =
        recommend_all(&stopped, "monday", retriever("v1"), everybody(5), &config(), &observer, &cancel).await;
    assert!(matches!(first, Err(Error::Core(recs_core::Error::Cancelled))), "{first:?}");
    assert!(BulkMetadata::load(&stopped, "monday").await.is_err());
    // Another day, by the clock; the run stays that of its first call.
    let later = Host { clock: Arc::new(FixedClock(NOW + 400_000)), ..host() };
    let later = Arc::new(Retriever::new(Arc::new(artifact("v1")), later).unwrap());
    let (config, cancel) = (config(), CancelToken::new());
    let report =
        recommend_all(&stopped, "monday", later, everybody(5), &config, &Silent, &cancel).await.unwrap();
    assert_eq!((report.resumed, &report.metadata), (2, &expected));
    assert_eq!(files(&stopped, &report.metadata).await, files(&whole, &expected).await);
}

#[tokio::test]
async fn a_run_goes_on_only_as_it_began() {
    let root = root();
    let cancel = CancelToken::new();
    let observer = StopAt(6, cancel.clone());
    let v1 = retriever("v1");
    recommend_all(&root, "monday", v1, everybody(5), &config(), &observer, &cancel).await.unwrap_err();
    let refused = |result: Result<BulkReport>, text: &str| {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Config { .. }) && error.to_string().contains(text), "{error}");
    };
    refused(run(&root, everybody(6)).await, "part-00000");
    refused(run(&root, Box::new(everybody(5).take(3))).await, "part-00001");
    let cancel = CancelToken::new();
    let v2 = recommend_all(&root, "monday", retriever("v2"), everybody(5), &config(), &Silent, &cancel).await;
    refused(v2, "begun with version v1");
    let zero = BulkConfig { part_requests: 0 };
    let zero = recommend_all(&root, "monday", retriever("v1"), everybody(5), &zero, &Silent, &cancel).await;
    refused(zero, "1 to 1,000,000");
    run(&root, everybody(5)).await.unwrap();
    let again = run(&root, everybody(5)).await;
    assert!(matches!(again, Err(Error::Core(recs_core::Error::AlreadyExists { .. }))));
}

#[tokio::test]
async fn of_two_processes_at_one_run_one_is_told() {
    let root = root();
    let (one, other) = tokio::join!(run(&root, everybody(5)), run(&root, everybody(5)));
    let told = [&one, &other].into_iter().filter(|result| result.is_err()).count();
    assert!(told <= 1, "{one:?} {other:?}");
    let exists = |r: &Result<_>| matches!(r, Err(Error::Core(recs_core::Error::AlreadyExists { .. })));
    assert!([&one, &other].into_iter().all(|result| result.is_ok() || exists(result)));
    let expected = run(&self::root(), everybody(5)).await.unwrap().metadata;
    let metadata = match BulkMetadata::load(&root, "monday").await {
        Ok(metadata) => metadata,
        Err(_) => run(&root, everybody(5)).await.unwrap().metadata,
    };
    assert_eq!(metadata, expected);
    files(&root, &metadata).await;
}

#[cfg(feature = "http")]
#[tokio::test]
async fn requests_come_from_a_file_too() {
    use recs_serve::bulk::json_lines;
    let line = |id: &str, k: usize| {
        format!(r#"{{"customer_id": "{id}", "city": "", "revenue": 1.5, "num_recommendations": {k}}}"#)
    };
    let text = format!("{}\n\n  \n{}", line("1", 2), line("nobody", 3));
    let read: Vec<Request> =
        json_lines(std::io::Cursor::new(text), "asked.jsonl").collect::<Result<_>>().unwrap();
    assert_eq!(
        read.iter().map(|r| (r.customer_id.as_str(), r.k)).collect::<Vec<_>>(),
        [("1", 2), ("nobody", 3)]
    );
    let faulty = format!("{}\n{}\n{}", line("1", 2), line("2", 0), line("3", 1));
    let mut lines = json_lines(std::io::Cursor::new(faulty.clone()), "asked.jsonl");
    assert!(lines.next().unwrap().is_ok());
    let error = lines.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("asked.jsonl") && error.contains("line 2") && error.contains("num_recommendations"),
        "{error}"
    );
    assert!(lines.next().is_none(), "the first error is the last word");
    let root = root();
    let failed = run(&root, json_lines(std::io::Cursor::new(faulty), "asked.jsonl")).await;
    assert!(failed.unwrap_err().to_string().contains("line 2"));
    let endless = std::io::Read::take(std::io::repeat(b' '), 3 << 20);
    let endless = json_lines(std::io::BufReader::new(endless), "asked.jsonl").next().unwrap();
    assert!(endless.unwrap_err().to_string().contains("longer than"));
}
