//! Which server, as whom, and how its tables are read.

use crate::error::{Error, Result};
use crate::source::ColumnType;
use crate::source::database::TlsConfig;
use recs_core::secret::SecretRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most connections of one read.
const MAX_CONNECTIONS: usize = 64;

/// A PostgreSQL database, or one of a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role to log in as; it needs no more than `SELECT`.
    pub user: String,
    /// Where its password lies, e.g. `env:SHOP_PASSWORD`; unset where the server asks for none.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Encryption.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Connections that one read may use at a time, 1 to 64. All see the same snapshot.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Statements to be read like tables, by name: `orders = "SELECT … FROM … JOIN …"`.
    #[serde(default)]
    pub queries: BTreeMap<String, String>,
    /// Columns to be read as another type than the server's: table -> column -> type. The server writes such columns as text.
    #[serde(default)]
    pub types: BTreeMap<String, BTreeMap<String, ColumnType>>,
    /// Integer columns, best the indexed key, by which tables and queries are read in parallel that have no pages of their own:
    /// table -> column.
    #[serde(default)]
    pub split_by: BTreeMap<String, String>,
    /// Whether rows are fetched by `COPY`; unset: wherever the server knows it. Without, by a cursor over one connection.
    #[serde(default)]
    pub copy: Option<bool>,
    /// What NaN in a `numeric` and `infinity` in a date or timestamp become.
    #[serde(default)]
    pub special_values: SpecialValues,
    /// Largest value accepted.
    #[serde(default = "default_max_value_bytes")]
    pub max_value_bytes: usize,
    /// How long to wait for a connection, in seconds.
    #[serde(default = "default_connect_timeout_s")]
    pub connect_timeout_s: u32,
    /// How long the server may work on one statement, in seconds; 0: as long as it takes.
    #[serde(default)]
    pub statement_timeout_s: u32,
}

/// Values that PostgreSQL can store and Arrow's type cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SpecialValues {
    /// Null, with one warning a column.
    #[default]
    Null,
    /// An error that names the column and where the row is.
    Error,
}

fn default_port() -> u16 {
    5432
}

fn default_connections() -> usize {
    4
}

fn default_max_value_bytes() -> usize {
    1 << 20
}

fn default_connect_timeout_s() -> u32 {
    10
}

impl PostgresConfig {
    /// `database` on `host`, as `user`, without a password.
    pub fn new(host: impl Into<String>, database: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: default_port(),
            database: database.into(),
            user: user.into(),
            password: None,
            tls: TlsConfig::default(),
            connections: default_connections(),
            queries: BTreeMap::new(),
            types: BTreeMap::new(),
            split_by: BTreeMap::new(),
            copy: None,
            special_values: SpecialValues::default(),
            max_value_bytes: default_max_value_bytes(),
            connect_timeout_s: default_connect_timeout_s(),
            statement_timeout_s: 0,
        }
    }

    /// Reads the rows of `statement` as the table `name`.
    #[must_use]
    pub fn with_query(mut self, name: impl Into<String>, statement: impl Into<String>) -> Self {
        self.queries.insert(name.into(), statement.into());
        self
    }

    /// Reads a column as another type than the server's.
    #[must_use]
    pub fn with_type(
        mut self,
        table: impl Into<String>,
        column: impl Into<String>,
        column_type: ColumnType,
    ) -> Self {
        self.types.entry(table.into()).or_default().insert(column.into(), column_type);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |field: &str, problem: String| Err(Error::config(format!("postgres.{field}"), problem));
        for (field, text) in [("host", &self.host), ("database", &self.database), ("user", &self.user)] {
            if text.is_empty() {
                return refuse(field, "is empty".into());
            }
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return refuse("connections", format!("must be 1 to {MAX_CONNECTIONS}"));
        }
        if !(1..=1 << 30).contains(&self.max_value_bytes) {
            return refuse("max_value_bytes", "must be 1 to 1073741824".into());
        }
        if self.connect_timeout_s == 0 {
            return refuse("connect_timeout_s", "must be at least 1".into());
        }
        match self.queries.iter().find(|(_, statement)| statement.trim().is_empty()) {
            Some((name, _)) => refuse("queries", format!("`{name}` is empty")),
            None => Ok(()),
        }
    }

    pub(super) fn origin(&self) -> String {
        format!("postgres {}:{}/{}", self.host, self.port, self.database)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.connect_timeout_s))
    }
}
