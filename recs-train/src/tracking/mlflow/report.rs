//! What became of a run's entries.

use recs_core::observe::{Event, Observer};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stage of our own warnings; a run does not track them, or they would breed.
pub(super) const STAGE: &str = "tracking";
/// Refusals that are told one by one; the others are counted.
const TOLD_REFUSALS: usize = 20;

/// What became of a run's entries: points, parameters, tags, files, model versions, the end. Each is in exactly one of the
/// four counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Our name of the run, the tag `recs.run_key`.
    pub run_key: String,
    /// The server's name of the run, once it has it.
    pub run_id: Option<String>,
    /// Where people find it, once the server has it.
    pub url: Option<String>,
    /// Entries that the server has.
    pub sent: u64,
    /// Entries on disk, for [`replay`](super::replay) or the next run.
    pub spooled: u64,
    /// Entries lost: no room in memory or on disk, or the disk failed.
    pub dropped: u64,
    /// Entries that the server will never take.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
    /// Why entries wait.
    pub problem: Option<String>,
    /// The file that they wait in.
    pub spool: Option<PathBuf>,
}

/// Something that the server will never take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What, e.g. `param batch`.
    pub what: String,
    /// The server's words.
    pub reason: String,
}

/// The report while it is made, shared by the run and its worker.
pub(super) struct Tally {
    key: String,
    spool: PathBuf,
    warnings: Arc<dyn Observer>,
    offered: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    has_warned_of_loss: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    run_id: Option<String>,
    url: Option<String>,
    refusals: Vec<Refusal>,
    problem: Option<String>,
}

impl Tally {
    pub(super) fn new(key: &str, spool: PathBuf, warnings: Arc<dyn Observer>) -> Self {
        Self {
            key: key.into(),
            spool,
            warnings,
            offered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            has_warned_of_loss: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warn(&self, message: String) {
        self.warnings.on_event(&Event::Warning { stage: STAGE, message });
    }

    pub(super) fn offer(&self, entries: u64) {
        self.offered.fetch_add(entries, Relaxed);
    }

    pub(super) fn send(&self, entries: u64) {
        self.sent.fetch_add(entries, Relaxed);
    }

    /// Warns at the first loss; the report has the sum.
    pub(super) fn lose(&self, entries: u64, why: impl FnOnce() -> String) {
        if entries == 0 {
            return;
        }
        self.dropped.fetch_add(entries, Relaxed);
        if !self.has_warned_of_loss.swap(true, Relaxed) {
            self.warn(format!("metrics are lost: {}; the report at the end counts them", why()));
        }
    }

    pub(super) fn refuse(&self, what: &str, reason: &str) {
        self.refused.fetch_add(1, Relaxed);
        let mut known = self.known();
        if known.refusals.len() == TOLD_REFUSALS {
            return;
        }
        known.refusals.push(Refusal { what: what.into(), reason: reason.into() });
        drop(known);
        self.warn(format!("{what} is not in MLflow: {reason}"));
    }

    /// Keeps why entries wait; warns when it is news.
    pub(super) fn trouble(&self, reason: &str) {
        let mut known = self.known();
        let is_news = known.problem.is_none();
        known.problem = Some(reason.into());
        drop(known);
        if is_news {
            self.warn(format!(
                "{reason}; the job goes on, what MLflow misses is kept in {} and sent later",
                self.spool.display()
            ));
        }
    }

    pub(super) fn well_again(&self) {
        self.known().problem = None;
    }

    pub(super) fn found(&self, server: &str, experiment: &str, run_id: &str) {
        let mut known = self.known();
        known.run_id = Some(run_id.into());
        known.url = Some(format!("{server}/#/experiments/{experiment}/runs/{run_id}"));
    }

    pub(super) fn run_id(&self) -> Option<String> {
        self.known().run_id.clone()
    }

    pub(super) fn report(&self) -> Report {
        let [sent, dropped, refused] = [&self.sent, &self.dropped, &self.refused].map(|n| n.load(Relaxed));
        let spooled = self.offered.load(Relaxed).saturating_sub(sent + dropped + refused);
        let known = self.known();
        Report {
            run_key: self.key.clone(),
            run_id: known.run_id.clone(),
            url: known.url.clone(),
            sent,
            spooled,
            dropped,
            refused,
            refusals: known.refusals.clone(),
            problem: known.problem.clone(),
            spool: (spooled > 0).then(|| self.spool.clone()),
        }
    }
}
