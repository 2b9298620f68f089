//! The error of this crate: variants by what the caller can do about them.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in formats, features, models and the store.
///
/// Variants are by remedy: fix the file, fix the value, fix the configuration, retry, give up.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is damaged: write it again, or fetch it again.
    #[error(
        "{file}: {reason}{}{} (the file is damaged or cut off: write or copy it again)",
        .record.map(|r| format!(", record {r}")).unwrap_or_default(),
        .offset_bytes.map(|o| format!(", at byte {o}")).unwrap_or_default()
    )]
    Corrupt {
        /// The file or object.
        file: String,
        /// Zero-based record number, where the format has records.
        record: Option<u64>,
        /// Offset of the fault, in the decompressed stream for gzip files.
        offset_bytes: Option<u64>,
        /// What was found.
        reason: String,
    },
    /// Something is larger than the limit that bounds memory.
    #[error("{file}: {what} of {size} exceeds the limit of {limit}: {remedy}")]
    TooLarge {
        /// The file or object.
        file: String,
        /// What is too large.
        what: &'static str,
        /// Its size, in the unit of `what`.
        size: u64,
        /// The limit, in the same unit.
        limit: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// A record or table lacks a column that the schema names.
    #[error("{file}: column `{column}` of field `{field}` is missing{}; the record has: {}", at_record(.record), .present.join(", "))]
    MissingColumn {
        /// The file or object.
        file: String,
        /// Zero-based record number.
        record: Option<u64>,
        /// The schema's field.
        field: String,
        /// The column or record name looked for.
        column: String,
        /// Names that are there.
        present: Vec<String>,
    },
    /// A value has another type than the schema says.
    #[error("{file}: column `{column}` holds {got}, expected {expected}{}; mend the schema's dtype or the data", at_record(.record))]
    WrongType {
        /// The file or object.
        file: String,
        /// Zero-based record number.
        record: Option<u64>,
        /// The column.
        column: String,
        /// The type the schema names.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A value is of the right type but not allowed.
    #[error("{file}: column `{column}`{}: {reason}", at_record(.record))]
    InvalidValue {
        /// The file or object.
        file: String,
        /// Zero-based record number.
        record: Option<u64>,
        /// The column.
        column: String,
        /// Why it is refused and what to do.
        reason: String,
    },
    /// A configuration value is out of range or contradicts another.
    #[error("configuration `{field}`: {reason}")]
    Config {
        /// Path of the setting, e.g. `train.batch`.
        field: String,
        /// Why it is refused and what is allowed.
        reason: String,
    },
    /// A text document (JSON) is not of the expected shape.
    #[error("{file}: {reason}")]
    Document {
        /// The file or object.
        file: String,
        /// Where (line, column or field) and why.
        reason: String,
    },
    /// A vocabulary lacks what the schema needs.
    #[error(
        "{file}: the vocabulary has no `{key}`, which field `{field}` needs; build it again with this schema"
    )]
    MissingVocabulary {
        /// The vocabulary file.
        file: String,
        /// The key looked for.
        key: String,
        /// The field or encoding that needs it.
        field: String,
    },
    /// A weight tensor is missing or has another shape.
    #[error(
        "{file}: tensor `{tensor}` has shape {got:?}, expected {expected:?}; the weights belong to another model or vocabulary"
    )]
    Shape {
        /// The weights file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape that model and vocabulary ask for.
        expected: Vec<usize>,
        /// The shape found; empty when the tensor is missing.
        got: Vec<usize>,
    },
    /// A digest or size in a manifest does not match the file.
    #[error(
        "{file}: {what} is {got}, the manifest says {expected}; the file was changed or cut off after it was published"
    )]
    Digest {
        /// The file.
        file: String,
        /// `sha256` or `size_bytes`.
        what: &'static str,
        /// According to the manifest.
        expected: String,
        /// As found.
        got: String,
    },
    /// The file was written by a version that this one cannot read.
    #[error("{file}: format version {got} is not readable here (this library reads {oldest} to {newest})")]
    Version {
        /// The file.
        file: String,
        /// Version found.
        got: u32,
        /// Oldest readable version.
        oldest: u32,
        /// Newest readable version.
        newest: u32,
    },
    /// Nothing is there.
    #[error("{path}: not found")]
    NotFound {
        /// Path or URL.
        path: String,
    },
    /// Somebody else created it first: read it and decide again.
    #[error("{path}: exists already")]
    AlreadyExists {
        /// Path or URL.
        path: String,
    },
    /// Another writer publishes in this folder.
    #[error(
        "{path}: {writer} is publishing here; wait for it or use another name (if it is dead, delete this folder)"
    )]
    BeingWritten {
        /// Folder of its claim.
        path: String,
        /// Who.
        writer: String,
    },
    /// An alert could not be delivered: try again.
    #[error("{by} did not take an alert: {reason}")]
    Notify {
        /// Which notifier.
        by: String,
        /// What it said.
        reason: String,
    },
    /// A secret cannot be had: set it, or name it rightly.
    #[error("secret {name}: {reason}")]
    Secret {
        /// Its reference, e.g. `env:SHOP_PASSWORD`.
        name: String,
        /// Why.
        reason: String,
    },
    /// A metric was asked of scores that are not finite.
    #[error(
        "score {index} is {value}: a model with non-finite scores cannot be ranked; lower the learning rate or clip gradients"
    )]
    NonFinite {
        /// Index of the score.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The operation was cancelled through its token.
    #[error("cancelled")]
    Cancelled,
    /// Reading or writing a local file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("store {path}: {source}")]
    Store {
        /// Path inside the store, or its URL.
        path: String,
        /// Cause.
        source: object_store::Error,
    },
    /// A worker thread died; this is a defect worth reporting.
    #[error("a worker thread stopped unexpectedly while {doing}")]
    Worker {
        /// What it did.
        doing: &'static str,
    },
}

fn at_record(record: &Option<u64>) -> String {
    record.map(|r| format!(" in record {r}")).unwrap_or_default()
}

impl Error {
    /// A damaged file without a position.
    pub fn corrupt(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), record: None, offset_bytes: None, reason: reason.into() }
    }

    /// Says where a refused value stands.
    pub(crate) fn in_record(self, in_file: &str, at: u64) -> Self {
        match self {
            Self::InvalidValue { column, reason, .. } => {
                Self::InvalidValue { file: in_file.into(), record: Some(at), column, reason }
            }
            other => other,
        }
    }

    /// A refused setting.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    /// A document of another shape.
    pub fn document(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Document { file: file.into(), reason: reason.into() }
    }

    /// A local file operation that failed.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// A store operation that failed; "not found" and "exists already" become variants of their own.
    pub fn store(path: impl Into<String>, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::NotFound { path: path.into() },
            object_store::Error::AlreadyExists { .. } => Self::AlreadyExists { path: path.into() },
            source => Self::Store { path: path.into(), source },
        }
    }
}
