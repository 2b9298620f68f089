//! SQL in process: what reaches the sources, what cannot be reached, whose errors come back.

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimeUnit};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use recs_core::observe::{CancelToken, Silent};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Engine, Tables};
use recs_etl::extract::{ExtractConfig, extract};
use recs_etl::source::{
    BatchStream, CompareOp, MemorySource, Predicate, Pushdown, ReadRequest, Scalar, Source, TableInfo,
};
use recs_etl::{Error, Place, Result};
use std::sync::{Arc, Mutex};

/// Keeps the requests that reach it; fails where told to.
#[derive(Debug)]
struct Watched {
    inner: MemorySource,
    requests: Mutex<Vec<ReadRequest>>,
    fail_after_batches: Option<usize>,
}

impl Watched {
    fn new(rows: RecordBatch) -> Arc<Self> {
        let inner = MemorySource::new("watched").with_table("log", rows.schema(), vec![rows]).unwrap();
        Arc::new(Self { inner, requests: Mutex::default(), fail_after_batches: None })
    }
}

#[async_trait]
impl Source for Watched {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
    async fn tables(&self) -> Result<Vec<TableInfo>> {
        self.inner.tables().await
    }
    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        self.inner.schema(table).await
    }
    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        self.inner.row_estimate(table).await
    }
    fn pushdown(&self, table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        self.inner.pushdown(table, schema, predicate)
    }
    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        self.requests.lock().unwrap().push(request.clone());
        let batches = self.inner.read(request).await?;
        let Some(fail_after) = self.fail_after_batches else { return Ok(batches) };
        let error = Error::Value {
            place: Box::new(Place::table("watched", "log").at_row(7).in_column("x")),
            expected: "int64".into(),
            got: "`seven`".into(),
            remedy: "mend it".into(),
        };
        Ok(batches.take(fail_after).chain(futures::stream::iter([Err(error)])).boxed())
    }
}

fn log(rows: usize) -> RecordBatch {
    let ids = || Arc::new((0..rows as i64).map(|i| i % 5).collect::<Int64Array>()) as ArrayRef;
    let at = (0..rows as i64).map(|i| 1_514_764_800_000_000_000 + i * 1_000_000_000);
    RecordBatch::try_from_iter([
        ("customer_id", ids()),
        ("product_id", ids()),
        (
            "city",
            Arc::new((0..rows).map(|i| Some(format!("s{}", i % 3))).collect::<StringArray>()) as ArrayRef,
        ),
        ("value", Arc::new((0..rows).map(|i| i as f64).collect::<Float64Array>())),
        ("timestamp", Arc::new(TimestampNanosecondArray::from_iter_values(at))),
        ("unused", ids()),
    ])
    .unwrap()
}

fn engine() -> DataFusionEngine {
    DataFusionEngine::new(&DataFusionConfig { threads: 2, ..DataFusionConfig::default() }).unwrap()
}

async fn numbers(sql: &str, tables: &Tables) -> Result<Vec<i64>> {
    let batches: Vec<RecordBatch> = engine().execute(sql, tables).await?.batches.try_collect().await?;
    Ok(batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}

#[tokio::test]
async fn farm_fingerprint_answers_as_bigquery_does() {
    // The three rows of BigQuery's documentation of FARM_FINGERPRINT.
    let sql = "SELECT farm_fingerprint(x) FROM (VALUES ('1footrue'), ('2applefalse'), ('3true')) AS t(x)";
    let expected = [-1_541_654_101_129_638_711, 2_794_438_866_806_483_259, -4_880_158_226_897_771_312];
    assert_eq!(numbers(sql, &Tables::new()).await.unwrap(), expected);
    assert_eq!(numbers("SELECT farm_fingerprint('3true')", &Tables::new()).await.unwrap(), expected[2..]);
}

#[tokio::test]
async fn window_value_and_city_filters_reach_the_source() {
    let source = Watched::new(log(100));
    let tables = Tables::new().with("transactions", source.clone(), "log");
    let mut config = ExtractConfig { cities: vec!["s1".into()], min_products: 1, ..ExtractConfig::default() };
    config.products.table.clear();
    let extraction = extract(&engine(), &tables, &config, &Silent, &CancelToken::new()).await.unwrap();
    source.requests.lock().unwrap().clear();
    let rows: Vec<RecordBatch> = extraction.rows.batches.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, extraction.counts.rows());

    let requests = source.requests.lock().unwrap();
    assert!(!requests.is_empty());
    let day = |value| Scalar::Timestamp { value, unit: TimeUnit::Nanosecond };
    for request in requests.iter() {
        for expected in [
            Predicate::compare("timestamp", CompareOp::Ge, day(1_506_988_800_000_000_000)),
            Predicate::compare("timestamp", CompareOp::Lt, day(1_514_851_200_000_000_000)),
            Predicate::compare("value", CompareOp::Gt, 0.0),
            Predicate::compare("city", CompareOp::Eq, "s1"),
        ] {
            assert!(request.predicates.contains(&expected), "{expected:?} did not arrive: {request:?}");
        }
        assert!(!request.projection.as_ref().unwrap().contains(&"unused".into()), "{request:?}");
    }
}

