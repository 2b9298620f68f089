//! The error of this crate: variants by what the caller can do about them.

use serde::Serialize;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901) into the request, e.g. `/requests/3/revenue`; empty for the whole.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// What can go wrong between a request and its answer.
///
/// Variants are by remedy: mend the request, ask for another product, mend the model or the configuration, report.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks rules; every fault is listed, up to a bound.
    #[error("the request has {}: {}", count(.faults, .unlisted), shown(.faults))]
    Request {
        /// The faults in the order of the request's members.
        faults: Vec<Fault>,
        /// Faults found beyond those listed.
        unlisted: usize,
    },
    /// The body is no JSON.
    #[error("the body is no valid JSON: {reason}")]
    Malformed {
        /// Line, column and cause.
        reason: String,
    },
    /// The catalogue does not have the product that was asked about.
    #[error("product `{product_id}` is not in the catalogue")]
    UnknownProduct {
        /// As asked.
        product_id: String,
    },
    /// A vector has another width than the index.
    #[error("the {what} has {got} numbers, the index holds vectors of {expected}")]
    Dimension {
        /// `query`, or what else was given.
        what: &'static str,
        /// Width of the index.
        expected: usize,
        /// Width given.
        got: usize,
    },
    /// A vector holds a number that is infinite or not a number.
    #[error("number {position} of {what} {row} is {value}; only finite vectors can be searched")]
    NonFinite {
        /// `query` or `candidate`.
        what: &'static str,
        /// Which query or candidate.
        row: usize,
        /// Position in the vector.
        position: usize,
        /// The number.
        value: f32,
    },
    /// Parts of the model contradict each other.
    #[error("the model cannot be served: {reason}")]
    Model {
        /// What does not fit, and what to do.
        reason: String,
    },
    /// An index cannot be read, or does not belong to the vectors.
    #[error("the index {file}: {reason}")]
    Index {
        /// Its file, or `memory`.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A change of what serves makes no sense, or not now.
    #[error("the deployment stays as it is: {reason}")]
    Registry {
        /// Why, and what to do.
        reason: String,
    },
    /// A version failed where it was tried before it serves.
    #[error("version `{version}` is unfit to serve: {reason}")]
    Unfit {
        /// Which.
        version: String,
        /// What it failed at.
        reason: String,
    },
    /// A version has no room on this machine; it may have on others.
    #[error("version `{version}` is not served here: {reason}")]
    NoRoom {
        /// Which.
        version: String,
        /// What it needs and what there is.
        reason: String,
    },
    /// A configuration value is out of range.
    #[error("configuration `{field}`: {reason}")]
    Config {
        /// Path of the setting, e.g. `serve.threads`.
        field: String,
        /// Why it is refused and what is allowed.
        reason: String,
    },
    /// An index across a network cannot be asked: try again.
    #[error("{index}: {reason}")]
    Remote {
        /// Which.
        index: String,
        /// What it said.
        reason: String,
    },
    /// There is no room now: try again later.
    #[error("{what}: try again later")]
    Busy {
        /// What there is too much of.
        what: &'static str,
    },
    /// Formats, features and towers.
    #[error(transparent)]
    Core(#[from] recs_core::Error),
    /// A worker died; this is a defect worth reporting.
    #[error("a worker stopped unexpectedly while {doing}")]
    Worker {
        /// What it did.
        doing: &'static str,
    },
}

impl Error {
    /// True when the request is at fault, and not the model.
    pub fn is_of_request(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Malformed { .. } | Self::UnknownProduct { .. })
    }

    /// A model whose parts do not fit.
    pub(crate) fn model(reason: impl Into<String>) -> Self {
        Self::Model { reason: reason.into() }
    }

    /// An index that cannot be used.
    pub(crate) fn index(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Index { file: file.into(), reason: reason.into() }
    }

    /// A refused change of what serves.
    pub(crate) fn registry(reason: impl Into<String>) -> Self {
        Self::Registry { reason: reason.into() }
    }

    /// A refused setting.
    pub(crate) fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }
}

/// Faults that a message spells out.
const SHOWN: usize = 5;

fn count(faults: &[Fault], unlisted: &usize) -> String {
    match faults.len() + unlisted {
        1 => "a fault".into(),
        n => format!("{n} faults"),
    }
}

fn shown(faults: &[Fault]) -> String {
    let one = |f: &Fault| {
        let place = if f.pointer.is_empty() { "the request" } else { &f.pointer };
        format!("{place} {}", f.detail)
    };
    let mut text = faults.iter().take(SHOWN).map(one).collect::<Vec<_>>().join("; ");
    if faults.len() > SHOWN {
        text.push_str("; ...");
    }
    text
}
