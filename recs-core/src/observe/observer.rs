//! Events of a job, and who listens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Which part of a stage begins, where it has several; sent before its `Started`. `train` has `first`, the run that
    /// chooses or the only one, and `refit`.
    Phase {
        /// Stage.
        stage: &'static str,
        /// Part.
        phase: &'static str,
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
    /// A number worth keeping, e.g. `loss`, `validation_recall_at_100`.
    Metric {
        /// Name.
        name: String,
        /// Epoch or step it belongs to.
        step: u64,
        /// Value.
        value: f64,
    },
    /// A trial of a search ended.
    Trial {
        /// Number, from 0.
        number: u64,
        /// How often it was promoted, from 0.
        rung: u64,
        /// Its settings, by their paths, as one JSON object.
        settings: String,
        /// How good it is, more being better; None when it failed.
        score: Option<f64>,
        /// Wall time.
        seconds: f64,
        /// Why it failed.
        error: Option<String>,
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

/// Passes every event on to several observers, in order.
///
/// ```
/// use recs_core::observe::{Collect, Event, Observer, Tee};
/// use std::sync::Arc;
/// let (a, b) = (Arc::new(Collect::default()), Arc::new(Collect::default()));
/// let both = Tee::new([a.clone() as Arc<dyn Observer>, b.clone()]);
/// both.on_event(&Event::Progress { stage: "train", done: 7 });
/// assert_eq!((a.events().len(), b.events()), (1, a.events()));
/// ```
#[derive(Clone, Default)]
pub struct Tee(Vec<Arc<dyn Observer>>);

impl Tee {
    /// Passes on to `observers`.
    pub fn new(observers: impl IntoIterator<Item = Arc<dyn Observer>>) -> Self {
        Self(observers.into_iter().collect())
    }
}

impl Observer for Tee {
    fn on_event(&self, event: &Event) {
        self.0.iter().for_each(|observer| observer.on_event(event));
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tee of {} observers", self.0.len())
    }
}
