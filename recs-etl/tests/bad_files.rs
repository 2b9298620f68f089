//! Damaged and contradictory input: typed errors that say where and what to do.

use super::formats::{read_all, write_parquet};
use arrow::array::{
    Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Tables};
use recs_etl::extract::{ExtractConfig, OnNull, Stage, extract};
use recs_etl::source::{
    ColumnType, CsvConfig, CsvSource, CsvTable, MemorySource, ParquetConfig, ParquetSource, ReadRequest,
    Source, SqliteConfig, SqliteSource,
};
use recs_etl::{Error, Result};
use std::sync::Arc;

async fn csv(text: &[u8], change: impl FnOnce(CsvConfig) -> CsvConfig) -> Result<Vec<RecordBatch>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let source = CsvSource::new(change(CsvConfig::file("t", path)))?;
    source.check().await?;
    source.read(ReadRequest::table("t")).await?.try_collect().await
}

async fn csv_error(text: &[u8], change: impl FnOnce(CsvConfig) -> CsvConfig) -> String {
    csv(text, change).await.unwrap_err().to_string()
}

#[tokio::test]
async fn csv_faults_name_file_row_and_column() {
    let same = |c: CsvConfig| c;
    let bad_after_sample = |c: CsvConfig| CsvConfig { infer_rows: 1, ..c };
    let small = |c: CsvConfig| CsvConfig { max_record_bytes: 1024, ..c };
    let long_field = [b"a,b\n1,\"".to_vec(), vec![b'x'; 200_000]].concat();
    for (message, expect) in [
        (csv_error(b"a,b\n1,2\n3\n", same).await, "row 2: the header has 2 fields, this row 1"),
        (csv_error(b"a,b\n1,2,3\n", same).await, "row 1: the header has 2 fields, this row 3"),
        (
            csv_error(b"a,b\n1,2\nx,3\n", bad_after_sample).await,
            "row 2, column `a`: expected int64 (inferred), got `x`",
        ),
        (csv_error(b"a,a\n1,2\n", same).await, "`a`, is there twice"),
        (csv_error(b"a,\n1,2\n", same).await, "is empty; rename it"),
        (csv_error(b"", same).await, "the file is empty"),
        (csv_error(b"a\n\xff\xfe\n", same).await, "row 1"),
        (csv_error(b"a\xff\n1\n", same).await, "not UTF-8"),
        (csv_error(&long_field, small).await, "longer than max_record_bytes"),
    ] {
        assert!(message.contains("t.csv") && message.contains(expect), "{message}");
    }
    let declared =
        csv_error(b"a\n1.005\n", |c| c.with_type("t", "a", ColumnType::Decimal { precision: 5, scale: 2 }))
            .await;
    assert!(declared.contains("expected decimal(5,2) (declared), got `1.005`"), "{declared}");
    let missing = csv_error(b"a\n1\n", |c| c.with_type("t", "b", ColumnType::Text)).await;
    assert!(missing.contains("column `b`: the column is missing; the table has: a"), "{missing}");
    let gone = CsvSource::new(CsvConfig::file("t", "/nonexistent/t.csv")).unwrap().check().await.unwrap_err();
    assert!(matches!(&gone, Error::Open { .. }) && gone.to_string().contains("/nonexistent/t.csv"));
}

#[tokio::test]
async fn csv_reads_marks_quotes_and_other_delimiters() {
    let text = "\u{feff}id;name\r\n1;\"two\nlines; \"\"quoted\"\"\"\r\n2;\r\n";
    let batches = csv(text.as_bytes(), |c| CsvConfig { delimiter: ';', ..c }).await.unwrap();
    let batch = &batches[0];
    assert_eq!(batch.schema().field(0).name(), "id", "the byte order mark is no part of the name");
    let expected = StringArray::from(vec![Some("two\nlines; \"quoted\""), None]);
    assert_eq!(batch.column(1).as_ref(), &expected as &dyn Array);
}

#[tokio::test]
async fn several_csv_files_are_one_table_when_their_headers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (a, b, c) = (file("a.csv", "x\n1\n"), file("b.csv", "x\n2\n"), file("c.csv", "y\n3\n"));
    let source = |files| {
        CsvSource::new(CsvConfig::default().with_table("t", CsvTable { files, ..CsvTable::default() }))
            .unwrap()
    };
    let both = source(vec![a.clone(), b]);
    let schema = both.schema("t").await.unwrap();
    assert_eq!(read_all(&both, ReadRequest::table("t"), &schema).await.num_rows(), 2);
    let message = source(vec![a, c]).check().await.unwrap_err().to_string();
    assert!(message.contains("c.csv") && message.contains("header"), "{message}");
}