#[tokio::test]
async fn a_limit_reaches_the_source() {
    let source = Watched::new(log(100));
    let tables = Tables::new().with("t", source.clone(), "log");
    assert_eq!(numbers("SELECT product_id FROM t LIMIT 3", &tables).await.unwrap().len(), 3);
    assert_eq!(source.requests.lock().unwrap()[0].limit, Some(3));
}

#[tokio::test]
async fn an_error_of_a_source_comes_back_as_it_is() {
    let mut source = Arc::into_inner(Watched::new(log(100))).unwrap();
    source.fail_after_batches = Some(1);
    let tables = Tables::new().with("t", Arc::new(source), "log");
    let error = numbers("SELECT SUM(product_id) FROM t GROUP BY city ORDER BY 1", &tables).await.unwrap_err();
    assert!(matches!(&error, Error::Value { place, .. } if place.row == Some(7)), "{error:?}");
}

#[tokio::test]
async fn a_statement_reaches_its_tables_and_nothing_else() {
    let tables = Tables::new().with("t", Watched::new(log(3)), "log");
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY t TO '/tmp/recs-etl-must-not-exist.csv'",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO t SELECT * FROM t",
        "SET datafusion.execution.batch_size = 1",
        "SELECT nope FROM t",
        "SELEC",
    ] {
        let error = numbers(sql, &tables).await.unwrap_err();
        assert!(matches!(error, Error::Sql { .. }), "{sql}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_beyond_the_memory_limit_spills() {
    let rows = 400_000i64;
    let ids: Vec<i64> = (0..rows).map(|i| i * 7_919 % rows).collect();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.clone())) as ArrayRef),
        ("text", Arc::new(ids.iter().map(|i| Some(format!("{i:064}"))).collect::<StringArray>())),
    ])
    .unwrap();
    let source = MemorySource::new("big").with_table("t", batch.schema(), vec![batch]).unwrap();
    let tables = Tables::new().with("t", Arc::new(source), "t");
    let spill = tempfile::tempdir().unwrap();
    let config = DataFusionConfig {
        threads: 2,
        memory_limit_bytes: Some(24 << 20),
        spill_dir: Some(spill.path().to_owned()),
        ..DataFusionConfig::default()
    };
    let engine = DataFusionEngine::new(&config).unwrap();
    let mut sorted = engine.execute("SELECT id, text FROM t ORDER BY text", &tables).await.unwrap().batches;
    let mut next = 0;
    while let Some(batch) = sorted.try_next().await.unwrap() {
        for id in batch.column(0).as_primitive::<Int64Type>().values() {
            assert_eq!(*id, next);
            next += 1;
        }
    }
    assert_eq!(next, rows);
}

#[tokio::test]
async fn cancelling_stops_an_extraction_while_it_counts() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let tables = Tables::new().with("transactions", Watched::new(log(100)), "log");
    let mut config = ExtractConfig::default();
    config.products.table.clear();
    let error = extract(&engine(), &tables, &config, &Silent, &cancel).await.unwrap_err();
    assert!(error.is_cancelled(), "{error:?}");
}
