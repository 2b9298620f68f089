//! Which table lies in which files.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Tables, each one or several files of the same schema, read in the order given. Folders are not searched: a file
/// that is being written next to the others must not be taken for data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParquetConfig {
    /// Files of each table.
    pub tables: BTreeMap<String, Vec<PathBuf>>,
}

impl ParquetConfig {
    /// One file as a table.
    pub fn file(table: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::default().with_table(table, [path])
    }

    /// Adds or replaces a table.
    #[must_use]
    pub fn with_table<I: IntoIterator<Item: Into<PathBuf>>>(
        mut self,
        name: impl Into<String>,
        files: I,
    ) -> Self {
        self.tables.insert(name.into(), files.into_iter().map(Into::into).collect());
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.tables.is_empty() {
            return Err(Error::config("parquet.tables", "names no table"));
        }
        match self.tables.iter().find(|(_, files)| files.is_empty()) {
            Some((name, _)) => Err(Error::config(format!("parquet.tables.{name}"), "names no file")),
            None => Ok(()),
        }
    }

    /// `parquet PATH` of the only file, or `parquet (N files)`.
    pub(super) fn origin(&self) -> String {
        let files: Vec<&PathBuf> = self.tables.values().flatten().collect();
        match files.as_slice() {
            [only] => format!("parquet {}", only.display()),
            many => format!("parquet ({} files)", many.len()),
        }
    }
}
