//! Which database.

use crate::error::{Error, Result};
use crate::source::ColumnType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A database file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The file.
    pub path: PathBuf,
    /// Types that override declared ones: table -> column -> type.
    #[serde(default)]
    pub types: BTreeMap<String, BTreeMap<String, ColumnType>>,
    /// Largest text or blob accepted.
    #[serde(default = "default_max_value_bytes")]
    pub max_value_bytes: usize,
}

fn default_max_value_bytes() -> usize {
    1 << 20
}

impl SqliteConfig {
    /// The database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), types: BTreeMap::new(), max_value_bytes: default_max_value_bytes() }
    }

    /// Reads a column as another type than it is declared.
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
        if self.path.as_os_str().is_empty() {
            return Err(Error::config("sqlite.path", "is empty"));
        }
        if !(1..=1 << 30).contains(&self.max_value_bytes) {
            return Err(Error::config("sqlite.max_value_bytes", "must be 1 to 1073741824"));
        }
        Ok(())
    }

    pub(super) fn origin(&self) -> String {
        format!("sqlite {}", self.path.display())
    }
}