#[tokio::test]
async fn damaged_parquet_is_an_error_never_fewer_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let ids: ArrayRef = Arc::new((0..5000).map(|i| i * 977 % 4999).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    write_parquet(&path, &batch, 1000);
    let whole = std::fs::read(&path).unwrap();
    let read = || async {
        let source = ParquetSource::new(ParquetConfig::file("t", &path))?;
        let batches: Vec<RecordBatch> = source.read(ReadRequest::table("t")).await?.try_collect().await?;
        Ok::<usize, Error>(batches.iter().map(RecordBatch::num_rows).sum())
    };
    assert_eq!(read().await.unwrap(), 5000);
    for cut in [0, 3, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = read().await.unwrap_err();
        assert!(matches!(&error, Error::Open { .. }) && error.to_string().contains("t.parquet"), "{error}");
    }
    for at in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        std::fs::write(&path, &flipped).unwrap();
        match read().await {
            Ok(rows) => assert_eq!(rows, 5000, "byte {at}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[tokio::test]
async fn parquet_files_of_two_schemas_are_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    let column = |array: ArrayRef| RecordBatch::try_from_iter([("x", array)]).unwrap();
    write_parquet(&a, &column(Arc::new(Int64Array::from(vec![1]))), 10);
    write_parquet(&b, &column(Arc::new(Float64Array::from(vec![1.0]))), 10);
    let source = ParquetSource::new(ParquetConfig::default().with_table("t", [a, b])).unwrap();
    let message = source.check().await.unwrap_err().to_string();
    assert!(message.contains("b.parquet") && message.contains("differs"), "{message}");
}

fn sqlite(statements: &str) -> (tempfile::TempDir, SqliteConfig) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(statements).unwrap();
    (folder, SqliteConfig::new(path))
}

#[tokio::test]
async fn sqlite_values_that_do_not_fit_name_their_rowid() {
    let (_folder, config) =
        sqlite("CREATE TABLE t (a INTEGER, b); INSERT INTO t (rowid, a) VALUES (5, 1), (9, 'many');");
    let read = |config: SqliteConfig| async {
        let source = SqliteSource::new(config)?;
        source.read(ReadRequest::table("t")).await?.try_collect::<Vec<RecordBatch>>().await
    };
    let message = read(config.clone()).await.unwrap_err().to_string();
    let expect = "t.db, table `t`, row 9, column `a`: expected int64 (declared `INTEGER`), got text `many`";
    assert!(message.contains(expect), "{message}");
    let batches = read(config.with_type("t", "a", ColumnType::Text)).await.unwrap();
    assert_eq!(batches[0].column(0).as_ref(), &StringArray::from(vec!["1", "many"]) as &dyn Array);
}

#[tokio::test]
async fn sqlite_orders_tables_of_every_kind_and_refuses_other_files() {
    let (folder, config) = sqlite(
        "CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO keyed VALUES ('b', 1), ('a', x'');
         CREATE VIEW seen AS SELECT k FROM keyed; DELETE FROM keyed WHERE k = 'a';
         CREATE TABLE shadow (rowid TEXT, n INT); INSERT INTO shadow VALUES ('z', 1), ('a', 2);",
    );
    let source = SqliteSource::new(config).unwrap();
    let names: Vec<String> = source.tables().await.unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["keyed", "seen", "shadow"]);
    assert_eq!(source.preview("seen", 5).await.unwrap().num_rows(), 1);
    let shadow = source.preview("shadow", 5).await.unwrap();
    assert_eq!(
        shadow.column(1).as_ref(),
        &Int64Array::from(vec![1, 2]) as &dyn Array,
        "the true rowid orders"
    );
    let other = folder.path().join("other.db");
    std::fs::write(&other, "not a database, but long enough to look like one: ".repeat(50)).unwrap();
    for path in [other, folder.path().join("missing.db")] {
        let error = SqliteSource::new(SqliteConfig::new(path)).unwrap().check().await.unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
    }
}

/// A log of three purchases with one value changed.
fn log(customer: Option<&str>, value: f64, times: i64) -> Tables {
    log_of(customer, Arc::new(Float64Array::from(vec![value, 1.0, 1.0])), times)
}

