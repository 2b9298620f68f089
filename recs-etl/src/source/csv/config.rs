//! Which files, and how they are written.

use crate::error::{Error, Result};
use crate::source::ColumnType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How the files are written, and which table lies in which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvConfig {
    /// Tables by name.
    pub tables: BTreeMap<String, CsvTable>,
    /// Between fields; one ASCII character.
    pub delimiter: char,
    /// Around fields that hold delimiters or line breaks; doubled inside a field. One ASCII character.
    pub quote: char,
    /// Texts that stand for null, quoted or not. An empty field is one by default.
    pub null_strings: Vec<String>,
    /// Rows that types are inferred from.
    pub infer_rows: usize,
    /// Largest record; a missing closing quote would otherwise read the rest of the file as one field.
    pub max_record_bytes: usize,
}

/// One table: one file, or several that are read one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvTable {
    /// The files, in reading order; all with the same header.
    pub files: Vec<PathBuf>,
    /// Declared types; columns left out are inferred.
    #[serde(default)]
    pub types: BTreeMap<String, ColumnType>,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            delimiter: ',',
            quote: '"',
            null_strings: vec![String::new()],
            infer_rows: 1000,
            max_record_bytes: 1 << 20,
        }
    }
}

impl CsvConfig {
    /// One file as a table.
    pub fn file(table: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::default().with_table(table, CsvTable { files: vec![path.into()], types: BTreeMap::new() })
    }

    /// Adds or replaces a table.
    #[must_use]
    pub fn with_table(mut self, name: impl Into<String>, table: CsvTable) -> Self {
        self.tables.insert(name.into(), table);
        self
    }

    /// Declares the type of a column of a table that was added before.
    #[must_use]
    pub fn with_type(mut self, table: &str, column: impl Into<String>, column_type: ColumnType) -> Self {
        if let Some(table) = self.tables.get_mut(table) {
            table.types.insert(column.into(), column_type);
        }
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |field: &str, problem: &str| Err(Error::config(format!("csv.{field}"), problem));
        if self.tables.is_empty() {
            return refuse("tables", "names no table");
        }
        if let Some((name, _)) = self.tables.iter().find(|(_, t)| t.files.is_empty()) {
            return refuse(&format!("tables.{name}.files"), "names no file");
        }
        for (field, character) in [("delimiter", self.delimiter), ("quote", self.quote)] {
            if !character.is_ascii() || matches!(character, '\n' | '\r' | '\0') {
                return refuse(field, "must be one ASCII character other than a line break");
            }
        }
        if self.delimiter == self.quote {
            return refuse("quote", "must differ from the delimiter");
        }
        if !(1..=1_000_000).contains(&self.infer_rows) {
            return refuse("infer_rows", "must be 1 to 1000000");
        }
        if !(1024..=1 << 30).contains(&self.max_record_bytes) {
            return refuse("max_record_bytes", "must be 1024 to 1073741824");
        }
        Ok(())
    }

    /// `csv PATH` of the only file, or `csv (N files)`.
    pub(super) fn origin(&self) -> String {
        let files: Vec<&PathBuf> = self.tables.values().flat_map(|t| &t.files).collect();
        match files.as_slice() {
            [only] => format!("csv {}", only.display()),
            many => format!("csv ({} files)", many.len()),
        }
    }

    pub(super) fn is_null(&self, text: &str) -> bool {
        self.null_strings.iter().any(|n| n == text)
    }
}
