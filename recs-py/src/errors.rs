//! Errors of the crates -> the exceptions of `recs.errors`.

use pyo3::prelude::*;
use pyo3::{PyErr, import_exception};

import_exception!(recs.errors, CancelledError);
import_exception!(recs.errors, ConfigError);
import_exception!(recs.errors, CorruptFileError);
import_exception!(recs.errors, DataError);
import_exception!(recs.errors, NotFittedError);
import_exception!(recs.errors, NotFoundError);
import_exception!(recs.errors, RecsError);
import_exception!(recs.errors, RecsWarning);
import_exception!(recs.errors, SchemaError);
import_exception!(recs.errors, StoreError);
import_exception!(recs.errors, TrainError);

/// Result of this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong; becomes an exception when it reaches Python.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Formats, features, store.
    #[error(transparent)]
    Core(#[from] recs_core::Error),
    /// Shards.
    #[error(transparent)]
    Etl(#[from] recs_etl::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] recs_train::Error),
    /// Retrieval.
    #[error(transparent)]
    Serve(#[from] recs_serve::Error),
    /// Raised by Python, or by a signal handler.
    #[error(transparent)]
    Python(#[from] PyErr),
    /// A value cannot be used.
    #[error("{}{problem}", place(column, *row))]
    Data {
        /// The column; empty for the whole.
        column: String,
        /// From 0.
        row: Option<usize>,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A column is missing or of the wrong type.
    #[error("column `{column}`: {problem}")]
    Schema {
        /// The column.
        column: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The model has no weights yet.
    #[error("this TwoTower is not fitted: call fit(dataset), or TwoTower.load(path)")]
    NotFitted,
}

fn place(column: &str, row: Option<usize>) -> String {
    match (column, row) {
        ("", _) => String::new(),
        (column, None) => format!("column `{column}`: "),
        (column, Some(row)) => format!("column `{column}`, row {row} (counted from 0): "),
    }
}

impl Error {
    /// A value that cannot be used.
    pub(crate) fn data(column: &str, row: impl Into<Option<usize>>, problem: impl Into<String>) -> Self {
        Self::Data { column: column.into(), row: row.into(), problem: problem.into() }
    }

    /// A column that cannot be used.
    pub(crate) fn schema(column: &str, problem: impl Into<String>) -> Self {
        Self::Schema { column: column.into(), problem: problem.into() }
    }

    /// A job that ended without an answer.
    pub(crate) fn lost(doing: &'static str) -> Self {
        Self::Core(recs_core::Error::Worker { doing })
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Python(raised) => raised,
            Error::NotFitted => NotFittedError::new_err(text),
            Error::Core(e) => of_core(&e, text),
            Error::Etl(e) => of_etl(&e, text),
            Error::Train(e) => of_train(&e, text),
            Error::Serve(e) => of_serve(&e, text),
            Error::Data { column, row, .. } => {
                let column = Some(column).filter(|c| !c.is_empty());
                with(DataError::new_err(text), |e| {
                    e.setattr("column", column)?;
                    e.setattr("row", row)
                })
            }
            Error::Schema { column, .. } => of_column(text, &column),
        }
    }
}

/// Adds attributes; an exception without them is better than none.
fn with(error: PyErr, set: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) -> PyErr {
    Python::attach(|py| match set(error.value(py)) {
        Ok(()) => error,
        Err(other) => other,
    })
}

fn of_field(text: String, field: &str) -> PyErr {
    with(ConfigError::new_err(text), |e| e.setattr("field", field))
}

fn of_column(text: String, column: &str) -> PyErr {
    with(SchemaError::new_err(text), |e| e.setattr("column", column))
}

fn of_core(error: &recs_core::Error, text: String) -> PyErr {
    use recs_core::Error as E;
    match error {
        E::Config { field, .. } => of_field(text, field),
        E::MissingColumn { column, .. } | E::WrongType { column, .. } => of_column(text, column),
        E::MissingVocabulary { .. } => SchemaError::new_err(text),
        E::InvalidValue { column, .. } => {
            with(DataError::new_err(text), |e| e.setattr("column", column.as_str()))
        }
        E::Corrupt { .. } | E::TooLarge { .. } | E::Document { .. } => CorruptFileError::new_err(text),
        E::Shape { .. } | E::Digest { .. } | E::Version { .. } => CorruptFileError::new_err(text),
        E::NotFound { .. } => NotFoundError::new_err(text),
        E::AlreadyExists { .. } | E::Io { .. } | E::Store { .. } => StoreError::new_err(text),
        E::NonFinite { .. } => TrainError::new_err(text),
        E::Cancelled => CancelledError::new_err(text),
        _ => RecsError::new_err(text),
    }
}

fn of_etl(error: &recs_etl::Error, text: String) -> PyErr {
    use recs_etl::Error as E;
    match error {
        E::Core(e) => of_core(e, text),
        E::Config { field, .. } => of_field(text, field),
        E::Open { .. } | E::Read { .. } => StoreError::new_err(text),
        E::UnknownTable { .. } => SchemaError::new_err(text),
        E::MissingColumn { place, .. } | E::ColumnType { place, .. } => {
            of_column(text, place.column.as_deref().unwrap_or_default())
        }
        E::Value { .. } | E::Row { .. } | E::Request { .. } | E::CountChanged { .. } => {
            DataError::new_err(text)
        }
        E::NullRows { .. } | E::NotFinite { .. } | E::NothingLeft { .. } => DataError::new_err(text),
        _ => RecsError::new_err(text),
    }
}

fn of_train(error: &recs_train::Error, text: String) -> PyErr {
    use recs_train::Error as E;
    match error {
        E::Core(e) => of_core(e, text),
        E::Config { field, .. } => of_field(text, field),
        E::Data { .. } => DataError::new_err(text),
        E::CheckpointDamaged { .. } => CorruptFileError::new_err(text),
        E::Diverged { .. } | E::Threads { .. } => TrainError::new_err(text),
        E::CheckpointBusy { .. } | E::CheckpointDiffers { .. } | E::WarmStart { .. } => {
            TrainError::new_err(text)
        }
        _ => RecsError::new_err(text),
    }
}

fn of_serve(error: &recs_serve::Error, text: String) -> PyErr {
    use recs_serve::Error as E;
    match error {
        E::Core(e) => of_core(e, text),
        E::Config { field, .. } => of_field(text, field),
        E::Request { .. } | E::Malformed { .. } | E::UnknownProduct { .. } => DataError::new_err(text),
        E::Dimension { .. } | E::NonFinite { .. } | E::Model { .. } => CorruptFileError::new_err(text),
        _ => RecsError::new_err(text),
    }
}