fn log_of(customer: Option<&str>, values: ArrayRef, times: i64) -> Tables {
    let customers: StringArray = vec![customer, Some("b"), Some("b")].into();
    let at = TimestampMicrosecondArray::from(vec![times * 86_400_000_000; 3]);
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("customer_id", Arc::new(customers) as ArrayRef, true),
        ("product_id", Arc::new(Int64Array::from(vec![1, 2, 3])), true),
        ("city", Arc::new(StringArray::from(vec!["x", "x", "y"])), true),
        ("value", values, true),
        ("timestamp", Arc::new(at), true),
    ])
    .unwrap();
    tables(rows)
}

fn tables(rows: RecordBatch) -> Tables {
    let source = MemorySource::new("test").with_table("log", rows.schema(), vec![rows]).unwrap();
    Tables::new().with("transactions", Arc::new(source), "log")
}

fn config() -> ExtractConfig {
    let mut config = ExtractConfig { min_products: 1, ..ExtractConfig::default() };
    config.products.table.clear();
    config
}

async fn run(tables: &Tables, config: &ExtractConfig) -> Result<u64> {
    let engine = DataFusionEngine::new(&DataFusionConfig { threads: 1, ..DataFusionConfig::default() })?;
    let extraction = extract(&engine, tables, config, &Silent, &CancelToken::new()).await?;
    let batches: Vec<RecordBatch> = extraction.rows.batches.try_collect().await?;
    Ok(batches.iter().map(|b| b.num_rows() as u64).sum())
}

#[tokio::test]
async fn incomplete_rows_are_refused_or_dropped_and_counted() {
    let error = run(&log(None, 1.0, 17_000), &config()).await.unwrap_err();
    assert!(
        matches!(&error, Error::NullRows { column, rows: 1, .. } if column == "customer_id"),
        "{error:?}"
    );
    assert!(error.to_string().contains("on_null = \"drop\""), "{error}");
    let dropping = ExtractConfig { on_null: OnNull::Drop, ..config() };
    assert_eq!(run(&log(None, 1.0, 17_000), &dropping).await.unwrap(), 2);
    let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
    let (observer, cancel) = (Collect::default(), CancelToken::new());
    let extraction = extract(&engine, &log(None, 1.0, 17_000), &dropping, &observer, &cancel).await.unwrap();
    assert_eq!(
        (extraction.counts.nulls.customer, extraction.counts.after(Stage::Complete).unwrap().rows),
        (1, 2)
    );
    assert!(observer.events().iter().any(|e| matches!(e, Event::Warning { .. })));
}

#[tokio::test]
async fn numbers_that_are_no_money_are_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        let error = run(&log(Some("a"), value, 17_000), &config()).await.unwrap_err();
        assert!(matches!(&error, Error::NotFinite { column, rows: 1, .. } if column == "value"), "{error:?}");
    }
    assert_eq!(run(&log(Some("a"), -5.0, 17_000), &config()).await.unwrap(), 2, "returns are left out");
    // Two of them would leave the 38 digits of their sum.
    let huge = 9 * 10i128.pow(37);
    let values = Decimal128Array::from(vec![huge, huge, 100]).with_precision_and_scale(38, 2).unwrap();
    let error = run(&log_of(Some("a"), Arc::new(values), 17_000), &config()).await.unwrap_err();
    assert!(matches!(&error, Error::NotFinite { column, rows: 2, .. } if column == "value"), "{error:?}");
    let values = Decimal128Array::from(vec![100, 100, 100]).with_precision_and_scale(38, 2).unwrap();
    assert_eq!(run(&log_of(Some("a"), Arc::new(values), 17_000), &config()).await.unwrap(), 3);
}

#[tokio::test]
async fn the_filter_that_removed_everything_is_named() {
    let good = log(Some("a"), 1.0, 17_000);
    type Change = fn(&mut ExtractConfig);
    let cases: [(Stage, Change); 4] = [
        (Stage::Window, |c| c.end_date = Some("2001-01-01".parse().unwrap())),
        (Stage::Cities, |c| c.cities = vec!["nowhere".into()]),
        (Stage::Sample, |c| c.sample_fraction = 0.000_000_001),
        (Stage::ActiveCustomers, |c| c.min_products = 4),
    ];
    for (stage, change) in cases {
        let mut config = config();
        change(&mut config);
        let error = run(&good, &config).await.unwrap_err();
        assert!(matches!(&error, Error::NothingLeft { stage: s, .. } if *s == stage), "{error:?}");
        assert!(error.to_string().contains("3 rows"), "the counts are part of the message: {error}");
    }
    let schema = good.get("transactions").unwrap().source.schema("log").await.unwrap();
    let empty = tables(RecordBatch::new_empty(schema));
    let error = run(&empty, &config()).await.unwrap_err();
    assert!(matches!(&error, Error::NothingLeft { stage: Stage::All, .. }), "{error:?}");
    let worthless =
        run(&log(Some("a"), 0.0, 17_000), &ExtractConfig { cities: vec!["x".into()], ..config() }).await;
    assert_eq!(worthless.unwrap(), 1);
}

