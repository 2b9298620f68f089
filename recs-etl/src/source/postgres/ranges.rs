//! A table -> ranges that are read one after the other, or several at a time.
//!
//! Ranges depend on the table alone, never on how many connections read them: so the rows' order does not either.

use super::catalog::{Relation, Stored, Table, quoted};
use super::connection::{Server, Session};
use super::types::Form;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::fmt;

/// Pages of a range: 8 MiB, some ten thousand to a hundred thousand rows.
const RANGE_PAGES: i64 = 1024;

/// Ranges of a table that is split by a key, at most; and rows in each, where the server knows how many there are.
const MAX_KEY_RANGES: u64 = 1024;
const KEY_RANGE_ROWS: u64 = 65_536;
const KEY_RANGES_OF_UNKNOWN: u64 = 32;

/// Whether every part of a table is a heap that the server can read by ranges of pages, and the pages of the largest part.
const PAGES: &str = "WITH RECURSIVE part(oid) AS (SELECT $1::oid UNION \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN part p ON i.inhparent = p.oid) \
    SELECT bool_and(c.relkind = 'p' OR c.relkind IN ('r', 'm') AND c.relam = 2), count(*), \
        coalesce(max(CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END), 0) \
            / current_setting('block_size')::bigint \
    FROM part JOIN pg_catalog.pg_class c ON c.oid = part.oid";

/// Some of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Range {
    All,
    /// Of every part of the table the pages from one to before another, or to the end.
    Pages(i64, Option<i64>),
    /// Keys from one to before another; either end may be open.
    Keys {
        column: String,
        from: Option<i64>,
        to: Option<i64>,
    },
    NullKeys {
        column: String,
    },
}

impl Range {
    /// What stands behind `WHERE`.
    pub(super) fn condition(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Pages(from, None) => Some(format!("ctid >= '({from},0)'")),
            Self::Pages(from, Some(to)) => Some(format!("ctid >= '({from},0)' AND ctid < '({to},0)'")),
            Self::Keys { column, from, to } => {
                let from = from.map(|v| format!("{} >= '{v}'::bigint", quoted(column)));
                let to = to.map(|v| format!("{} < '{v}'::bigint", quoted(column)));
                let both: Vec<String> = from.into_iter().chain(to).collect();
                Some(if both.is_empty() {
                    format!("{} IS NOT NULL", quoted(column))
                } else {
                    both.join(" AND ")
                })
            }
            Self::NullKeys { column } => Some(format!("{} IS NULL", quoted(column))),
        }
    }

    /// What stands behind `ORDER BY`.
    pub(super) fn order(&self) -> Option<String> {
        match self {
            Self::Keys { column, .. } => Some(quoted(column)),
            _ => None,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.condition() {
            Some(condition) => write!(f, "the rows WHERE {condition}"),
            None => f.write_str("all rows"),
        }
    }
}

/// The ranges of `table`, in the order of its rows.
pub(super) async fn of(server: &Server, session: &Session, table: &Table) -> Result<VecDeque<Range>> {
    if let Some(column) = server.config.split_by.get(&table.name) {
        return by_key(server, session, table, column).await;
    }
    match &table.relation {
        Relation::Table(stored) if session.dialect.page_ranges && stored.has_pages() => {
            by_pages(server, session, table, stored).await
        }
        _ => Ok([Range::All].into()),
    }
}

async fn by_pages(
    server: &Server,
    session: &Session,
    table: &Table,
    stored: &Stored,
) -> Result<VecDeque<Range>> {
    let row = session.client.query_one(PAGES, &[&stored.oid]).await;
    let row = row.map_err(|e| server.failed(&table.name, e))?;
    let read = || -> Result<(bool, i64, i64), tokio_postgres::Error> {
        Ok((row.try_get::<_, Option<bool>>(0)?.unwrap_or(false), row.try_get(1)?, row.try_get(2)?))
    };
    let (heaps, parts, pages) = read().map_err(|e| server.failed(&table.name, e))?;
    // One connection reads a plain table faster at once, and in the same order.
    if !heaps || pages <= RANGE_PAGES || (parts == 1 && server.config.connections == 1) {
        return Ok([Range::All].into());
    }
    let starts = (0..pages).step_by(RANGE_PAGES as usize);
    // The last one is open: pages that came since belong to no row of the snapshot, but who knows what else may lie there.
    Ok(starts
        .map(|from| Range::Pages(from, (from + RANGE_PAGES < pages).then_some(from + RANGE_PAGES)))
        .collect())
}

async fn by_key(server: &Server, session: &Session, table: &Table, column: &str) -> Result<VecDeque<Range>> {
    let found = table.columns.iter().find(|c| c.name == column).ok_or_else(|| Error::MissingColumn {
        place: Box::new(server.place(&table.name).in_column(column)),
        available: table.columns.iter().map(|c| c.name.clone()).collect(),
    })?;
    if !matches!(found.reading.form, Form::Int16 | Form::Int32 | Form::Int64) {
        return Err(Error::ColumnType {
            place: Box::new(server.place(&table.name).in_column(column)),
            expected: "smallint, integer or bigint".into(),
            got: found.native.clone(),
            remedy: "name another column in postgres.split_by, or none".into(),
        });
    }
    let name = quoted(column);
    let sql = format!("SELECT min({name})::bigint, max({name})::bigint FROM {}", table.relation.sql());
    let row = session.client.query_one(&sql, &[]).await.map_err(|e| server.failed(&table.name, e))?;
    let read = || -> Result<(Option<i64>, Option<i64>), tokio_postgres::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    let (lowest, highest) = read().map_err(|e| server.failed(&table.name, e))?;
    let nulls = Range::NullKeys { column: column.into() };
    let (Some(lowest), Some(highest)) = (lowest, highest) else { return Ok([nulls].into()) };
    let count = table.relation.rows().map_or(KEY_RANGES_OF_UNKNOWN, |rows| rows.div_ceil(KEY_RANGE_ROWS));
    let mut ranges = key_ranges(column, lowest, highest, count.clamp(1, MAX_KEY_RANGES));
    ranges.push_back(nulls);
    Ok(ranges)
}

/// `count` ranges of equal width at most; the first and the last are open.
fn key_ranges(column: &str, lowest: i64, highest: i64, count: u64) -> VecDeque<Range> {
    let (lowest, span) = (i128::from(lowest), i128::from(highest) - i128::from(lowest) + 1);
    let width = (span + i128::from(count) - 1) / i128::from(count);
    let bounds = (1..i128::from(count)).map(|i| lowest + i * width).take_while(|b| *b <= i128::from(highest));
    let bounds: Vec<i64> = bounds.filter_map(|b| i64::try_from(b).ok()).collect();
    let ends = bounds.iter().copied().map(Some).chain([None]);
    let starts = [None].into_iter().chain(bounds.iter().copied().map(Some));
    starts.zip(ends).map(|(from, to)| Range::Keys { column: column.into(), from, to }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_is_in_one_range(a in any::<i64>(), b in any::<i64>(), key in any::<i64>(), count in 1u64..50) {
            let ranges = key_ranges("k", a.min(b), a.max(b), count);
            prop_assert!(ranges.len() as u64 <= count);
            let inside = ranges.iter().filter(|range| match range {
                Range::Keys { from, to, .. } => from.is_none_or(|f| key >= f) && to.is_none_or(|t| key < t),
                _ => false,
            });
            prop_assert_eq!(inside.count(), 1);
        }
    }
}
