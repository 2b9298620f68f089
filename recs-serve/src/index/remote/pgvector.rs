//! A table of PostgreSQL with the extension pgvector.

use super::super::Hit;
use super::{Among, Care, RemoteIndex};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::SinkExt;
use futures::future::BoxFuture;
use ndarray::ArrayView2;
use recs_core::observe::CancelToken;
use std::fmt::{self, Write};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Row};

/// Widest vectors that pgvector's graph takes.
const MAX_INDEXED_DIM: usize = 2000;
/// Most candidates that a search of its graph keeps in view.
const MAX_EF: usize = 1000;
const UPLOAD_BYTES: usize = 1 << 20;

/// Which table, and how it is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgvectorConfig {
    /// Name of the table: one for each tenant and version, 1 to 40 letters, digits and `_`.
    pub table: String,
    /// Candidates that a search of the graph keeps in view, 1 to 1000; it finds no more than these at once.
    pub ef_search: usize,
}

impl PgvectorConfig {
    /// With 400 candidates in view.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into(), ef_search: 400 }
    }

    fn check(&self) -> Result<()> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !(1..=40).contains(&self.table.len()) || !self.table.bytes().all(plain) {
            return Err(Error::config(
                "pgvector.table",
                format!("{:?}: 1 to 40 letters, digits and _", self.table),
            ));
        }
        if !(1..=MAX_EF).contains(&self.ef_search) {
            return Err(Error::config(
                "pgvector.ef_search",
                format!("is {}, allowed are 1 to {MAX_EF}", self.ef_search),
            ));
        }
        Ok(())
    }
}

/// How a host connects: what is called for the first connection, and again when one is lost. It drives the connection on the
/// runtime that it is called on.
///
/// ```
/// # use recs_serve::index::remote::Connect;
/// # use std::sync::Arc;
/// let connect: Connect = Arc::new(|| Box::pin(async {
///     let (client, connection) = tokio_postgres::connect("host=localhost user=recs", tokio_postgres::NoTls).await?;
///     tokio::spawn(connection);
///     Ok(client)
/// }));
/// # drop(connect);
/// ```
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Client, tokio_postgres::Error>> + Send + Sync>;

/// Vectors in a table `(id integer, v vector)`: the row with id `i` is candidate `i`. Up to 2,000 numbers they have a graph.
///
/// It has a connection of its own, which answers one search after the other, and another one when that is lost; a host that wants
/// more at a time has several indexes.
pub struct PgvectorIndex {
    connect: Connect,
    client: Mutex<Option<Arc<Client>>>,
    config: PgvectorConfig,
    len: usize,
    dim: usize,
}

impl fmt::Debug for PgvectorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL table {}", self.config.table)
    }
}

impl PgvectorIndex {
    /// Makes the table and fills it, with its graph; one of that name is replaced. All or nothing.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::Config`] for the name, [`Error::NonFinite`], `Cancelled`, [`Error::Remote`].
    pub async fn create(
        connect: Connect,
        config: PgvectorConfig,
        vectors: &ArrayView2<'_, f32>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        config.check()?;
        super::check_vectors(vectors)?;
        let (len, dim) = vectors.dim();
        let index = Self { connect, client: Mutex::default(), config, len, dim };
        // Of its own: whatever becomes of this, the server takes back what was not committed.
        let client = (index.connect)().await.map_err(|e| index.failed(&e))?;
        index.batch(&client, "BEGIN").await?;
        index.fill(&client, vectors, cancel).await?;
        index.batch(&client, "COMMIT").await?;
        Ok(index)
    }

    async fn fill(&self, client: &Client, vectors: &ArrayView2<'_, f32>, cancel: &CancelToken) -> Result<()> {
        let table = &self.config.table;
        // A column of no numbers cannot be declared.
        let dim = self.dim.max(1);
        self.batch(
            client,
            &format!(
                "CREATE EXTENSION IF NOT EXISTS vector; DROP TABLE IF EXISTS \"{table}\"; \
             CREATE TABLE \"{table}\" (id integer PRIMARY KEY, v vector({dim}) NOT NULL)"
            ),
        )
        .await?;
        let copy = format!("COPY \"{table}\" (id, v) FROM STDIN");
        let sink: CopyInSink<Bytes> = client.copy_in(&copy).await.map_err(|e| self.failed(&e))?;
        let mut sink = std::pin::pin!(sink);
        let mut text = String::new();
        for (id, row) in vectors.rows().into_iter().enumerate() {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{id}\t{}", literal(row.iter()));
            if text.len() >= UPLOAD_BYTES {
                cancel.check()?;
                sink.send(Bytes::from(std::mem::take(&mut text))).await.map_err(|e| self.failed(&e))?;
            }
        }
        sink.send(Bytes::from(text)).await.map_err(|e| self.failed(&e))?;
        sink.finish().await.map_err(|e| self.failed(&e))?;
        if self.dim <= MAX_INDEXED_DIM {
            self.batch(client, &format!("CREATE INDEX ON \"{table}\" USING hnsw (v vector_ip_ops)")).await?;
        }
        Ok(())
    }

