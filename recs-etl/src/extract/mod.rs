//! Which purchases the models learn from: one SQL statement from a purchase log to the rows of a dataset.
//!
//! ```text
//!  transactions ─ complete ─ window ─ value > 0 ─ cities ─ sample ─ top products ─ active customers ─┐
//!  products ─ one row a product ──────────────────────────────────────────────── left join, N/A ──┴─> rows
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`ExtractConfig`]: every number and name |
//! | `columns.rs` | what each configured column is in the actual tables, checked |
//! | `sql.rs` | quoting, and statements of common table expressions |
//! | `plan.rs` | [`ExtractPlan`]: configuration and schemas -> the statements |
//! | `relations.rs` | the parts of the statements: log, conditions, catalogue, purchases |
//! | `counts.rs` | [`FilterCounts`], [`Stage`]: what was there before and after each filter |
//! | `run.rs` | [`extract`]: profile, counts, then the rows as a stream |

mod columns;
mod config;
mod counts;
mod plan;
mod relations;
mod run;
mod sql;

pub use config::{ExtractConfig, OnNull, OutputColumns, ProductColumns, TransactionColumns};
pub use counts::{Count, FilterCounts, NullCounts, Stage};
pub use plan::ExtractPlan;
pub use run::{Extraction, extract};
