//! `recs.toml`.

use crate::error::{Error, Result};
use recs_core::notify::MailConfig;
use recs_core::schema::{DType, Role, Schema};
use recs_core::store::{Store, TenantRoot, env_options};
use recs_core::tenant::TenantId;
use recs_core::vocab::VocabularyConfig;
use recs_etl::dataset::DatasetConfig;
use recs_etl::engine::{DataFusionConfig, Tables};
use recs_etl::extract::{ExtractConfig, OutputColumns};
use recs_etl::source::{
    CsvConfig, CsvSource, CsvTable, ParquetConfig, ParquetSource, Source, SqliteConfig, SqliteSource,
};
use recs_serve::deploy::{DeployConfig, GateConfig};
use recs_serve::http::{ServeConfig, ServerConfig, TenantLimits};
use recs_serve::index::IndexConfig;
use recs_serve::monitor::MonitorConfig;
use recs_train::search::SearchConfig;
use recs_train::tracking::mlflow::MlflowConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file to start from, as `recs init` writes it.
pub(crate) const TEMPLATE: &str = include_str!("../recs.toml");

/// Everything a tenant's pipeline needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Whose data it is.
    pub(crate) tenant: TenantId,
    /// Folder or URL of the store; a folder is relative to the configuration file.
    #[serde(default = "default_store")]
    pub(crate) store: String,
    /// Options of a cloud store, by object_store's names; those of the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`)
    /// need not be here.
    #[serde(default)]
    pub(crate) store_options: BTreeMap<String, String>,
    /// Where the tables come from.
    #[serde(default)]
    pub(crate) source: Option<SourceConfig>,
    /// Names and types of the fields in tables and records.
    #[serde(default)]
    pub(crate) schema: SchemaConfig,
    /// The extraction; its output columns follow from `[schema]`.
    #[serde(default)]
    pub(crate) extract: ExtractConfig,
    /// The SQL engine.
    #[serde(default)]
    pub(crate) engine: DataFusionConfig,
    /// The shards.
    #[serde(default)]
    pub(crate) dataset: DatasetConfig,
    /// The vocabularies.
    #[serde(default)]
    pub(crate) vocab: VocabularyConfig,
    /// Settings of training that differ from the preset's.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::train_overrides")]
    pub(crate) train: serde_json::Map<String, serde_json::Value>,
    /// What `recs search` searches over, starting from `[train]`.
    #[serde(default)]
    pub(crate) search: Option<SearchConfig>,
    /// The MLflow server of `--mlflow`; the tenant's id begins the names of experiment and registered model.
    #[serde(default)]
    pub(crate) mlflow: Option<MlflowConfig>,
    /// The server.
    #[serde(default)]
    pub(crate) serve: ServeSettings,
    /// Folder that relative paths start from.
    #[serde(skip)]
    folder: PathBuf,
}

fn default_store() -> String {
    "store".into()
}

/// Tables by name. Paths are relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SourceConfig {
    /// One Parquet file a table.
    Parquet {
        /// File of each table.
        tables: BTreeMap<String, PathBuf>,
    },
    /// One CSV file with a header a table.
    Csv {
        /// File of each table.
        tables: BTreeMap<String, PathBuf>,
        /// Between two values.
        #[serde(default = "comma")]
        delimiter: char,
    },
    /// The tables of an SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

fn comma() -> char {
    ','
}

/// What differs from the eight retail fields' own names and types.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SchemaConfig {
    /// Column and record name by field, e.g. `customer_id = "cust_person_id"`.
    pub(crate) records: BTreeMap<String, String>,
    /// Type by field: `bytes`, `int64` or `float`.
    pub(crate) dtypes: BTreeMap<String, DType>,
}

