//! Batches written as CSV, Parquet and SQLite, and sources of such files.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use recs_etl::Day;
use recs_etl::source::{
    ColumnType, CsvConfig, CsvSource, CsvTable, MemorySource, ParquetConfig, ParquetSource, Source,
    SqliteConfig, SqliteSource,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Stands for null in the CSV files of these tests.
pub(crate) const NULL: &str = "\\N";

/// A source and the folder that it lives in.
pub(crate) struct Held {
    pub(crate) source: Arc<dyn Source>,
    _folder: Option<tempfile::TempDir>,
}

pub(crate) fn memory(table: &str, batch: &RecordBatch) -> Held {
    // In odd pieces, so that batch boundaries are crossed.
    let pieces = (0..batch.num_rows()).step_by(37).map(|at| batch.slice(at, 37.min(batch.num_rows() - at)));
    let source = MemorySource::new("test").with_table(table, batch.schema(), pieces.collect()).unwrap();
    Held { source: Arc::new(source), _folder: None }
}

pub(crate) fn csv(table: &str, batch: &RecordBatch) -> Held {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    write_csv(&path, batch);
    let types =
        batch.schema().fields().iter().map(|f| (f.name().clone(), column_type(f.data_type()))).collect();
    let table_config = CsvTable { files: vec![path], types };
    let config =
        CsvConfig { null_strings: vec![NULL.into()], ..CsvConfig::default() }.with_table(table, table_config);
    Held { source: Arc::new(CsvSource::new(config).unwrap()), _folder: Some(folder) }
}

/// In two files of several row groups each.
pub(crate) fn parquet(table: &str, batch: &RecordBatch) -> Held {
    let folder = tempfile::tempdir().unwrap();
    let half = batch.num_rows() / 2;
    let mut files: Vec<PathBuf> = Vec::new();
    for (name, part) in
        [("a.parquet", batch.slice(0, half)), ("b.parquet", batch.slice(half, batch.num_rows() - half))]
    {
        files.push(folder.path().join(name));
        write_parquet(&files[files.len() - 1], &part, 50);
    }
    let config = ParquetConfig::default().with_table(table, files);
    Held { source: Arc::new(ParquetSource::new(config).unwrap()), _folder: Some(folder) }
}

pub(crate) fn sqlite(table: &str, batch: &RecordBatch) -> Held {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    write_sqlite(&path, table, batch);
    Held { source: Arc::new(SqliteSource::new(SqliteConfig::new(path)).unwrap()), _folder: Some(folder) }
}

pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch, group_rows: usize) {
    let properties = ::parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn write_csv(path: &Path, batch: &RecordBatch) {
    let mut writer =
        ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::NonNumeric).from_path(path).unwrap();
    writer.write_record(batch.schema().fields().iter().map(|f| f.name())).unwrap();
    for row in 0..batch.num_rows() {
        writer
            .write_record(batch.columns().iter().map(|c| text(c, row).unwrap_or_else(|| NULL.into())))
            .unwrap();
    }
    writer.flush().unwrap();
}

fn write_sqlite(path: &Path, table: &str, batch: &RecordBatch) {
    let mut connection = rusqlite::Connection::open(path).unwrap();
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| format!("{} {}", quote(f.name()), declaration(f.data_type())))
        .collect();
    connection.execute(&format!("CREATE TABLE {} ({})", quote(table), columns.join(", ")), []).unwrap();
    let marks = vec!["?"; batch.num_columns()].join(", ");
    let transaction = connection.transaction().unwrap();
    {
        let mut insert =
            transaction.prepare(&format!("INSERT INTO {} VALUES ({marks})", quote(table))).unwrap();
        for row in 0..batch.num_rows() {
            insert
                .execute(rusqlite::params_from_iter(batch.columns().iter().map(|c| value(c, row))))
                .unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn value(column: &ArrayRef, row: usize) -> rusqlite::types::Value {
    use rusqlite::types::Value;
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Real(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Integer(column.as_boolean().value(row).into()),
        _ => Value::Text(text(column, row).unwrap()),
    }
}

/// A value as people write it.
pub(crate) fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Date32 => Day::from_epoch_days(column.as_primitive::<Date32Type>().value(row)).to_string(),
        DataType::Timestamp(..) => {
            column.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row).unwrap().to_string()
        }
        other => panic!("no text for {other}"),
    })
}

fn column_type(data_type: &DataType) -> ColumnType {
    match data_type {
        DataType::Int64 => ColumnType::Int64,
        DataType::Float64 => ColumnType::Float64,
        DataType::Boolean => ColumnType::Bool,
        DataType::Utf8 => ColumnType::Text,
        DataType::Decimal128(precision, scale) => {
            ColumnType::Decimal { precision: *precision, scale: *scale }
        }
        DataType::Date32 => ColumnType::Date,
        DataType::Timestamp(..) => ColumnType::Timestamp,
        other => panic!("no column type for {other}"),
    }
}

fn declaration(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "INTEGER".into(),
        DataType::Float64 => "REAL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Utf8 => "TEXT".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(..) => "DATETIME".into(),
        other => panic!("no declaration for {other}"),
    }
}

/// One batch of all rows of a request.
pub(crate) async fn read_all(
    source: &dyn Source,
    request: recs_etl::source::ReadRequest,
    schema: &SchemaRef,
) -> RecordBatch {
    use futures::TryStreamExt;
    let batches: Vec<RecordBatch> = source.read(request).await.unwrap().try_collect().await.unwrap();
    arrow::compute::concat_batches(schema, &batches).unwrap()
}