    /// Opens a table that was filled with these vectors; a sample of them is looked at.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// As [`PgvectorIndex::create`]; [`Error::Index`] for a table of other vectors.
    pub async fn open(
        connect: Connect,
        config: PgvectorConfig,
        vectors: &ArrayView2<'_, f32>,
    ) -> Result<Self> {
        config.check()?;
        let (len, dim) = vectors.dim();
        let index = Self { connect, client: Mutex::default(), config, len, dim };
        let sql =
            format!("SELECT count(*), coalesce(max(vector_dims(v)), $1) FROM \"{}\"", index.config.table);
        let client = index.client().await?;
        let row = client.query_one(&sql, &[&(dim as i32)]).await.map_err(|e| index.failed(&e))?;
        let (rows, width): (i64, i32) = (row.get(0), row.get(1));
        if (rows, width) != (len as i64, dim as i32) {
            let reason =
                format!("holds {rows} vectors of {width}, the model has {len} of {dim}: fill it again");
            return Err(Error::index(format!("{index:?}"), reason));
        }
        index.verify(*vectors).await?;
        Ok(index)
    }

    /// Deletes the table.
    ///
    /// # Errors
    /// [`Error::Remote`].
    pub async fn delete(self) -> Result<()> {
        let client = self.client().await?;
        self.batch(&client, &format!("DROP TABLE IF EXISTS \"{}\"", self.config.table)).await
    }

    /// The connection, or another one where there is none or it was lost.
    async fn client(&self) -> Result<Arc<Client>> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(client) if !client.is_closed() => Ok(Arc::clone(client)),
            _ => {
                let new = (self.connect)().await.map_err(|e| self.failed(&e))?;
                self.batch(&new, &format!("SET hnsw.ef_search = {}", self.config.ef_search)).await?;
                Ok(Arc::clone(client.insert(Arc::new(new))))
            }
        }
    }

    async fn batch(&self, client: &Client, sql: &str) -> Result<()> {
        client.batch_execute(sql).await.map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        // The error's own text does not say what the server said.
        let reason = error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned());
        Error::Remote { index: format!("{self:?}"), reason }
    }
}

/// A vector as pgvector reads it.
fn literal<'a>(numbers: impl Iterator<Item = &'a f32>) -> String {
    let mut text = String::from("[");
    for (i, number) in numbers.enumerate() {
        let _ = write!(text, "{}{number}", if i == 0 { "" } else { "," });
    }
    text.push(']');
    text
}

impl RemoteIndex for PgvectorIndex {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn nearest<'a>(
        &'a self,
        query: &'a [f32],
        limit: usize,
        among: Among<'a>,
        care: Care,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(async move {
            let table = &self.config.table;
            // `<#>` is the negative inner product. An expression of it is not what the graph is ordered by, so each row is looked at.
            let order = match care {
                Care::Approximate => "v <#> $1::text::vector",
                Care::Exact => "(v <#> $1::text::vector) + 0",
            };
            let (vector, limit) = (literal(query.iter()), i64::try_from(limit).unwrap_or(i64::MAX));
            let ids: Vec<i32>;
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![&vector, &limit];
            let mut among_these = "";
            if let Among::Only(only) = among {
                ids = only.iter().filter_map(|&id| i32::try_from(id).ok()).collect();
                values.push(&ids);
                among_these = "WHERE id = ANY($3)";
            }
            let sql = format!(
                "SELECT id, -(v <#> $1::text::vector) FROM \"{table}\" {among_these} ORDER BY {order} LIMIT $2"
            );
            let client = self.client().await?;
            let rows = client.query(&sql, &values).await.map_err(|e| self.failed(&e))?;
            let hit = |row: Row| {
                let (id, score): (i32, f64) = (row.get(0), row.get(1));
                Hit { index: id as u32, score: score as f32 }
            };
            Ok(rows.into_iter().map(hit).collect())
        })
    }
}
