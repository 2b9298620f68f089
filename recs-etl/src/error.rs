//! The error of this crate: variants by what the caller can do about them.

use crate::extract::{FilterCounts, Stage};
use std::fmt;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a company's tables and finished shards.
///
/// Variants are by remedy: mend the configuration, the data, the file, or ask again. Places are named in full; nothing
/// here ever holds a password or token.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value is out of range or contradicts another.
    #[error("configuration `{field}`: {problem}")]
    Config {
        /// Path of the setting, e.g. `extract.window_days`.
        field: String,
        /// Why it is refused and what is allowed.
        problem: String,
    },
    /// A source cannot be opened: wrong path, no permission, not a file of this kind.
    #[error(
        "cannot open {origin}: {cause}; check the path, the permissions and that the file is of this kind"
    )]
    Open {
        /// The source, e.g. `parquet /data/log.parquet`.
        origin: String,
        /// What the reader said.
        #[source]
        cause: Cause,
    },
    /// The source has no such table.
    #[error("{origin} has no table `{table}`; it has: {}", list(.available))]
    UnknownTable {
        /// The source.
        origin: String,
        /// The table asked for.
        table: String,
        /// The tables there are.
        available: Vec<String>,
    },
    /// A table lacks a column that was asked for.
    #[error("{place}: the column is missing; the table has: {}; correct the name in the configuration", list(.available))]
    MissingColumn {
        /// Source, table and column.
        place: Box<Place>,
        /// The columns there are.
        available: Vec<String>,
    },
    /// A column has a type that cannot be used for what it is asked to be.
    #[error("{place}: the column holds {got}, expected {expected}; {remedy}")]
    ColumnType {
        /// Source, table and column.
        place: Box<Place>,
        /// What is needed.
        expected: String,
        /// What is there.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// One value cannot be used: it does not fit its column's type, or it is not allowed there.
    #[error("{place}: expected {expected}, got {got}; {remedy}")]
    Value {
        /// Source, table, row and column.
        place: Box<Place>,
        /// What is needed.
        expected: String,
        /// What is there, cut to a sensible length.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// One row cannot be read at all: too few or too many fields, not UTF-8, too large.
    #[error("{place}: {problem}")]
    Row {
        /// Source, table and row.
        place: Box<Place>,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file or database failed or turned out damaged while it was read.
    #[error(
        "{place}: reading failed: {cause}; the file may be damaged or was changed meanwhile, copy it again"
    )]
    Read {
        /// Source and table, and the row where known.
        place: Box<Place>,
        /// What the reader said.
        #[source]
        cause: Cause,
    },
    /// A database server cannot be reached, lets nobody in, or failed a statement.
    #[error("{place}: {}: {cause}; {}", .failure.what(), .failure.remedy())]
    Database {
        /// Source, and the table where known.
        place: Box<Place>,
        /// What failed.
        failure: DatabaseFailure,
        /// What the server or the network said.
        #[source]
        cause: Cause,
    },
    /// A read request contradicts itself or the source.
    #[error("{place}: {problem}")]
    Request {
        /// Source and table.
        place: Box<Place>,
        /// What is wrong with the request.
        problem: String,
    },
    /// The thread that read a source died; this is a defect worth reporting.
    #[error(
        "{place}: the reader stopped unexpectedly; rows may be missing, so nothing of this read may be used"
    )]
    ReaderLost {
        /// Source and table.
        place: Box<Place>,
    },
    /// The SQL engine refused or failed a statement.
    #[error("{engine}: {cause}")]
    Sql {
        /// The engine.
        engine: &'static str,
        /// What it said.
        #[source]
        cause: Cause,
    },
    /// The SQL engine needs more memory than it was given.
    #[error(
        "{engine}: out of its memory limit: {cause}; raise engine.memory_limit_bytes or give it a spill folder"
    )]
    Memory {
        /// The engine.
        engine: &'static str,
        /// What it said.
        #[source]
        cause: Cause,
    },
    /// Rows lack a value that the extraction needs.
    #[error(
        "table `{table}`: column `{column}` is null in {rows} rows; mend the data, or set extract.on_null = \"drop\" \
         to leave such rows out"
    )]
    NullRows {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Rows where it is null.
        rows: u64,
    },
    /// The value column holds NaN, an infinity or an amount beyond 10^18.
    #[error(
        "table `{table}`: column `{column}` is NaN, infinite or beyond 10^18 in {rows} rows; mend the data"
    )]
    NotFinite {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Rows where it is so.
        rows: u64,
    },
    /// A filter of the extraction left no row.
    #[error("the extraction is empty: {stage} left no row ({}); {}", stage.remedy(), counts)]
    NothingLeft {
        /// The filter that removed the last row.
        stage: Stage,
        /// What was there before and after each filter.
        counts: Box<FilterCounts>,
    },
    /// The rows that came are not the rows that were counted before.
    #[error(
        "{what}: {counted} rows were counted, {read} came; the source changed meanwhile, run again on a snapshot"
    )]
    CountChanged {
        /// What was read.
        what: String,
        /// Rows of the count pass.
        counted: u64,
        /// Rows that came.
        read: u64,
    },
    /// Formats, store or cancellation.
    #[error(transparent)]
    Core(#[from] recs_core::Error),
}

