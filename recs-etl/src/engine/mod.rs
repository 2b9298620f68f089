//! SQL over sources: one plan, run in process or elsewhere.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Engine`], [`Tables`], [`Rows`] |
//! | `datafusion/` | [`DataFusionEngine`]: in process, filters pushed into the sources, sorts and aggregates spill to disk |

#[cfg(feature = "sql")]
mod datafusion;

#[cfg(feature = "sql")]
pub use datafusion::{DataFusionConfig, DataFusionEngine};

use crate::error::Result;
use crate::source::{BatchStream, Source};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

/// The tables a statement may name, each a table of some source.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    tables: BTreeMap<String, BoundTable>,
}

/// A name in SQL and what stands behind it.
#[derive(Debug, Clone)]
pub struct BoundTable {
    /// Where it lies.
    pub source: Arc<dyn Source>,
    /// Its name there.
    pub table: String,
}

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces `name`, which stands for `table` of `source`.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        source: Arc<dyn Source>,
        table: impl Into<String>,
    ) -> Self {
        self.tables.insert(name.into(), BoundTable { source, table: table.into() });
        self
    }

    /// The table called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownTable`](crate::Error::UnknownTable) listing the names there are.
    pub fn get(&self, name: &str) -> Result<&BoundTable> {
        self.tables.get(name).ok_or_else(|| crate::Error::UnknownTable {
            origin: "the tables of this statement".into(),
            table: name.into(),
            available: self.tables.keys().cloned().collect(),
        })
    }

    /// The same tables, each of them stopping when `cancel` says so.
    pub(crate) fn cancellable(&self, cancel: &recs_core::observe::CancelToken) -> Self {
        let wrap = |bound: &BoundTable| BoundTable {
            source: Arc::new(crate::source::Cancellable::new(Arc::clone(&bound.source), cancel.clone())),
            table: bound.table.clone(),
        };
        Self { tables: self.tables.iter().map(|(name, bound)| (name.clone(), wrap(bound))).collect() }
    }

    /// All names with their tables, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BoundTable)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), table))
    }
}

/// The answer to a statement: its columns, known before the first row, and its rows.
pub struct Rows {
    /// Columns and types.
    pub schema: SchemaRef,
    /// The rows; none of the batches is empty.
    pub batches: BatchStream,
}

impl Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Runs SQL over [`Tables`].
///
/// Engines are implemented for a place where plans run (in process, a cluster, a warehouse); the extraction calls them.
///
/// # Contract
/// - `sql` is one `SELECT` in the dialect that [`extract`](crate::extract) writes: common table expressions, window
///   functions, `GROUPING SETS`, decimals, and the function `farm_fingerprint(text) -> int64` with BigQuery's answers.
/// - Names in it are those of `tables`; nothing else can be reached: no file, no URL, no function with side effects.
/// - Decimal arithmetic is exact, `ORDER BY` is total up to equal rows, so the answer does not depend on the threads.
/// - An error of a source comes back as it is, not wrapped in the engine's own.
/// - Dropping the rows stops the work. Memory stays within the engine's configuration.
#[async_trait]
pub trait Engine: Debug + Send + Sync {
    /// Runs a statement and streams its rows.
    ///
    /// # Errors
    /// At once: a statement that cannot be planned, a table that cannot be opened. In the stream: everything found
    /// while running.
    async fn execute(&self, sql: &str, tables: &Tables) -> Result<Rows>;
}
