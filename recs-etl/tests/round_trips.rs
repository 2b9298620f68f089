//! What is written as CSV, Parquet or SQLite reads back as what memory holds, whatever is asked for.

use super::formats::{self, Held, NULL, read_all};
use arrow::array::TimestampMicrosecondArray;
use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use proptest::prelude::*;
use recs_etl::source::{CompareOp, Predicate, ReadRequest};
use std::sync::Arc;

type Row = (Option<i64>, Option<String>, Option<i32>, Option<f64>, Option<i32>, Option<i64>);

fn row() -> impl Strategy<Value = Row> {
    use proptest::option::of;
    (
        of(any::<i64>()),
        of(".{0,12}".prop_filter("the null text", |t| t != NULL)),
        of(-99_999_999i32..=99_999_999),
        of(-1e9f64..1e9),
        of(-30_000i32..60_000),
        of(-1_000_000_000_000_000i64..4_000_000_000_000_000),
    )
}

fn batch(rows: &[Row]) -> RecordBatch {
    let price: Decimal128Array = rows.iter().map(|r| r.2.map(i128::from)).collect();
    let columns: [(&str, ArrayRef, bool); 6] = [
        ("id", Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()), true),
        ("na\"me, x", Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringArray>()), true),
        ("price", Arc::new(price.with_precision_and_scale(10, 2).unwrap()), true),
        ("score", Arc::new(rows.iter().map(|r| r.3).collect::<Float64Array>()), true),
        ("day", Arc::new(rows.iter().map(|r| r.4).collect::<Date32Array>()), true),
        ("at", Arc::new(rows.iter().map(|r| r.5).collect::<TimestampMicrosecondArray>()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn check(make: fn(&str, &RecordBatch) -> Held, rows: &[Row], bound: i64, limit: u64, batch_rows: usize) {
    let batch = batch(rows);
    let (held, oracle) = (make("t", &batch), formats::memory("t", &batch));
    let request = ReadRequest::table("t")
        .with_predicate(Predicate::compare("id", CompareOp::Ge, bound))
        .with_limit(limit)
        .with_batch_rows(batch_rows);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for request in [ReadRequest::table("t").with_batch_rows(batch_rows), request] {
            let got = read_all(&*held.source, request.clone(), &batch.schema()).await;
            assert_eq!(got, read_all(&*oracle.source, request, &batch.schema()).await);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn csv(rows in proptest::collection::vec(row(), 0..40), bound: i64, limit in 0u64..50, batch_rows in 1usize..20) {
        check(formats::csv, &rows, bound, limit, batch_rows);
    }

    #[test]
    fn parquet(rows in proptest::collection::vec(row(), 0..40), bound: i64, limit in 0u64..50, batch_rows in 1usize..20) {
        check(formats::parquet, &rows, bound, limit, batch_rows);
    }

    #[test]
    fn sqlite(rows in proptest::collection::vec(row(), 0..40), bound: i64, limit in 0u64..50, batch_rows in 1usize..20) {
        check(formats::sqlite, &rows, bound, limit, batch_rows);
    }
}
