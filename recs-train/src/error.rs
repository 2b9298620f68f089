//! The error of this crate.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in training.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of range or contradicts another.
    #[error("configuration `{field}`: {reason}")]
    Config {
        /// Path of the setting, e.g. `train.batch`.
        field: String,
        /// Why it is refused and what is allowed.
        reason: String,
    },
    /// The data cannot be trained on.
    #[error("{what}: {reason}")]
    Data {
        /// The part at fault, e.g. `test split`.
        what: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The loss or a weight is no longer a finite number.
    #[error(
        "training diverged in epoch {epoch}, step {step}: the loss is {loss}; lower train.learning_rate or clip gradients"
    )]
    Diverged {
        /// Epoch, from 0.
        epoch: usize,
        /// Step in the epoch, from 0.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// A thread pool could not be made.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Cause.
        source: rayon::ThreadPoolBuildError,
    },
    /// The folder of what a tracking server does not have yet cannot be used.
    #[cfg(feature = "mlflow")]
    #[error("mlflow.spool_dir {}: {source}; name a folder that can be written", path.display())]
    Spool {
        /// The folder.
        path: std::path::PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The tracker's thread could not be started or died.
    #[cfg(feature = "mlflow")]
    #[error("cannot run {what}: {source}")]
    Tracker {
        /// What.
        what: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// Formats, features, store.
    #[error(transparent)]
    Core(#[from] recs_core::Error),
}

impl Error {
    /// A refused setting.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }
}
