//! PostgreSQL: binary `COPY` over several connections under one snapshot.
//!
//! ```text
//!                       ┌ COPY pages 0..1024    ─ decode ─ 16 batches ┐
//!  snapshot ─ ranges ───┼ COPY pages 1024..2048 ─ decode ─ 16 batches ┼─ in the order of the ranges ─> BatchStream
//!                       └ …                                           ┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`PostgresConfig`] |
//! | `connection.rs` | connections, what a server can do, what its failures mean |
//! | `catalog.rs` | tables and queries, their columns, their size |
//! | `types.rs` | the server's types -> Arrow types |
//! | `decode.rs`, `numeric.rs` | the binary form of a value -> builders |
//! | `frames.rs` | the byte stream of a binary `COPY` -> rows |
//! | `condition.rs` | predicates -> SQL |
//! | `ranges.rs` | a table -> ranges of pages or keys |
//! | `reader.rs` | ranges -> batches, in order |

mod catalog;
mod condition;
mod config;
mod connection;
mod decode;
mod frames;
mod numeric;
mod ranges;
mod reader;
mod types;

pub use config::{PostgresConfig, SpecialValues};

use super::filter::{ReadPlan, supports};
use super::predicate::Predicate;
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::Result;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use connection::Server;
use recs_core::observe::{Observer, Silent};
use recs_core::secret::SecretProvider;
use std::fmt;
use std::sync::Arc;

/// A PostgreSQL database, version 9 to the newest, or a server that speaks its protocol (Redshift: by cursor).
///
/// Tables, views and materialised views go by their name where the search path finds them, by `schema.name` elsewhere;
/// the configuration's queries go by theirs. A read is one transaction that changes nothing; all its connections see
/// the same snapshot. Rows of a table come in the order of its pages; those of a view or query in the order that the
/// server delivers, so put `ORDER BY` there where it matters.
///
/// | the server's type | read as |
/// |---|---|
/// | `boolean`, `smallint`, `integer`, `bigint`, `oid` | `Boolean`, `Int16`, `Int32`, `Int64`, `UInt32` |
/// | `real`, `double precision` | `Float32`, `Float64` |
/// | `numeric(p,s)` | `Decimal128` up to 38 digits, `Decimal256` up to 76, text beyond |
/// | `numeric` without precision | text, exact; declare it in `types` to get a decimal |
/// | `money` | `Decimal128(23, 4)` |
/// | `text`, `varchar`, `char`, `name`, `json`, `jsonb`, `uuid`, enums | `Utf8` |
/// | `bytea` | `Binary` |
/// | `date`, `time` | `Date32`, `Time64(µs)` |
/// | `timestamp`, `timestamptz` | `Timestamp(µs)`, `Timestamp(µs, UTC)` |
/// | arrays of these | `List`; of several dimensions: an error that says what to do |
/// | `interval`, `timetz`, `bit`, `inet`, `cidr`, `macaddr`, `xml`, `"char"` | text as the server writes it |
/// | anything else | the same, with one warning a column |
///
/// The server's name of a type stands in the field's metadata under `postgres.type`. NaN in a `numeric` and `infinity`
/// in a date have no Arrow form: [`SpecialValues`] says what becomes of them.
///
/// ```no_run
/// use recs_core::secret::Secrets;
/// use recs_etl::source::{PostgresConfig, PostgresSource, Source};
/// use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = PostgresConfig::new("db.shop.example", "shop", "reader");
/// config.password = Some("env:SHOP_PASSWORD".parse()?);
/// let source = PostgresSource::new(config, Arc::new(Secrets::default()))?;
/// source.check().await?;
/// println!("{:?}", source.preview("orders", 10).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PostgresSource {
    server: Server,
    observer: Arc<dyn Observer>,
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource").field("name", &self.server.origin).finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// A source of the configured database; connects to nothing yet. `secrets` is asked at every connection.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config).
    pub fn new(config: PostgresConfig, secrets: Arc<dyn SecretProvider>) -> Result<Self> {
        config.validate()?;
        let origin = config.origin().into();
        let server = Server { config: Arc::new(config), secrets, origin };
        Ok(Self { server, observer: Arc::new(Silent) })
    }

    /// Sends warnings about columns to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn name(&self) -> &str {
        &self.server.origin
    }

    async fn check(&self) -> Result<()> {
        self.tables().await.map(drop)
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        let session = self.server.connect().await?;
        catalog::tables(&self.server, &session).await
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        let session = self.server.connect().await?;
        Ok(catalog::table(&self.server, &session, table).await?.schema())
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        let session = self.server.connect().await?;
        Ok(catalog::relation(&self.server, &session, table).await?.rows())
    }

    fn pushdown(&self, _table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        if supports(schema, predicate) { Pushdown::Exact } else { Pushdown::Unsupported }
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let session = self.server.connect().await?;
        let snapshot = reader::begin(&self.server, &session, &request.table).await?;
        let table = catalog::table(&self.server, &session, &request.table).await?;
        let plan = ReadPlan::new(&self.server.origin, &table.schema(), &request)?;
        table.warn(&plan.columns, &self.server.origin, &*self.observer);
        let ranges = ranges::of(&self.server, &session, &table).await?;
        let job = reader::Job::new(self, &request, table, plan.columns);
        Ok(reader::start(job, session, snapshot.as_deref(), ranges, &plan.finish))
    }
}