#[tokio::test]
async fn wrong_columns_are_named_with_what_there_is() {
    let good = log(Some("a"), 1.0, 17_000);
    let mut missing = config();
    missing.transactions.value = "price".into();
    let message = run(&good, &missing).await.unwrap_err().to_string();
    assert!(
        message.contains("`price`") && message.contains("customer_id, product_id, city, value"),
        "{message}"
    );
    let mut wrong = config();
    wrong.transactions.value = "customer_id".into();
    assert!(matches!(run(&good, &wrong).await, Err(Error::ColumnType { .. })));
    let mut no_table = config();
    no_table.transactions.table = "nope".into();
    assert!(matches!(run(&good, &no_table).await, Err(Error::UnknownTable { .. })));
}

#[tokio::test]
async fn hostile_names_and_texts_are_no_injection() {
    let hostile = "x\"; DROP TABLE transactions; --";
    let rows = RecordBatch::try_from_iter_with_nullable([
        (hostile, Arc::new(StringArray::from(vec!["o'hara"])) as ArrayRef, true),
        ("product_id", Arc::new(StringArray::from(vec!["p'1"])), true),
        ("city", Arc::new(StringArray::from(vec!["'; --"])), true),
        ("value", Arc::new(Float64Array::from(vec![1.0])), true),
        ("timestamp", Arc::new(Int64Array::from(vec![1_500_000_000])), true),
    ])
    .unwrap();
    let mut config = ExtractConfig { cities: vec!["'; --".into()], missing_text: "it's".into(), ..config() };
    config.transactions.customer = hostile.into();
    config.output.customer_id = hostile.into();
    config.order_salt = "'||(SELECT 1)||'".into();
    let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
    let extraction = extract(&engine, &tables(rows), &config, &Silent, &CancelToken::new()).await.unwrap();
    let batches: Vec<RecordBatch> = extraction.rows.batches.try_collect().await.unwrap();
    assert_eq!(batches[0].schema().field(0).name(), hostile);
    assert_eq!(batches[0].schema().field(1).data_type(), &DataType::Utf8);
    assert_eq!(batches[0].column(5).as_ref(), &StringArray::from(vec!["it's"]) as &dyn Array);
}

#[tokio::test]
async fn days_are_those_of_the_time_zone() {
    // 23:30 UTC is the next day in Berlin.
    let seconds = 1_514_761_200 + 1_800;
    let run_as = |timestamp: ArrayRef, time_zone: &str| {
        let rows = RecordBatch::try_from_iter([
            ("customer_id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("product_id", Arc::new(Int64Array::from(vec![1]))),
            ("city", Arc::new(Int64Array::from(vec![1]))),
            ("value", Arc::new(Int64Array::from(vec![1]))),
            ("timestamp", timestamp),
        ])
        .unwrap();
        let config = ExtractConfig { time_zone: time_zone.into(), ..config() };
        async move {
            let engine = DataFusionEngine::new(&DataFusionConfig::default()).unwrap();
            let extraction =
                extract(&engine, &tables(rows), &config, &Silent, &CancelToken::new()).await.unwrap();
            let rows: Vec<RecordBatch> = extraction.rows.batches.try_collect().await.unwrap();
            assert_eq!(rows.len(), 1);
            extraction.counts.last_day.to_string()
        }
    };
    let micros = || TimestampMicrosecondArray::from(vec![seconds * 1_000_000]);
    let unix = || Arc::new(Int64Array::from(vec![seconds])) as ArrayRef;
    let text = || Arc::new(StringArray::from(vec!["2017-12-31 23:30:00"])) as ArrayRef;
    for (column, zone, day) in [
        (Arc::new(micros()) as ArrayRef, "Europe/Berlin", "2017-12-31"),
        (Arc::new(micros().with_timezone("UTC")), "UTC", "2017-12-31"),
        (Arc::new(micros().with_timezone("UTC")), "Europe/Berlin", "2018-01-01"),
        (Arc::new(micros().with_timezone("Europe/Berlin")), "UTC", "2017-12-31"),
        (unix(), "UTC", "2017-12-31"),
        (unix(), "Europe/Berlin", "2018-01-01"),
        (text(), "Europe/Berlin", "2017-12-31"),
    ] {
        assert_eq!(run_as(Arc::clone(&column), zone).await, day, "{} in {zone}", column.data_type());
    }
}
