//! DataFusion in this process.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`DataFusionEngine`], its configuration, errors back to ours |
//! | `provider.rs` | a [`Source`](crate::source::Source) as a table: projection, limit and filters go down to it |
//! | `translate.rs` | filter expressions -> [`Predicate`](crate::source::Predicate)s |
//! | `fingerprint.rs` | the function `farm_fingerprint` |

mod fingerprint;
mod provider;
mod translate;

use super::{Engine, Rows, Tables};
use crate::error::{Cause, Error, Result};
use ::datafusion::common::DataFusionError;
use ::datafusion::common::TableReference;
use ::datafusion::execution::context::{SQLOptions, SessionContext};
use ::datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use ::datafusion::execution::memory_pool::FairSpillPool;
use ::datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use ::datafusion::logical_expr::ScalarUDF;
use ::datafusion::prelude::SessionConfig;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, future};
use provider::SourceTable;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

const ENGINE: &str = "datafusion";

/// Rows that flow between operators at a time.
const BATCH_ROWS: usize = 8192;

/// How much of the machine the engine may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DataFusionConfig {
    /// Partitions that run at a time; 0 takes all cores. The answer does not depend on it.
    pub threads: usize,
    /// Memory of sorts, aggregates and joins; beyond it they spill. None: as much as it takes.
    pub memory_limit_bytes: Option<usize>,
    /// Where spilled data goes; the system's temporary folder unless set.
    pub spill_dir: Option<PathBuf>,
    /// Most spilled data.
    pub max_spill_bytes: u64,
}

impl Default for DataFusionConfig {
    fn default() -> Self {
        Self { threads: 0, memory_limit_bytes: None, spill_dir: None, max_spill_bytes: 100 << 30 }
    }
}

/// Smallest memory limit that is accepted: a merge of spilled runs needs a few batches at once.
const LEAST_MEMORY_BYTES: usize = 16 << 20;

/// SQL in this process.
///
/// Sources are read by one task each; scans of several tables, and the operators above them, run in parallel on the
/// current tokio runtime.
#[derive(Debug, Clone)]
pub struct DataFusionEngine {
    threads: usize,
    runtime: Arc<RuntimeEnv>,
}

impl DataFusionEngine {
    /// An engine within these bounds.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Sql`] when the spill folder cannot be used.
    pub fn new(config: &DataFusionConfig) -> Result<Self> {
        if config.memory_limit_bytes.is_some_and(|limit| limit < LEAST_MEMORY_BYTES) {
            let problem = format!("must be at least {LEAST_MEMORY_BYTES} (16 MiB)");
            return Err(Error::config("engine.memory_limit_bytes", problem));
        }
        if config.threads > 1024 {
            return Err(Error::config("engine.threads", "must be at most 1024; 0 takes all cores"));
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { cores() } else { config.threads };
        let mode = match &config.spill_dir {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(config.max_spill_bytes);
        let mut builder = RuntimeEnvBuilder::new().with_disk_manager_builder(disk);
        if let Some(limit) = config.memory_limit_bytes {
            builder = builder.with_memory_pool(Arc::new(FairSpillPool::new(limit)));
        }
        let runtime = builder.build_arc().map_err(|e| failed(e, &Failure::default()))?;
        Ok(Self { threads, runtime })
    }

    async fn session(&self, tables: &Tables, failure: &Failure) -> Result<SessionContext> {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false);
        // Text leaves as plain Utf8, which every consumer knows.
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        context.register_udf(ScalarUDF::new_from_impl(fingerprint::FarmFingerprint::new()));
        for (name, bound) in tables.iter() {
            let table = SourceTable::open(bound, failure.clone()).await?;
            context
                .register_table(TableReference::bare(name), Arc::new(table))
                .map_err(|e| failed(e, failure))?;
        }
        Ok(context)
    }
}

#[async_trait]
impl Engine for DataFusionEngine {
    async fn execute(&self, sql: &str, tables: &Tables) -> Result<Rows> {
        let failure = Failure::default();
        let context = self.session(tables, &failure).await?;
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let plan = context.sql_with_options(sql, read_only).await.map_err(|e| failed(e, &failure))?;
        let stream = plan.execute_stream().await.map_err(|e| failed(e, &failure))?;
        let schema = stream.schema();
        let batches = stream
            .map_err(move |e| failed(e, &failure))
            .try_filter(|batch| future::ready(batch.num_rows() > 0))
            .boxed();
        Ok(Rows { schema, batches })
    }
}

/// The first error of a source while a statement runs. DataFusion shares and rewraps errors on their way up; this
/// keeps the original.
#[derive(Debug, Clone, Default)]
struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// Keeps `error` and returns what DataFusion gets to see.
    fn keep(&self, error: Error) -> DataFusionError {
        let seen = DataFusionError::Execution(error.to_string());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(error);
        seen
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn failed(error: DataFusionError, failure: &Failure) -> Error {
    if let Some(original) = failure.take() {
        return original;
    }
    let out_of_memory = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
    let cause = Cause::new(error);
    if out_of_memory { Error::Memory { engine: ENGINE, cause } } else { Error::Sql { engine: ENGINE, cause } }
}
