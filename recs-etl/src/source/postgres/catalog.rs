//! What is in the database: tables and queries, their columns, their size.

use super::connection::{Server, Session};
use super::types::Reading;
use crate::error::{Error, Result};
use crate::source::{ColumnType, TableInfo};
use arrow::datatypes::{Field, Schema, SchemaRef};
use recs_core::observe::{Event, Observer};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio_postgres::Row;

/// Key of a field's metadata under which the server's name of its type stands.
const TYPE_KEY: &str = "postgres.type";

/// Everything that can be selected from. Partitions stand behind their parent.
const RELATIONS: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
        pg_catalog.pg_table_is_visible(c.oid), c.reltuples::float8 \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pg_internal')";
const NO_PARTITIONS: &str = "AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i \
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid AND p.relkind = 'p')";

/// What a name of a request stands for.
#[derive(Debug, Clone)]
pub(super) enum Relation {
    /// A statement of the configuration.
    Query(String),
    Table(Stored),
}

/// A table or view of the server.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) oid: u32,
    schema: String,
    name: String,
    kind: String,
    visible: bool,
    tuples: f64,
}

/// A relation with its columns.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) relation: Relation,
    pub(super) columns: Vec<Column>,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The server's name of its type.
    pub(super) native: String,
    pub(super) reading: Reading,
}

impl Stored {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            kind: row.try_get(3)?,
            visible: row.try_get(4)?,
            tuples: row.try_get(5)?,
        })
    }

    /// The name that a request uses.
    fn name(&self) -> String {
        if self.visible { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }

    /// True when rows lie in pages of its own or of its partitions.
    pub(super) fn has_pages(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p" | "m")
    }
}

impl Relation {
    /// Rows by the server's statistics.
    pub(super) fn rows(&self) -> Option<u64> {
        match self {
            Self::Table(stored) if stored.tuples > 0.0 => Some(stored.tuples as u64),
            _ => None,
        }
    }

    /// What stands behind `FROM`.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Table(stored) => format!("{}.{}", quoted(&stored.schema), quoted(&stored.name)),
            // On a line of its own: a statement may end with a comment.
            Self::Query(statement) => {
                format!("(\n{}\n) AS q", statement.trim_end().trim_end_matches(';'))
            }
        }
    }
}

impl Table {
    pub(super) fn schema(&self) -> SchemaRef {
        let field = |c: &Column| {
            let metadata = HashMap::from([(TYPE_KEY.to_owned(), c.native.clone())]);
            Field::new(&c.name, c.reading.form.arrow(), true).with_metadata(metadata)
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// Says which of the columns to be read have a type that we do not know.
    pub(super) fn warn(&self, columns: &[usize], origin: &str, observer: &dyn Observer) {
        for column in columns.iter().map(|&at| &self.columns[at]).filter(|c| !c.reading.known) {
            let message = format!(
                "{origin}, table `{}`, column `{}`: type `{}` has no Arrow type and is read as the server's text; \
                 declare another in postgres.types where that will not do",
                self.name, column.name, column.native
            );
            observer.on_event(&Event::Warning { stage: "source", message });
        }
    }
}

/// Everything that can be read, by name; the configuration's queries first.
pub(super) async fn tables(server: &Server, session: &Session) -> Result<Vec<TableInfo>> {
    let queries = server.config.queries.keys().map(|name| TableInfo { name: name.clone(), rows: None });
    let mut found: Vec<TableInfo> = queries.collect();
    for relation in stored(server, session).await? {
        let name = relation.name();
        if !server.config.queries.contains_key(&name) {
            found.push(TableInfo { name, rows: Relation::Table(relation).rows() });
        }
    }
    Ok(found)
}

async fn stored(server: &Server, session: &Session) -> Result<Vec<Stored>> {
    let partitions = if session.dialect.postgres { NO_PARTITIONS } else { "" };
    let sql = format!("{RELATIONS} {partitions} ORDER BY 2, 3");
    let rows = session.client.query(&sql, &[]).await.map_err(|e| server.failed("", e))?;
    rows.iter().map(Stored::of).collect::<Result<_, _>>().map_err(|e| server.failed("", e))
}

/// What `name` stands for.
pub(super) async fn relation(server: &Server, session: &Session, name: &str) -> Result<Relation> {
    if let Some(statement) = server.config.queries.get(name) {
        return Ok(Relation::Query(statement.clone()));
    }
    let sql = format!(
        "{RELATIONS} AND (c.relname::text = $1 AND pg_catalog.pg_table_is_visible(c.oid) \
         OR n.nspname::text || '.' || c.relname::text = $1) ORDER BY 5 DESC"
    );
    let row = session.client.query(&sql, &[&name]).await.map_err(|e| server.failed(name, e))?;
    match row.first().map(Stored::of).transpose().map_err(|e| server.failed(name, e))? {
        Some(stored) => Ok(Relation::Table(stored)),
        None => Err(Error::UnknownTable {
            origin: server.origin.to_string(),
            table: name.into(),
            available: tables(server, session).await?.into_iter().map(|t| t.name).collect(),
        }),
    }
}

/// `name` with its columns.
pub(super) async fn table(server: &Server, session: &Session, name: &str) -> Result<Table> {
    let relation = relation(server, session, name).await?;
    let sql = format!("SELECT * FROM {}", relation.sql());
    let described = session.client.prepare(&sql).await.map_err(|e| server.failed(name, e))?;
    let none = BTreeMap::new();
    let declared: &BTreeMap<String, ColumnType> = server.config.types.get(name).unwrap_or(&none);
    let column = |c: &tokio_postgres::Column| Column {
        name: c.name().to_owned(),
        native: c.type_().name().to_owned(),
        reading: match declared.get(c.name()) {
            Some(&declared) => Reading::declared(declared),
            None => Reading::of(c.type_(), c.type_modifier()),
        },
    };
    let columns: Vec<Column> = described.columns().iter().map(column).collect();
    match declared.keys().find(|name| !columns.iter().any(|c| c.name == **name)) {
        None => Ok(Table { name: name.into(), relation, columns }),
        Some(missing) => Err(Error::MissingColumn {
            place: Box::new(server.place(name).in_column(missing)),
            available: columns.into_iter().map(|c| c.name).collect(),
        }),
    }
}

/// A name as SQL takes it whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
