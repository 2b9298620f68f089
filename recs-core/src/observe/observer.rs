//! Events of a job, and who listens.

use std::sync::{Mutex, PoisonError};

/// What happens inside a job. Names are stable: tracking and dashboards key on them.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins.
    Started {
        /// Stage, e.g. `dataset`, `vocabulary`, `train`, `evaluate`.
        stage: &'static str,
        /// Units to do, where known.
        total: Option<u64>,
        /// What is counted: `rows`, `steps`, `shards`.
        unit: &'static str,
    },
    /// Work done so far, sent at most some times a second.
    Progress {
        /// Stage.
        stage: &'static str,
        /// Units done since the stage began.
        done: u64,
    },
    /// A stage ended.
    Finished {
        /// Stage.
        stage: &'static str,
        /// Wall time.
        seconds: f64,
    },
    /// A number worth keeping, e.g. `loss`, `val_recall_at_100`.
    Metric {
        /// Name.
        name: String,
        /// Epoch or step it belongs to.
        step: u64,
        /// Value.
        value: f64,
    },
    /// Something the user should know, which did not stop the job.
    Warning {
        /// Stage.
        stage: &'static str,
        /// What and why, and what to do.
        message: String,
    },
}

/// Listens to a job. Called from worker threads, possibly several at a time.
///
/// An observer must be quick (it is called in the job's threads) and must not panic; it cannot fail the job. To stop a
/// job use a [`CancelToken`](super::CancelToken).
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&self, _event: &Event) {}
}

/// Keeps every event in memory: for tests and small jobs.
#[derive(Debug, Default)]
pub struct Collect(Mutex<Vec<Event>>);

impl Collect {
    /// The events so far, in the order of their arrival.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Collect {
    fn on_event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}