impl Error {
    /// True when the job was stopped through its cancel token.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Core(recs_core::Error::Cancelled))
    }

    /// True when the same call may succeed later without anybody's doing: a server that restarts, a lost connection, two
    /// transactions in each other's way.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database { failure, .. } if failure.is_transient())
    }

    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn database(place: Place, failure: DatabaseFailure, cause: Cause) -> Self {
        Self::Database { place: Box::new(place), failure, cause }
    }

    pub(crate) fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { field: field.into(), problem: problem.into() }
    }
}

/// What failed between us and a database server.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseFailure {
    /// The host name has no address.
    Dns,
    /// Nobody listens at the address, or a firewall refuses.
    Refused,
    /// No answer in time.
    Timeout,
    /// Encryption is refused, missing, or the certificate is not trusted.
    Tls,
    /// User or password is wrong, or the server does not admit this client.
    Login,
    /// There is no such database.
    UnknownDatabase,
    /// The user may not do that.
    Permission,
    /// The server has no connection, memory or disk left, or starts or stops just now.
    Busy,
    /// The connection broke.
    Lost,
    /// Another transaction was in the way.
    Conflict,
    /// The server refused the statement itself.
    Statement,
}

impl DatabaseFailure {
    /// True when waiting may help.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Refused | Self::Timeout | Self::Busy | Self::Lost | Self::Conflict)
    }

    fn what(self) -> &'static str {
        match self {
            Self::Dns => "the host name cannot be resolved",
            Self::Refused => "the connection is refused",
            Self::Timeout => "no answer in time",
            Self::Tls => "no encrypted connection",
            Self::Login => "login is refused",
            Self::UnknownDatabase => "there is no such database",
            Self::Permission => "permission is denied",
            Self::Busy => "the server is busy",
            Self::Lost => "the connection was lost",
            Self::Conflict => "another transaction was in the way",
            Self::Statement => "the statement failed",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Dns => "check `host`",
            Self::Refused => "check `host` and `port`, that the server runs and that no firewall is between",
            Self::Timeout => "check `host`, `port` and the network, or raise the timeout",
            Self::Tls => "check `tls.mode` and `tls.ca_file`, and whether the server offers TLS",
            Self::Login => "check `user`, the secret that `password` names, and the server's list of clients",
            Self::UnknownDatabase => "check `database`",
            Self::Permission => "let an administrator grant it to `user`",
            Self::Busy => "try again later, or use fewer connections",
            Self::Lost | Self::Conflict => "try again",
            Self::Statement => "check the tables, columns and queries in the configuration",
        }
    }
}

/// Where in a source something is: printed as `csv /data/log.csv, table log, row 7, column price`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The source as it names itself.
    pub origin: String,
    /// The table, or nothing when the fault concerns the whole source.
    pub table: String,
    /// Row, counted from 1, header lines not counted; of a SQLite table the rowid.
    pub row: Option<u64>,
    /// The column.
    pub column: Option<String>,
}

impl Place {
    /// A table of a source.
    pub fn table(origin: impl Into<String>, table: impl Into<String>) -> Self {
        Self { origin: origin.into(), table: table.into(), row: None, column: None }
    }

    /// The same place at a row, counted from 1.
    #[must_use]
    pub fn at_row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// The same place in a column.
    #[must_use]
    pub fn in_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if !self.table.is_empty() {
            write!(f, ", table `{}`", self.table)?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        match &self.column {
            Some(column) => write!(f, ", column `{column}`"),
            None => Ok(()),
        }
    }
}

/// The error of a driver or library, kept whole but without putting its type into our interface.
pub struct Cause(Box<dyn std::error::Error + Send + Sync>);

impl Cause {
    /// Wraps what a driver said.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    if text.is_empty() { "nothing".into() } else { text }
}

/// Text of a value for an error message, cut so that a message stays a message.
#[cfg_attr(not(any(feature = "csv", feature = "postgres", feature = "sqlite")), allow(dead_code))]
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_like_a_path() {
        let place = Place::table("csv log.csv", "log").at_row(7).in_column("price");
        assert_eq!(place.to_string(), "csv log.csv, table `log`, row 7, column `price`");
    }

    #[test]
    fn an_error_stays_small_enough_to_return() {
        assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown("abc"), "`abc`");
        assert!(shown(&"é".repeat(500)).chars().count() < 70);
    }
}
