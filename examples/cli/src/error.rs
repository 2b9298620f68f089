//! What a command can fail with.

use std::path::PathBuf;

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed command.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("{}: {source}; `recs --config FILE` names another, `recs init` writes one to start from", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The configuration file is not of the expected shape.
    #[error("{}: {source}", path.display())]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A setting is missing or wrong.
    #[error("configuration `{field}`: {reason}")]
    Config {
        /// Path of the setting.
        field: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A local file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A Parquet file cannot be written.
    #[error("{file}: {source}")]
    Parquet {
        /// The file.
        file: String,
        /// Cause.
        source: parquet::errors::ParquetError,
    },
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The tracking client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Http(reqwest::Error),
    /// The tracking server does not have everything.
    #[error("MLflow lacks {entries} entries of earlier runs, which stay on disk: {problem}")]
    Mlflow {
        /// How many.
        entries: u64,
        /// Why.
        problem: String,
    },
    /// The asynchronous runtime cannot start.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    /// A blocking job died.
    #[error("a worker stopped unexpectedly while {doing}")]
    Worker {
        /// What it did.
        doing: &'static str,
    },
    /// Formats, features, store.
    #[error(transparent)]
    Core(#[from] recs_core::Error),
    /// Sources and extraction.
    #[error(transparent)]
    Etl(#[from] recs_etl::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] recs_train::Error),
    /// Retrieval and server.
    #[error(transparent)]
    Serve(#[from] recs_serve::Error),
}

impl Error {
    /// Whether it is the end that somebody asked for.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Core(recs_core::Error::Cancelled)
                | Self::Train(recs_train::Error::Core(recs_core::Error::Cancelled))
        )
    }

    pub(crate) fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }
}
