//! Profile, counts, then the rows.

use super::config::{ExtractConfig, OnNull};
use super::counts::{FilterCounts, Profile};
use super::plan::ExtractPlan;
use crate::day::Day;
use crate::engine::{Engine, Rows, Tables};
use crate::error::{Cause, Error, Result};
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use recs_core::dataset::Period;
use recs_core::observe::{CancelToken, Event, Observer};
use std::time::Instant;

const STAGE: &str = "extract";

/// A running extraction: counted, its rows about to come.
#[derive(Debug)]
pub struct Extraction {
    /// What was there before and after each filter.
    pub counts: FilterCounts,
    /// The eight columns of [`OutputColumns`](super::OutputColumns), in a stable order.
    pub rows: Rows,
    /// The statement that yields the rows.
    pub sql: String,
    config: ExtractConfig,
}

impl Extraction {
    /// Rows that will come.
    pub fn total_rows(&self) -> u64 {
        self.counts.rows()
    }

    /// The window, as `metadata.json` keeps it.
    pub fn period(&self) -> Period {
        Period { first_day: self.counts.first_day.to_string(), last_day: self.counts.last_day.to_string() }
    }

    /// The settings of every filter, as `metadata.json` keeps them.
    pub fn filters(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(&self.config) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        }
    }
}

/// Runs the extraction of `config` over `tables`, which must bind its two table names.
///
/// The log is read once for its profile, four times for the counts and four times for the rows, each time only the
/// columns needed and, from the second pass on, only the window. Memory is the engine's.
///
/// # Errors
/// [`Error::Config`], [`Error::UnknownTable`], [`Error::MissingColumn`], [`Error::ColumnType`] before anything is read;
/// [`Error::NullRows`], [`Error::NotFinite`] and [`Error::NothingLeft`] after the counting; those of the sources and of
/// the engine; cancellation.
pub async fn extract(
    engine: &dyn Engine,
    tables: &Tables,
    config: &ExtractConfig,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<Extraction> {
    let started = Instant::now();
    observer.on_event(&Event::Started { stage: STAGE, total: None, unit: "rows" });
    let tables = &tables.cancellable(cancel);
    let plan = plan(tables, config).await?;
    let profile = Profile::read(&single(engine, &plan.profile_sql(), tables, cancel).await?)?;
    refuse_incomplete(&profile, config)?;
    // In a log without a single day any window is as empty as any other.
    let last = config.end_date.or(profile.last_day).unwrap_or(Day::from_epoch_days(0));
    let plan = plan.with_last_day(last);
    let window = (last - plan.days(), last);
    let counts =
        FilterCounts::read(&single(engine, &plan.counts_sql(), tables, cancel).await?, &profile, window)?;
    if let Some(stage) = counts.emptied_by() {
        return Err(Error::NothingLeft { stage, counts: Box::new(counts) });
    }
    warn(&counts, observer);
    cancel.check()?;
    let sql = plan.sql();
    let rows = engine.execute(&sql, tables).await?;
    observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
    Ok(Extraction { counts, rows, sql, config: config.clone() })
}

async fn plan(tables: &Tables, config: &ExtractConfig) -> Result<ExtractPlan> {
    config.validate()?;
    let log = tables.get(&config.transactions.table)?;
    let log = log.source.schema(&log.table).await?;
    let products = match config.products.table.as_str() {
        "" => None,
        name => {
            let bound = tables.get(name)?;
            Some(bound.source.schema(&bound.table).await?)
        }
    };
    ExtractPlan::new(config.clone(), &log, products.as_ref())
}

/// The one row of a counting statement.
async fn single(
    engine: &dyn Engine,
    sql: &str,
    tables: &Tables,
    cancel: &CancelToken,
) -> Result<RecordBatch> {
    cancel.check()?;
    let mut rows = engine.execute(sql, tables).await?;
    let first = rows.batches.try_next().await?;
    first.ok_or_else(|| Error::Sql { engine: "extraction", cause: Cause::new("a count came without a row") })
}

fn refuse_incomplete(profile: &Profile, config: &ExtractConfig) -> Result<()> {
    let names = &config.transactions;
    let nulls = [
        (&names.customer, profile.nulls.customer),
        (&names.product, profile.nulls.product),
        (&names.value, profile.nulls.value),
        (&names.timestamp, profile.nulls.timestamp),
    ];
    if config.on_null == OnNull::Error
        && let Some((column, rows)) = nulls.into_iter().find(|(_, rows)| *rows > 0)
    {
        return Err(Error::NullRows { table: names.table.clone(), column: column.clone(), rows });
    }
    if profile.not_finite > 0 {
        let (table, column) = (names.table.clone(), names.value.clone());
        return Err(Error::NotFinite { table, column, rows: profile.not_finite });
    }
    Ok(())
}

fn warn(counts: &FilterCounts, observer: &dyn Observer) {
    if counts.duplicate_products > 0 {
        let message = format!(
            "the product table has {} rows beyond the first of their product; the first in text order is used",
            counts.duplicate_products
        );
        observer.on_event(&Event::Warning { stage: STAGE, message });
    }
    let nulls = counts.nulls;
    let dropped = nulls.customer + nulls.product + nulls.value + nulls.timestamp;
    if dropped > 0 {
        let message = format!("rows without customer, product, value or timestamp are left out: {nulls:?}");
        observer.on_event(&Event::Warning { stage: STAGE, message });
    }
}
