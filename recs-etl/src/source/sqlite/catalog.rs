//! What is in the database: tables, columns, the order of rows.

use super::config::SqliteConfig;
use super::types::declared;
use crate::error::{Cause, Error, Place, Result};
use crate::source::{ColumnType, TableInfo};
use arrow::datatypes::{Field, Schema, SchemaRef};
use rusqlite::{Connection, OpenFlags};
use std::sync::Arc;

/// An open database.
pub(super) struct Catalog {
    pub(super) connection: Connection,
    config: SqliteConfig,
}

/// A table or view.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// A name under which the rowid can be asked for; none for views and tables without rowid.
    pub(super) rowid: Option<&'static str>,
    /// Columns of the primary key, which orders a table without rowid.
    pub(super) key: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    pub(super) declaration: String,
}

impl Table {
    pub(super) fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns.iter().map(|c| Field::new(&c.name, c.column_type.arrow(), true)).collect();
        Arc::new(Schema::new(fields))
    }
}

impl Catalog {
    pub(super) fn open(config: &SqliteConfig) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let refuse = |e: rusqlite::Error| Error::Open { origin: config.origin(), cause: Cause::new(e) };
        let connection = Connection::open_with_flags(&config.path, flags).map_err(refuse)?;
        // Opening is lazy in SQLite: only a first query says whether the file is a database.
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(())).map_err(refuse)?;
        Ok(Self { connection, config: config.clone() })
    }

    pub(super) fn tables(&self) -> Result<Vec<TableInfo>> {
        let names = self.names()?;
        let info = |name: String| {
            let rows = self.table(&name).and_then(|t| self.row_estimate(&t))?;
            Ok(TableInfo { name, rows })
        };
        names.into_iter().map(info).collect()
    }

    fn names(&self) -> Result<Vec<String>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
        self.query("", |c| c.prepare(sql)?.query_map([], |row| row.get(0))?.collect())
    }

    pub(super) fn table(&self, name: &str) -> Result<Table> {
        let listed: Option<(String, bool)> = self.query(name, |c| {
            let sql = "SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main'";
            let mut rows = c.prepare(sql)?;
            let mut rows = rows.query([name])?;
            rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
        })?;
        let Some((kind, without_rowid)) = listed else {
            return Err(Error::UnknownTable {
                origin: self.config.origin(),
                table: name.into(),
                available: self.names()?,
            });
        };
        let found: Vec<(String, String, i64)> = self.query(name, |c| {
            let sql = "SELECT name, type, pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid";
            c.prepare(sql)?.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })?;
        let mut key: Vec<(i64, String)> =
            found.iter().filter(|c| c.2 > 0).map(|c| (c.2, c.0.clone())).collect();
        key.sort();
        let free = |alias: &&str| !found.iter().any(|(column, ..)| column.eq_ignore_ascii_case(alias));
        let rowid = match kind.as_str() {
            "table" if !without_rowid => ["rowid", "_rowid_", "oid"].into_iter().find(free),
            _ => None,
        };
        let columns =
            found.into_iter().map(|(column, declaration, _)| self.column(name, column, declaration));
        let columns = columns.collect();
        Ok(Table { name: name.into(), columns, rowid, key: key.into_iter().map(|(_, n)| n).collect() })
    }

    fn column(&self, table: &str, name: String, declaration: String) -> Column {
        let configured = self.config.types.get(table).and_then(|types| types.get(&name)).copied();
        let column_type = configured.unwrap_or_else(|| declared(&declaration));
        Column { name, column_type, declaration }
    }

    /// The largest rowid: exact unless rows were deleted, and found without reading the table.
    pub(super) fn row_estimate(&self, table: &Table) -> Result<Option<u64>> {
        let Some(rowid) = table.rowid else { return Ok(None) };
        let sql = format!("SELECT MAX({rowid}) FROM {}", quoted(&table.name));
        let most: Option<i64> = self.query(&table.name, |c| c.query_row(&sql, [], |row| row.get(0)))?;
        Ok(Some(u64::try_from(most.unwrap_or(0)).unwrap_or(0)))
    }

    fn query<T>(&self, table: &str, call: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        call(&self.connection).map_err(|e| Error::Read {
            place: Box::new(Place::table(self.config.origin(), table)),
            cause: Cause::new(e),
        })
    }
}

/// A name as an identifier, whatever characters it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
