//! Rows to shards: the same bytes each time, all or nothing.

use super::formats;
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, stream};
use recs_core::dataset::{Dataset, METADATA_FILE};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_etl::dataset::{DatasetConfig, DatasetInput, write_dataset};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Rows};
use recs_etl::{Error, Result};
use std::sync::Arc;

fn rows(count: i64) -> RecordBatch {
    let text = |prefix: &'static str, modulus: i64| {
        Arc::new((0..count).map(|i| Some(format!("{prefix}{}", i % modulus))).collect::<StringArray>())
            as ArrayRef
    };
    let revenue: Float32Array = (0..count).map(|i| i as f32 / 4.0).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("customer_id", text("c", 97), true),
        ("city", text("Zürich ", 5), true),
        ("revenue", Arc::new(revenue) as ArrayRef, true),
        ("timestamp", Arc::new((0..count).map(|i| 1_500_000_000 + i * 3600).collect::<Int64Array>()), true),
        ("product_id", Arc::new((0..count).map(|i| i * 7_919 % 1_009).collect::<Int64Array>()), true),
        ("art_name", text("name ", 50), true),
        ("category", text("cat ", 3), true),
        ("subcategory", text("sub ", 9), true),
    ])
    .unwrap()
}

fn with_column(batch: &RecordBatch, name: &str, column: &ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, old)| {
        let new = if field.name() == name { Arc::clone(column) } else { Arc::clone(old) };
        (field.name().clone(), new, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn input(batch: &RecordBatch, counted: u64) -> DatasetInput {
    let schema: SchemaRef = batch.schema();
    let pieces: Vec<Result<RecordBatch>> = (0..batch.num_rows())
        .step_by(100)
        .map(|at| Ok(batch.slice(at, 100.min(batch.num_rows() - at))))
        .collect();
    DatasetInput::new("test rows", Rows { schema, batches: stream::iter(pieces).boxed() }, counted)
}

fn shape(shards: usize, parallelism: usize) -> DatasetConfig {
    DatasetConfig { shards, parallelism, ..DatasetConfig::default() }
}

async fn write(
    store: &Store,
    batch: &RecordBatch,
    config: &DatasetConfig,
) -> Result<recs_core::dataset::DatasetMetadata> {
    let input = input(batch, batch.num_rows() as u64);
    write_dataset(store, input, &Schema::retail(), config, &Silent, &CancelToken::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_rows_give_equal_bytes_whatever_the_threads() {
    let batch = rows(2_345);
    let mut written = Vec::new();
    for parallelism in [1, 2, 8] {
        let store = Store::memory();
        let buffered = DatasetConfig { max_buffered_bytes: 1 << 20, ..shape(7, parallelism) };
        let metadata = write(&store, &batch, &buffered).await.unwrap();
        let mut bytes = vec![store.get(METADATA_FILE, 1 << 20).await.unwrap()];
        for shard in &metadata.shards {
            bytes.push(store.get(&shard.file, 1 << 20).await.unwrap());
        }
        written.push(bytes);
    }
    assert!(written.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_reads_back_in_order() {
    let (store, batch, schema) = (Store::memory(), rows(1_000), Schema::retail());
    let metadata = write(&store, &batch, &shape(6, 0)).await.unwrap();
    assert_eq!(metadata.shards.iter().map(|s| s.rows).collect::<Vec<_>>(), [167, 167, 167, 167, 166, 166]);
    assert_eq!(metadata.data_pattern, "raw_data/data-*-of-00006.tfrecord.gz");
    assert_eq!(metadata.period.as_ref().unwrap().first_day, "2017-07-14");
    let dataset = Dataset::open(store).await.unwrap();
    let collect = |lines: &mut Vec<String>, row: &[recs_core::schema::Value<'_>]| {
        lines.push(format!("{row:?}"));
        Ok(())
    };
    let read: Vec<Vec<String>> =
        dataset.fold_rows(&schema, 3, &CancelToken::new(), |_| Vec::new(), collect).await.unwrap();
    let read: Vec<String> = read.concat();
    assert_eq!(read.len(), 1_000);
    for (at, line) in read.iter().enumerate() {
        let text = |name: &str| formats::text(batch.column_by_name(name).unwrap(), at).unwrap();
        for name in ["customer_id", "city", "timestamp", "product_id", "subcategory"] {
            assert!(line.contains(&text(name)), "row {at}: {line}");
        }
        assert!(line.contains(&format!("Float({:?})", at as f32 / 4.0)), "row {at}: {line}");
    }
}

#[tokio::test]
async fn fewer_rows_than_shards_leave_empty_shards() {
    let store = Store::memory();
    let metadata = write(&store, &rows(3), &shape(5, 2)).await.unwrap();
    assert_eq!(metadata.shards.iter().map(|s| s.rows).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
    let dataset = Dataset::open(store).await.unwrap();
    let read = dataset
        .fold_rows(
            &Schema::retail(),
            1,
            &CancelToken::new(),
            |_| 0,
            |n, _| {
                *n += 1;
                Ok(())
            },
        )
        .await
        .unwrap();
    assert_eq!(read.iter().sum::<i32>(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_values_are_refused_and_nothing_is_left() {
    let good = rows(500);
    let revenue = |value: f64| -> ArrayRef {
        Arc::new((0..500).map(|i| if i == 321 { value } else { 1.0 }).collect::<Float64Array>())
    };
    let null_customer: StringArray = (0..500).map(|i| (i != 321).then_some("c")).collect();
    let number_as_text: StringArray = (0..500).map(|i| Some(i.to_string())).collect();
    for (column, values, expect) in [
        (
            "revenue",
            revenue(f64::NAN),
            "row 322, column `revenue`: expected a finite number of at least 0, got NaN",
        ),
        (
            "revenue",
            revenue(-0.5),
            "row 322, column `revenue`: expected a finite number of at least 0, got a negative",
        ),
        ("revenue", revenue(f64::INFINITY), "row 322, column `revenue`"),
        (
            "customer_id",
            Arc::new(null_customer) as ArrayRef,
            "row 322, column `customer_id`: expected UTF-8 text, got null",
        ),
        (
            "product_id",
            Arc::new(number_as_text),
            "column `product_id`: the column holds Utf8, expected int64",
        ),
    ] {
        let store = Store::memory();
        let batch = with_column(&good, column, &values);
        let message = write(&store, &batch, &shape(4, 2)).await.unwrap_err().to_string();
        assert!(message.contains("test rows") && message.contains(expect), "{message}");
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new(), "{expect}");
    }
}

#[tokio::test]
async fn other_rows_than_were_counted_are_refused() {
    for counted in [99, 101, 400] {
        let store = Store::memory();
        let input = input(&rows(100), counted);
        let error =
            write_dataset(&store, input, &Schema::retail(), &shape(3, 1), &Silent, &CancelToken::new()).await;
        assert!(matches!(&error, Err(Error::CountChanged { counted: c, .. }) if *c == counted), "{error:?}");
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_or_failing_run_leaves_nothing() {
    let (store, cancel, batch) = (Store::memory(), CancelToken::new(), rows(2_000));
    let token = cancel.clone();
    let pieces = (0..20).map(move |at| {
        if at == 12 {
            token.cancel();
        }
        Ok(batch.slice(at * 100, 100))
    });
    let rows_of = |batches| Rows { schema: rows(1).schema(), batches };
    let input = DatasetInput::new("rows", rows_of(stream::iter(pieces).boxed()), 2_000);
    let error =
        write_dataset(&store, input, &Schema::retail(), &shape(10, 2), &Silent, &cancel).await.unwrap_err();
    assert!(error.is_cancelled(), "{error:?}");
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());

    let broken = vec![Ok(rows(100)), Err(Error::ReaderLost { place: Box::default() })];
    let input = DatasetInput::new("rows", rows_of(stream::iter(broken).boxed()), 2_000);
    let none = CancelToken::new();
    let error =
        write_dataset(&store, input, &Schema::retail(), &shape(10, 2), &Silent, &none).await.unwrap_err();
    assert!(matches!(error, Error::ReaderLost { .. }), "{error:?}");
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dataset_is_never_overwritten() {
    let store = Store::memory();
    let first = write(&store, &rows(10), &shape(2, 1)).await.unwrap();
    let second = write(&store, &rows(20), &shape(2, 1)).await.unwrap_err();
    assert!(matches!(second, Error::Core(recs_core::Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(Dataset::open(store).await.unwrap().metadata(), &first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_key_orders_a_table_and_needs_an_engine() {
    let (schema, cancel) = (Schema::retail(), CancelToken::new());
    let held = formats::memory("t", &rows(300));
    let config = DatasetConfig { sort_key: vec!["product_id".into()], ..shape(2, 1) };
    let refused =
        DatasetInput::from_table(Arc::clone(&held.source), "t", &schema, &config, None, &cancel).await;
    assert!(matches!(refused, Err(Error::Config { .. })));
    let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
    let input =
        DatasetInput::from_table(Arc::clone(&held.source), "t", &schema, &config, Some(&engine), &cancel)
            .await;
    let store = Store::memory();
    write_dataset(&store, input.unwrap(), &schema, &config, &Silent, &cancel).await.unwrap();
    let ids = |ids: &mut Vec<i64>, row: &[recs_core::schema::Value<'_>]| {
        if let recs_core::schema::Value::Int64(id) = row[4] {
            ids.push(id);
        }
        Ok(())
    };
    let dataset = Dataset::open(store).await.unwrap();
    let read = dataset.fold_rows(&schema, 1, &cancel, |_| Vec::new(), ids).await.unwrap().concat();
    assert!(read.is_sorted() && read.len() == 300);
    let empty = formats::memory("t", &rows(300).slice(0, 0));
    let refused = DatasetInput::from_table(empty.source, "t", &schema, &shape(1, 1), None, &cancel).await;
    assert!(matches!(refused, Err(Error::Request { .. })));
}

#[test]
fn every_number_of_the_configuration_has_a_range() {
    for config in [
        shape(0, 1),
        shape(100_000, 1),
        shape(1, 2_000),
        DatasetConfig { gzip_level: 10, ..DatasetConfig::default() },
        DatasetConfig { max_buffered_bytes: 10, ..DatasetConfig::default() },
    ] {
        assert!(matches!(config.validate(), Err(Error::Config { .. })), "{config:?}");
    }
}
