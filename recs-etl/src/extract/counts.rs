//! What was there before and after each filter.

use crate::day::Day;
use crate::error::{Cause, Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use recs_core::dataset::StageCount;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A point of the extraction: the whole log, then each filter in the order in which they apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Every row of the log.
    All,
    /// Rows with customer, product, value and timestamp.
    Complete,
    /// Rows of the window's days.
    Window,
    /// Rows of a value above zero.
    PositiveValue,
    /// Rows of the configured cities.
    Cities,
    /// Rows of the sampled customers.
    Sample,
    /// Rows of the products that make the revenue.
    TopProducts,
    /// Rows of customers with enough of those products: what comes out.
    ActiveCustomers,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 8] = [
        Self::All,
        Self::Complete,
        Self::Window,
        Self::PositiveValue,
        Self::Cities,
        Self::Sample,
        Self::TopProducts,
        Self::ActiveCustomers,
    ];

    /// Name in `metadata.json` and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Complete => "complete",
            Self::Window => "window",
            Self::PositiveValue => "positive_value",
            Self::Cities => "cities",
            Self::Sample => "sample",
            Self::TopProducts => "top_products",
            Self::ActiveCustomers => "active_customers",
        }
    }

    /// What to look at when nothing passed this stage.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::All => "the table has no rows; check that the right table is configured",
            Self::Complete => "every row lacks a customer, product, value or timestamp",
            Self::Window => "no row falls into the window; check extract.end_date and extract.window_days",
            Self::PositiveValue => {
                "no row of the window has a value above zero; check extract.transactions.value"
            }
            Self::Cities => "no row is of extract.cities; write them as they appear in the output",
            Self::Sample => "no customer is in the sample; raise extract.sample_fraction",
            Self::TopProducts => "no product has revenue at the configured scale; raise extract.money_scale",
            Self::ActiveCustomers => "no customer bought enough of the products; lower extract.min_products",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is left after a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The stage.
    pub stage: Stage,
    /// Rows.
    pub rows: u64,
    /// Distinct customers.
    pub customers: u64,
    /// Distinct products.
    pub products: u64,
    /// Money, an exact decimal.
    pub revenue: String,
}

/// Rows of the log without a value that the extraction needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NullCounts {
    /// Without customer.
    pub customer: u64,
    /// Without product.
    pub product: u64,
    /// Without value.
    pub value: u64,
    /// Without timestamp.
    pub timestamp: u64,
}

/// The extraction in numbers: kept with the dataset, shown to people, and part of every "nothing left" error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCounts {
    /// First day of the window.
    pub first_day: Day,
    /// Last day of the window.
    pub last_day: Day,
    /// One entry a stage, in order.
    pub stages: Vec<Count>,
    /// Incomplete rows of the log.
    pub nulls: NullCounts,
    /// Rows of the log with a value below zero: returns and corrections, which the positive-value filter removes.
    pub negative_values: u64,
    /// Rows of the product table beyond the first of each product, which are ignored.
    pub duplicate_products: u64,
}

impl FilterCounts {
    /// What is left after `stage`.
    pub fn after(&self, stage: Stage) -> Option<&Count> {
        self.stages.iter().find(|c| c.stage == stage)
    }

    /// Rows that come out.
    pub fn rows(&self) -> u64 {
        self.after(Stage::ActiveCustomers).map_or(0, |c| c.rows)
    }

    /// The first stage after which no row was left.
    pub fn emptied_by(&self) -> Option<Stage> {
        self.stages.iter().find(|c| c.rows == 0).map(|c| c.stage)
    }

    /// In the form that `metadata.json` keeps.
    pub fn to_metadata(&self) -> Vec<StageCount> {
        let stage = |c: &Count| StageCount {
            stage: c.stage.name().into(),
            rows: c.rows,
            customers: c.customers,
            products: c.products,
            revenue: c.revenue.clone(),
        };
        self.stages.iter().map(stage).collect()
    }

    /// From the one row of the counts statement: `{rows,customers,products,revenue}_{stage}`, and `duplicate_products`.
    pub(super) fn read(batch: &RecordBatch, profile: &Profile, window: (Day, Day)) -> Result<Self> {
        let mut stages = Vec::with_capacity(Stage::ALL.len());
        for stage in Stage::ALL {
            let name = |what: &str| format!("{what}_{stage}");
            stages.push(Count {
                stage,
                rows: whole(batch, &name("rows"))?,
                customers: whole(batch, &name("customers"))?,
                products: whole(batch, &name("products"))?,
                revenue: money(batch, &name("revenue"))?,
            });
        }
        Ok(Self {
            first_day: window.0,
            last_day: window.1,
            stages,
            nulls: profile.nulls,
            negative_values: profile.negative_values,
            duplicate_products: whole(batch, "duplicate_products")?,
        })
    }
}

impl fmt::Display for FilterCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {} to {}", self.first_day, self.last_day)?;
        for count in &self.stages {
            write!(f, "; {} {} rows, {} customers", count.stage, count.rows, count.customers)?;
        }
        Ok(())
    }
}

/// The log at a glance: what must be known before a window can be laid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) rows: u64,
    pub(super) nulls: NullCounts,
    pub(super) not_finite: u64,
    pub(super) negative_values: u64,
    pub(super) last_day: Option<Day>,
}

impl Profile {
    pub(super) fn read(batch: &RecordBatch) -> Result<Self> {
        let nulls = NullCounts {
            customer: whole(batch, "null_customer")?,
            product: whole(batch, "null_product")?,
            value: whole(batch, "null_value")?,
            timestamp: whole(batch, "null_timestamp")?,
        };
        let last_day = optional(batch, "last_day")?
            .map(|day| i32::try_from(day).map_err(|e| wrong("last_day", e)))
            .transpose()?;
        Ok(Self {
            rows: whole(batch, "all_rows")?,
            nulls,
            not_finite: whole(batch, "not_finite")?,
            negative_values: whole(batch, "negative_values")?,
            last_day: last_day.map(Day::from_epoch_days),
        })
    }
}

fn wrong(column: &str, cause: impl fmt::Display) -> Error {
    let message = format!("the engine answered column `{column}` with something unexpected: {cause}");
    Error::Sql { engine: "extraction", cause: Cause::new(message) }
}

fn optional(batch: &RecordBatch, column: &str) -> Result<Option<i64>> {
    let array = batch.column_by_name(column).ok_or_else(|| wrong(column, "missing"))?;
    let array = cast(array, &DataType::Int64).map_err(|e| wrong(column, e))?;
    let array = array.as_primitive::<Int64Type>();
    if array.is_empty() {
        return Err(wrong(column, "no row"));
    }
    Ok((!array.is_null(0)).then(|| array.value(0)))
}

/// A count; null (a sum over no rows) is 0.
fn whole(batch: &RecordBatch, column: &str) -> Result<u64> {
    u64::try_from(optional(batch, column)?.unwrap_or(0)).map_err(|e| wrong(column, e))
}

fn money(batch: &RecordBatch, column: &str) -> Result<String> {
    let array = batch.column_by_name(column).ok_or_else(|| wrong(column, "missing"))?;
    let array = array.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong(column, array.data_type()))?;
    if array.is_empty() || array.is_null(0) {
        return Ok("0".into());
    }
    Ok(array.value_as_string(0))
}
