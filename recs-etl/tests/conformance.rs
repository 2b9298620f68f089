//! Every source against the behaviour suite, one rule a test.

use super::formats;
use recs_etl::source::conformance::{self, TABLE, reference};

macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        mod memory { $(#[tokio::test] async fn $rule() {
            let held = super::formats::memory(super::TABLE, &super::reference());
            super::conformance::$rule(&*held.source).await;
        })+ }
        mod csv { $(#[tokio::test] async fn $rule() {
            let held = super::formats::csv(super::TABLE, &super::reference());
            super::conformance::$rule(&*held.source).await;
        })+ }
        mod parquet { $(#[tokio::test] async fn $rule() {
            let held = super::formats::parquet(super::TABLE, &super::reference());
            super::conformance::$rule(&*held.source).await;
        })+ }
        mod sqlite { $(#[tokio::test] async fn $rule() {
            let held = super::formats::sqlite(super::TABLE, &super::reference());
            super::conformance::$rule(&*held.source).await;
        })+ }
    };
}

rules!(
    the_connection_test_passes,
    the_table_is_listed,
    the_schema_is_that_of_the_rows,
    every_row_comes_in_order,
    two_reads_are_equal,
    batches_are_bounded_and_never_empty,
    a_projection_orders_the_columns,
    an_empty_projection_counts_rows,
    a_limit_cuts_the_rows,
    predicates_keep_what_satisfies_them,
    a_literal_of_another_type_is_refused,
    unknown_names_are_typed_errors,
    contradictory_requests_are_refused,
    a_dropped_stream_leaves_the_source_usable,
    a_preview_is_the_first_rows,
);
