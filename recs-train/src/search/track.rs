//! Each trial's own tracked run.

use super::trial::Trial;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::tracking::JsonLines;
use recs_core::observe::{Event, Observer};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Gives each trial of a search a run of its own. Called by the search between two trainings; like an observer it cannot
/// fail the search. A trial that reaches another rung begins another run.
pub trait TrackTrials: Send + Sync {
    /// A trial begins: `trial` without score, `config` its settings, complete.
    fn begin(&self, trial: &Trial, config: &TrainConfig) -> Box<dyn TrialRun>;
}

/// The run of one trial: hears what its trainings say. Metrics of the second fold are named `fold_1/loss`, and so on. Dropped
/// without an end when the search is cancelled.
pub trait TrialRun: Observer {
    /// The trial ended, well or not.
    fn end(&self, trial: &Trial);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untracked;

impl TrackTrials for Untracked {
    fn begin(&self, _trial: &Trial, _config: &TrainConfig) -> Box<dyn TrialRun> {
        Box::new(Self)
    }
}

impl Observer for Untracked {
    fn on_event(&self, _event: &Event) {}
}

impl TrialRun for Untracked {
    fn end(&self, _trial: &Trial) {}
}

/// A file of JSON lines for each trial, `trial-0007-rung-1.jsonl`: first its number, rung and complete settings, then what
/// [`JsonLines`] writes, last the trial itself.
#[derive(Debug, Clone)]
pub struct TrialFiles {
    folder: PathBuf,
}

impl TrialFiles {
    /// Files in `folder`, which is made where it is missing. Those of an earlier search are replaced.
    ///
    /// # Errors
    /// [`Error::Core`] when it cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        let fault = |e| recs_core::Error::io(folder, e);
        std::fs::create_dir_all(folder).map_err(fault).map_err(Error::Core)?;
        Ok(Self { folder: folder.into() })
    }
}

impl TrackTrials for TrialFiles {
    fn begin(&self, trial: &Trial, config: &TrainConfig) -> Box<dyn TrialRun> {
        let name = format!("trial-{:04}-rung-{}.jsonl", trial.number, trial.rung);
        let Ok(mut file) = File::create(self.folder.join(name)) else { return Box::new(Untracked) };
        let head =
            json!({"trial": trial.number, "rung": trial.rung, "settings": trial.settings, "config": config});
        let _ = writeln!(file, "{head}");
        Box::new(JsonLines::new(file))
    }
}

impl<W: Write + Send> TrialRun for JsonLines<W> {
    fn end(&self, trial: &Trial) {
        self.on_event(&trial.event());
    }
}
