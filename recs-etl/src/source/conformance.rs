//! The behaviour that every [`Source`] must show, one rule a function, so that a failure names the rule that broke.
//!
//! Load [`reference()`] into the source under test as the table [`TABLE`], rows in order, then call the functions, or
//! [`all`]. A source whose format lacks one of the types maps it as its users would and compares by its own tests.
//!
//! # Panics
//! Every function panics with a message when the rule is broken.
#![allow(clippy::missing_panics_doc, reason = "said once, above")]

use super::{CompareOp, MemorySource, Predicate, Pushdown, ReadRequest, Scalar, Source};
use crate::error::{Error, Result};
use arrow::array::{
    Array, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Name of the table under test.
pub const TABLE: &str = "reference";

/// Rows of the table under test.
pub const ROWS: usize = 500;

/// The reference schema: one column of each type, all but the first with nulls.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("score", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

/// The reference rows: awkward texts, negative and extreme numbers, nulls. Equal on every call.
pub fn reference() -> RecordBatch {
    const TEXTS: [&str; 8] = [
        "plain",
        "with, comma",
        "with \"quotes\"",
        "two\nlines",
        "Zürich 東京 🙂",
        " spaces ",
        "'; DROP TABLE x; --",
        "NULL",
    ];
    let rows = 0..ROWS as i64;
    let unless = |i: i64, every: i64| i % every != every - 1;
    let prices = rows.clone().map(|i| unless(i, 7).then(|| i128::from(i * 1_237 % 100_000 - 5_000)));
    let prices: Decimal128Array = prices.collect();
    let id = |i: i64| match i {
        0 => i64::MIN,
        1 => i64::MAX,
        other => other,
    };
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(rows.clone().map(id).collect::<Int64Array>()),
        Arc::new(rows.clone().map(|i| unless(i, 5).then(|| TEXTS[i as usize % 8])).collect::<StringArray>()),
        Arc::new(prices.with_data_type(DataType::Decimal128(12, 2))),
        Arc::new(
            rows.clone().map(|i| unless(i, 11).then_some(i as f64 * 0.125 - 17.5)).collect::<Float64Array>(),
        ),
        Arc::new(rows.clone().map(|i| unless(i, 3).then_some(i % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(
            rows.clone().map(|i| unless(i, 13).then(|| 17_300 + (i as i32) / 2)).collect::<Date32Array>(),
        ),
        Arc::new(
            rows.map(|i| unless(i, 17).then(|| 1_500_000_000_000_000 + i * 60_000_123))
                .collect::<TimestampMicrosecondArray>(),
        ),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are of the schema")
}

/// Runs every rule.
pub async fn all(source: &dyn Source) {
    the_connection_test_passes(source).await;
    the_table_is_listed(source).await;
    the_schema_is_that_of_the_rows(source).await;
    every_row_comes_in_order(source).await;
    two_reads_are_equal(source).await;
    batches_are_bounded_and_never_empty(source).await;
    a_projection_orders_the_columns(source).await;
    an_empty_projection_counts_rows(source).await;
    a_limit_cuts_the_rows(source).await;
    predicates_keep_what_satisfies_them(source).await;
    a_literal_of_another_type_is_refused(source).await;
    unknown_names_are_typed_errors(source).await;
    contradictory_requests_are_refused(source).await;
    a_dropped_stream_leaves_the_source_usable(source).await;
    a_preview_is_the_first_rows(source).await;
}

/// [`Source::check`] passes on a source that can be read.
pub async fn the_connection_test_passes(source: &dyn Source) {
    source.check().await.expect("check");
    assert!(!source.name().is_empty(), "a source has a name");
}

/// [`Source::tables`] and [`Source::row_estimate`] know the table.
pub async fn the_table_is_listed(source: &dyn Source) {
    let tables = source.tables().await.expect("tables");
    let listed = tables.iter().find(|t| t.name == TABLE).expect("the table is listed");
    assert_eq!(listed.rows, source.row_estimate(TABLE).await.expect("row_estimate"));
}

/// Names and types of [`Source::schema`] are those of the batches.
pub async fn the_schema_is_that_of_the_rows(source: &dyn Source) {
    let described = source.schema(TABLE).await.expect("schema");
    let shape =
        |s: &Schema| s.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>();
    assert_eq!(shape(&described), shape(&schema()), "names and types");
    for batch in read(source, ReadRequest::table(TABLE)).await.expect("read") {
        assert_eq!(shape(&batch.schema()), shape(&described), "a batch has another schema");
    }
}

/// All rows, in the order in which they were stored.
pub async fn every_row_comes_in_order(source: &dyn Source) {
    same(&whole(source, ReadRequest::table(TABLE)).await, &reference(), "a plain read");
}

/// The same request gives the same rows.
pub async fn two_reads_are_equal(source: &dyn Source) {
    let request = ReadRequest::table(TABLE).with_batch_rows(64);
    let (first, second) =
        futures::join!(whole(source, request.clone()), whole(source, request.with_batch_rows(33)));
    same(&first, &second, "two reads at a time");
}

/// No batch is larger than asked for, and none is empty.
pub async fn batches_are_bounded_and_never_empty(source: &dyn Source) {
    for most in [1, 7, 100_000] {
        let batches = read(source, ReadRequest::table(TABLE).with_batch_rows(most)).await.expect("read");
        assert!(batches.iter().all(|b| (1..=most).contains(&b.num_rows())), "batches of 1 to {most} rows");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS);
    }
}

/// Columns come in the order of the projection, whatever the table's.
pub async fn a_projection_orders_the_columns(source: &dyn Source) {
    let batch = whole(source, ReadRequest::table(TABLE).with_columns(["day", "id"])).await;
    let expected = reference().project(&[5, 0]).expect("project");
    same(&batch, &expected, "day, id");
}

/// Without columns, batches still carry their row counts.
pub async fn an_empty_projection_counts_rows(source: &dyn Source) {
    let none: [&str; 0] = [];
    let batches = read(source, ReadRequest::table(TABLE).with_columns(none)).await.expect("read");
    assert!(batches.iter().all(|b| b.num_columns() == 0), "no columns");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS);
}

/// A limit keeps the first rows; more than there are is all of them, zero is none.
pub async fn a_limit_cuts_the_rows(source: &dyn Source) {
    for limit in [0, 1, 10, ROWS as u64, u64::MAX] {
        let batch = whole(source, ReadRequest::table(TABLE).with_limit(limit).with_batch_rows(4)).await;
        let rows = ROWS.min(usize::try_from(limit).unwrap_or(ROWS));
        same(&batch, &reference().slice(0, rows), &format!("limit {limit}"));
    }
}

/// Predicates on every type keep every row that satisfies them, and no other where the source says exact.
pub async fn predicates_keep_what_satisfies_them(source: &dyn Source) {
    let oracle = MemorySource::new("oracle").with_table(TABLE, schema(), vec![reference()]).expect("oracle");
    let mut lists: Vec<Vec<Predicate>> = predicates().into_iter().map(|p| vec![p]).collect();
    lists.push(predicates().into_iter().step_by(5).collect());
    for list in lists {
        let how: Vec<Pushdown> = list.iter().map(|p| source.pushdown(TABLE, &schema(), p)).collect();
        let mut request = ReadRequest::table(TABLE).with_columns(["id"]);
        request.predicates = list
            .iter()
            .zip(&how)
            .filter(|(_, h)| **h != Pushdown::Unsupported)
            .map(|(p, _)| p.clone())
            .collect();
        let what = format!("{:?}", request.predicates);
        let expected = whole(&oracle, request.clone()).await;
        let got = whole(source, request.clone()).await;
        if how.iter().all(|h| *h != Pushdown::Inexact) {
            same(&got, &expected, &what);
            let limited = whole(source, request.with_limit(3)).await;
            same(&limited, &expected.slice(0, expected.num_rows().min(3)), &format!("{what} and a limit"));
        } else {
            let ids = |b: &RecordBatch| -> Vec<Option<i64>> { ids(b) };
            assert!(ids(&expected).iter().all(|id| ids(&got).contains(id)), "{what} lost rows");
        }
    }
}

/// A literal that the column cannot be compared with is unsupported, and an error when it is sent nevertheless.
pub async fn a_literal_of_another_type_is_refused(source: &dyn Source) {
    for (column, value) in [("name", Scalar::Int(1)), ("id", Scalar::from("1")), ("day", Scalar::Float(1.0))]
    {
        let predicate = Predicate::compare(column, CompareOp::Eq, value);
        assert_eq!(source.pushdown(TABLE, &schema(), &predicate), Pushdown::Unsupported, "{predicate:?}");
        let request = ReadRequest::table(TABLE).with_predicate(predicate);
        assert!(
            matches!(read(source, request).await, Err(Error::Request { .. })),
            "a request with column {column}"
        );
    }
}

/// Tables and columns that do not exist are errors that list what there is.
pub async fn unknown_names_are_typed_errors(source: &dyn Source) {
    let table = read(source, ReadRequest::table("no such table")).await;
    assert!(
        matches!(&table, Err(Error::UnknownTable { available, .. }) if available.iter().any(|t| t == TABLE)),
        "{table:?}"
    );
    assert!(matches!(source.schema("no such table").await, Err(Error::UnknownTable { .. })));
    assert!(matches!(source.row_estimate("no such table").await, Err(Error::UnknownTable { .. })));
    let column = read(source, ReadRequest::table(TABLE).with_columns(["nope"])).await;
    assert!(
        matches!(&column, Err(Error::MissingColumn { available, .. }) if available.len() == 7),
        "{column:?}"
    );
    let filter = ReadRequest::table(TABLE).with_predicate(Predicate::IsNull { column: "nope".into() });
    assert!(matches!(read(source, filter).await, Err(Error::MissingColumn { .. })));
}

/// Batches of no or of absurdly many rows, and a column asked for twice, are refused.
pub async fn contradictory_requests_are_refused(source: &dyn Source) {
    for request in [
        ReadRequest::table(TABLE).with_batch_rows(0),
        ReadRequest::table(TABLE).with_batch_rows(usize::MAX),
        ReadRequest::table(TABLE).with_columns(["id", "id"]),
    ] {
        assert!(matches!(read(source, request.clone()).await, Err(Error::Request { .. })), "{request:?}");
    }
}

/// A stream that is dropped in the middle takes nothing with it.
pub async fn a_dropped_stream_leaves_the_source_usable(source: &dyn Source) {
    let mut stream = source.read(ReadRequest::table(TABLE).with_batch_rows(2)).await.expect("read");
    stream.next().await.expect("a batch").expect("no error");
    drop(stream);
    every_row_comes_in_order(source).await;
}

/// [`Source::preview`] gives the first rows.
pub async fn a_preview_is_the_first_rows(source: &dyn Source) {
    same(&source.preview(TABLE, 5).await.expect("preview"), &reference().slice(0, 5), "preview");
}

/// Comparisons of every operator on every type, lists and null tests.
fn predicates() -> Vec<Predicate> {
    let micros = |value| Scalar::Timestamp { value, unit: TimeUnit::Microsecond };
    let literals: [(&str, Scalar); 9] = [
        ("id", Scalar::Int(250)),
        ("id", Scalar::Int(i64::MAX)),
        ("name", "plain".into()),
        ("name", "Zürich 東京 🙂".into()),
        ("price", Scalar::Decimal { value: 123_456, scale: 2 }),
        ("score", Scalar::Float(0.0)),
        ("flag", Scalar::Bool(true)),
        ("day", Scalar::Date(17_400)),
        ("at", micros(1_500_006_000_000_000)),
    ];
    use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
    let mut list = Vec::new();
    for (column, value) in literals {
        list.extend([Eq, Ne, Lt, Le, Gt, Ge].map(|op| Predicate::compare(column, op, value.clone())));
        list.push(Predicate::IsNull { column: column.into() });
        list.push(Predicate::IsNotNull { column: column.into() });
    }
    list.push(Predicate::In { column: "id".into(), values: vec![3.into(), 30.into(), 3_000.into()] });
    list.push(Predicate::In {
        column: "name".into(),
        values: vec!["two\nlines".into(), "'; DROP TABLE x; --".into()],
    });
    list.push(Predicate::In { column: "day".into(), values: vec![] });
    list
}

async fn read(source: &dyn Source, request: ReadRequest) -> Result<Vec<RecordBatch>> {
    source.read(request).await?.try_collect().await
}

async fn whole(source: &dyn Source, request: ReadRequest) -> RecordBatch {
    let batches = read(source, request.clone()).await.unwrap_or_else(|e| panic!("{request:?}: {e}"));
    let schema = match (&request.projection, batches.first()) {
        (_, Some(batch)) => batch.schema(),
        (None, None) => schema(),
        (Some(columns), None) => {
            let at: Vec<usize> = columns.iter().map(|c| schema().index_of(c).expect("a column")).collect();
            Arc::new(schema().project(&at).expect("project"))
        }
    };
    concat_batches(&schema, &batches).expect("batches of one schema")
}

fn ids(batch: &RecordBatch) -> Vec<Option<i64>> {
    batch.column(0).as_any().downcast_ref::<Int64Array>().expect("ids").iter().collect()
}

fn same(got: &RecordBatch, expected: &RecordBatch, what: &str) {
    assert_eq!(got.num_rows(), expected.num_rows(), "{what}: number of rows");
    for (at, field) in expected.schema().fields().iter().enumerate() {
        assert_eq!(got.schema().field(at).name(), field.name(), "{what}: column {at}");
        assert_eq!(got.column(at), expected.column(at), "{what}: column {}", field.name());
    }
}
