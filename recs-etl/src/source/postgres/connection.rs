//! Connections, and what their failures mean.

use super::config::PostgresConfig;
use crate::error::{Cause, DatabaseFailure, Error, Place, Result};
use crate::source::database::{TlsMode, dial, within};
use crate::source::pump::blocking;
use recs_core::secret::SecretProvider;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How every session behaves: literals mean what they say, numbers come back to the last bit, and rows come in the order of their
/// pages and not from where another reader happens to be.
const SESSION: &str = "SET standard_conforming_strings = on; SET extra_float_digits = 3; SET DateStyle = ISO; \
    SET IntervalStyle = iso_8601; SET TimeZone = 'UTC'; SET bytea_output = hex";
const SESSION_POSTGRES: &str = "SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0";

/// What a source connects with.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) config: Arc<PostgresConfig>,
    pub(super) secrets: Arc<dyn SecretProvider>,
    pub(super) origin: Arc<str>,
}

/// A connection; dropping it closes the socket, which ends whatever the server does for it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) dialect: Dialect,
    _driver: JoinSet<()>,
}

/// What the server can do beyond the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `COPY … TO STDOUT (FORMAT binary)`.
    pub(super) copy: bool,
    /// Ranges of pages are read without a scan of the whole table: PostgreSQL 14 and later.
    pub(super) page_ranges: bool,
    /// PostgreSQL itself, with its catalogue, collations and settings.
    pub(super) postgres: bool,
}

impl Server {
    pub(super) fn place(&self, table: &str) -> Place {
        Place::table(&*self.origin, table)
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Session> {
        let timeout = self.config.connect_timeout();
        let config = self.client_config().await?;
        let stream = dial(&self.origin, &self.config.host, self.config.port, timeout).await?;
        within(&self.origin, timeout, self.login(config, stream)).await
    }

    async fn client_config(&self) -> Result<Config> {
        let mut config = Config::new();
        config.user(&self.config.user).dbname(&self.config.database).application_name("recs");
        config.ssl_mode(match self.config.tls.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        if let Some(reference) = &self.config.password {
            config.password(self.secrets.secret(reference).await?.expose());
        }
        Ok(config)
    }

    async fn login(&self, config: Config, stream: TcpStream) -> Result<Session> {
        let (tls, origin) = (self.config.tls.clone(), self.origin.to_string());
        match blocking(&self.origin, move || tls.client(&origin)).await? {
            None => self.begin(config, stream, NoTls).await,
            Some(client) => {
                let mut make = MakeRustlsConnect::new(client);
                let made = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::make_tls_connect(
                    &mut make,
                    &self.config.host,
                );
                let tls =
                    made.map_err(|e| Error::database(self.place(""), DatabaseFailure::Tls, Cause::new(e)))?;
                self.begin(config, stream, tls).await
            }
        }
    }

    async fn begin<T>(&self, config: Config, stream: TcpStream, tls: T) -> Result<Session>
    where
        T: TlsConnect<TcpStream>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = config.connect_raw(stream, tls).await.map_err(|e| self.refused(&e))?;
        let mut driver = JoinSet::new();
        // Its errors reach the client, whose calls fail.
        driver.spawn(async move { drop(connection.await) });
        let version: String =
            client.query_one_scalar("SELECT version()::text", &[]).await.map_err(|e| self.failed("", e))?;
        let dialect = Dialect::of(&version, self.config.copy);
        let mut settings = String::from(SESSION);
        if dialect.postgres {
            settings = format!(
                "{SESSION}; {SESSION_POSTGRES}; SET statement_timeout = '{}s'",
                self.config.statement_timeout_s
            );
        } else {
            settings.truncate(0);
        }
        client.batch_execute(&settings).await.map_err(|e| self.failed("", e))?;
        Ok(Session { client, dialect, _driver: driver })
    }

    /// A failure before the first statement.
    fn refused(&self, error: &tokio_postgres::Error) -> Error {
        let text = explained(error);
        let failure = match error.code() {
            Some(state) => failure_of(state),
            None if text.contains("TLS") || text.contains("certificate") || text.contains("tls") => {
                DatabaseFailure::Tls
            }
            None if text.contains("password") || text.contains("authentication") => DatabaseFailure::Login,
            None => DatabaseFailure::Lost,
        };
        Error::database(self.place(""), failure, Cause::new(text))
    }

    /// A failure of a statement about `table`.
    #[allow(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn failed(&self, table: &str, error: tokio_postgres::Error) -> Error {
        let failure = match error.code() {
            Some(state) => failure_of(state),
            None => DatabaseFailure::Lost,
        };
        Error::database(self.place(table), failure, Cause::new(explained(&error)))
    }
}

impl Dialect {
    /// From the text of `version()`: `PostgreSQL 15.8 (Debian …)`, `PostgreSQL 8.0.2 on i686…, Redshift 1.0.12103`.
    fn of(version: &str, copy: Option<bool>) -> Self {
        let major: Option<u32> = version
            .strip_prefix("PostgreSQL ")
            .and_then(|v| v.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        let postgres = major.is_some_and(|m| m >= 9) && !version.contains("Redshift");
        let copy = copy.unwrap_or(postgres);
        Self { copy, page_ranges: copy && postgres && major.is_some_and(|m| m >= 14), postgres }
    }
}

/// The message with everything that the server added, in one line.
fn explained(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        return text;
    };
    let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    for more in [db.detail(), db.hint(), db.where_()].into_iter().flatten() {
        let _ = write!(text, "; {more}");
    }
    text.replace('\n', " ")
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn failure_of(state: &SqlState) -> DatabaseFailure {
    let code = state.code();
    match code {
        "3D000" => DatabaseFailure::UnknownDatabase,
        "42501" => DatabaseFailure::Permission,
        "57014" => DatabaseFailure::Timeout,
        "57P01" | "57P02" | "25P03" | "57P05" => DatabaseFailure::Lost,
        "40001" | "40P01" | "55P03" | "72000" => DatabaseFailure::Conflict,
        _ => match code.get(..2) {
            Some("28") => DatabaseFailure::Login,
            Some("08") => DatabaseFailure::Lost,
            Some("53" | "57") => DatabaseFailure::Busy,
            _ => DatabaseFailure::Statement,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_apart_by_their_version() {
        let debian = Dialect::of("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64", None);
        assert!(debian.copy && debian.page_ranges && debian.postgres);
        assert!(!Dialect::of("PostgreSQL 13.4", None).page_ranges);
        assert!(!Dialect::of("PostgreSQL 15.1", Some(false)).copy);
        let redshift =
            Dialect::of("PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC, Redshift 1.0.12103", None);
        assert!(!redshift.copy && !redshift.postgres);
    }
}