/// The server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeSettings {
    /// Address. Where other machines can connect, keys are needed: `recs keys add`.
    pub(crate) listen: String,
    /// Other tenants of the same store, served by the same process under /v1/tenants/{tenant}/, each with a registry, keys, events
    /// and limits of its own.
    pub(crate) tenants: Vec<TenantId>,
    /// What the models of all tenants may take.
    pub(crate) memory: MemorySettings,
    /// Scoring threads; 0 = all cores.
    pub(crate) threads: usize,
    /// Folder on this machine's disk where versions are kept to be mapped, ~/.cache/recs unless given; "": read into memory.
    pub(crate) cache: Option<PathBuf>,
    /// Which index a catalogue is searched by; training publishes it with the version.
    pub(crate) index: IndexConfig,
    /// What a version must fulfil before it serves.
    pub(crate) gate: GateConfig,
    /// What the server bears, and what may be asked of it.
    pub(crate) limits: LimitSettings,
    /// Take a version out of the registry that proves unfit where it is tried before it serves, or while it does.
    pub(crate) roll_back: bool,
    /// So long after a version came into production its failures are watched.
    pub(crate) watch_seconds: u64,
    /// More failures than this share of the requests (of 20 at least), and it is rolled back.
    pub(crate) max_failures: f64,
    /// Seconds between `/readyz` saying no and the door closing, when the server is told to end: for load balancers to notice.
    pub(crate) grace_seconds: u64,
    /// What is kept of lists and events, and when people are told. Events wait in ~/.local/state/recs unless `spool` is given.
    pub(crate) monitor: MonitorConfig,
    /// Who is told.
    pub(crate) notify: NotifySettings,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            tenants: Vec::new(),
            memory: MemorySettings::default(),
            threads: 0,
            cache: None,
            index: IndexConfig::default(),
            gate: GateConfig::default(),
            limits: LimitSettings::default(),
            roll_back: true,
            watch_seconds: DeployConfig::default().watch_seconds,
            max_failures: DeployConfig::default().max_failures,
            grace_seconds: 0,
            monitor: MonitorConfig::default(),
            notify: NotifySettings::default(),
        }
    }
}

/// Room for models, as `MemoryConfig` of recs-serve counts it; no limit unless given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MemorySettings {
    /// Bytes of all models together: beyond, those of the tenant that was asked last of all longest ago make room until it is
    /// asked again.
    pub(crate) total_bytes: Option<u64>,
    /// Bytes of one tenant's models: a version with which there would be more is not served here.
    pub(crate) tenant_bytes: Option<u64>,
}

/// What the server bears: see `ServeConfig`, `ServerConfig` and `TenantLimits` of recs-serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    /// Requests a second over time, of a tenant and of this process: several servers allow as much each. Probes do not count.
    /// Beyond: 429.
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// Requests at once after a pause; as many as in a second unless given.
    pub(crate) burst: Option<NonZeroU32>,
    /// Lists of products a day (UTC), of a tenant and of this process, counted anew when it starts; a batch counts each of its
    /// requests.
    pub(crate) lists_per_day: Option<u64>,
    /// Largest body, 1 KiB to 1 GiB.
    pub(crate) max_body_bytes: usize,
    /// Requests of a tenant under way at a time; one more is answered 503. Of several tenants together four times as many.
    pub(crate) max_in_flight: usize,
    /// Bytes of a tenant's answers that are made and not sent yet; one more is answered 503. Of several tenants together four times
    /// as many.
    pub(crate) max_unsent_bytes: usize,
    /// Milliseconds for a request, from its head to that of its answer.
    pub(crate) time_limit_ms: u64,
    /// Single requests that are answered together at most when they come at the same time; 1: each alone.
    pub(crate) together: usize,
    /// Connections at a time; fewer where the system does not allow as many open files.
    pub(crate) max_connections: usize,
    /// Seconds that a connection may rest.
    pub(crate) idle_seconds: u64,
    /// Seconds until the last byte of an answer must be taken.
    pub(crate) answer_seconds: u64,
    /// Seconds that requests under way may still take when the server is to end.
    pub(crate) drain_seconds: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let (serve, server) = (ServeConfig::default(), ServerConfig::default());
        Self {
            requests_per_second: None,
            burst: None,
            lists_per_day: None,
            max_body_bytes: serve.max_body_bytes,
            max_in_flight: serve.max_in_flight_of_tenant,
            max_unsent_bytes: serve.max_unsent_bytes_of_tenant,
            time_limit_ms: serve.time_limit_ms,
            together: serve.together,
            max_connections: server.max_connections,
            idle_seconds: server.idle_seconds,
            answer_seconds: server.answer_seconds,
            drain_seconds: server.drain_seconds,
        }
    }
}

impl LimitSettings {
    /// Of the router that serves this tenant, and so many in all.
    pub(crate) fn serve(&self, tenant: &TenantId, tenants: usize) -> ServeConfig {
        ServeConfig {
            default_tenant: Some(tenant.clone()),
            max_body_bytes: self.max_body_bytes,
            max_in_flight: self.max_in_flight.saturating_mul(tenants.clamp(1, 4)),
            max_in_flight_of_tenant: self.max_in_flight,
            max_unsent_bytes: self.max_unsent_bytes.saturating_mul(tenants.clamp(1, 4)),
            max_unsent_bytes_of_tenant: self.max_unsent_bytes,
            time_limit_ms: self.time_limit_ms,
            together: self.together,
            ..ServeConfig::default()
        }
    }

    /// Of the connections.
    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            max_connections: self.max_connections,
            idle_seconds: self.idle_seconds,
            answer_seconds: self.answer_seconds,
            drain_seconds: self.drain_seconds,
        }
    }

    /// Of the tenant.
    pub(crate) fn tenant(&self) -> TenantLimits {
        TenantLimits {
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            lists_per_day: self.lists_per_day,
        }
    }
}

