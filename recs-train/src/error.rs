//! The error of this crate.

use std::path::PathBuf;

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
    /// The loss is above what `train.max_loss_ratio` allows, or it or a number of the model is no longer finite.
    #[error(
        "training diverged in epoch {epoch}, step {step}: the loss is {loss}{}; lower train.learning_rate or clip \
         gradients, and start afresh{}",
        if loss.is_finite() { ", too high or of weights that are not finite" } else { "" },
        .checkpoint.as_ref().map(|p| format!(" (the last good checkpoint is {})", p.display())).unwrap_or_default()
    )]
    Diverged {
        /// Epoch, from 0.
        epoch: usize,
        /// Step in the epoch, from 0.
        step: usize,
        /// The loss.
        loss: f64,
        /// The last checkpoint from which training went on without diverging.
        checkpoint: Option<PathBuf>,
    },
    /// Another process trains with this folder of checkpoints.
    #[error("{}: {writer} trains with this folder of checkpoints; wait for it or name another folder", folder.display())]
    CheckpointBusy {
        /// The folder.
        folder: PathBuf,
        /// Who.
        writer: String,
    },
    /// The checkpoint belongs to a run with other settings or data.
    #[error(
        "{}: this run is not the one that wrote it: {}; train with the same settings and data, name another folder, or \
         delete it (as `fresh` does)",
        path.display(),
        differences.join("; ")
    )]
    CheckpointDiffers {
        /// The checkpoint.
        path: PathBuf,
        /// Each setting that differs, with both values.
        differences: Vec<String>,
    },
    /// No checkpoint of the folder can be read.
    #[error(
        "{}: no checkpoint can be read: {}; copy one there again, or delete them (as `fresh` does)",
        folder.display(),
        reasons.join("; ")
    )]
    CheckpointDamaged {
        /// The folder.
        folder: PathBuf,
        /// Of each file, the newest first.
        reasons: Vec<String>,
    },
    /// The version that a training is to start from is another model.
    #[error(
        "model version {version} is not one to start this training from: {}; train with that version's settings, or \
         without a warm start",
        differences.join("; ")
    )]
    WarmStart {
        /// The version.
        version: String,
        /// What differs, with both values.
        differences: Vec<String>,
    },
    /// The file of a search's finished trials cannot be used.
    #[error("{}: {reason}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
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
        path: PathBuf,
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