/// Where alerts go. Secrets stand in environment variables, which are named here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NotifySettings {
    /// Variable with a URL that gets each alert as JSON.
    pub(crate) webhook_env: Option<String>,
    /// Variable with the URL of an incoming webhook of Slack, or of what reads the same.
    pub(crate) slack_env: Option<String>,
    /// A mail server.
    pub(crate) mail: Option<MailConfig>,
    /// Its user, where it asks for one; needs `mail_password_env`.
    pub(crate) mail_user: Option<String>,
    /// Variable with the user's password.
    pub(crate) mail_password_env: Option<String>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::ConfigFile`], [`Error::ConfigSyntax`] with line and column, [`Error::Config`].
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::ConfigFile { path: path.into(), source })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|source| Error::ConfigSyntax { path: path.into(), source })?;
        config.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        if config.extract.output != OutputColumns::default() {
            return Err(Error::config(
                "extract.output",
                "follows from [schema.records]; set the names there",
            ));
        }
        config.extract.output = config.output_columns()?;
        Ok(config)
    }

    /// The schema of tables and records.
    ///
    /// # Errors
    /// [`Error::Core`] for a field that does not exist or a type that does not fit its role.
    pub(crate) fn schema(&self) -> Result<Schema> {
        let renamed = self.schema.records.iter().map(|(field, record)| (field.as_str(), record.as_str()));
        let mut schema = Schema::retail().with_records(renamed)?;
        for (field, dtype) in &self.schema.dtypes {
            let at = schema.position(field)?;
            schema.fields[at].dtype = *dtype;
        }
        schema.validate()?;
        Ok(schema)
    }

    fn output_columns(&self) -> Result<OutputColumns> {
        let schema = self.schema()?;
        let column = |role: Role| -> Result<String> { Ok(schema.role(role)?.column.clone()) };
        Ok(OutputColumns {
            customer_id: column(Role::Customer)?,
            product_id: column(Role::Product)?,
            revenue: column(Role::Revenue)?,
            city: column(Role::City)?,
            timestamp: column(Role::Timestamp)?,
            art_name: column(Role::ProductName)?,
            category: column(Role::Category)?,
            subcategory: column(Role::Subcategory)?,
        })
    }

    /// The tenant's part of the store.
    ///
    /// # Errors
    /// [`Error::Core`].
    pub(crate) fn root(&self) -> Result<TenantRoot> {
        Ok(self.store()?.tenant(&self.tenant)?)
    }

    /// The store of all tenants.
    pub(crate) fn store(&self) -> Result<Store> {
        let url = if self.store.contains("://") {
            self.store.clone()
        } else {
            self.path(Path::new(&self.store)).to_string_lossy().into_owned()
        };
        Ok(Store::open(&url, self.options())?)
    }

    /// Options of the store: those of the environment, overridden by those of the file.
    pub(crate) fn options(&self) -> impl Iterator<Item = (String, String)> {
        env_options().chain(self.store_options.clone())
    }

    /// A path of the configuration, relative to its file.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The source's tables under the names that `[extract]` uses.
    ///
    /// # Errors
    /// [`Error::Config`] without `[source]`, [`Error::Etl`].
    pub(crate) fn tables(&self) -> Result<Tables> {
        let source = self.source()?;
        let log = &self.extract.transactions.table;
        let mut tables = Tables::new().with(log, Arc::clone(&source), log);
        let products = &self.extract.products.table;
        if !products.is_empty() {
            tables = tables.with(products, source, products);
        }
        Ok(tables)
    }

    fn source(&self) -> Result<Arc<dyn Source>> {
        match &self.source {
            None => Err(Error::config("source", "is missing: extract needs tables, e.g. kind = \"parquet\"")),
            Some(SourceConfig::Parquet { tables }) => {
                let add = |config: ParquetConfig, (name, path): (&String, &PathBuf)| {
                    config.with_table(name, [self.path(path)])
                };
                Ok(Arc::new(ParquetSource::new(tables.iter().fold(ParquetConfig::default(), add))?))
            }
            Some(SourceConfig::Csv { tables, delimiter }) => {
                let mut config = CsvConfig { delimiter: *delimiter, ..CsvConfig::default() };
                for (name, path) in tables {
                    let table = CsvTable { files: vec![self.path(path)], types: BTreeMap::new() };
                    config = config.with_table(name, table);
                }
                Ok(Arc::new(CsvSource::new(config)?))
            }
            Some(SourceConfig::Sqlite { path }) => {
                Ok(Arc::new(SqliteSource::new(SqliteConfig::new(self.path(path)))?))
            }
        }
    }
}
