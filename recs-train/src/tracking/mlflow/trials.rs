//! Trials of a search as child runs.

use super::config::MlflowConfig;
use super::entry::Outcome;
use super::host::MlflowHost;
use super::report::STAGE;
use super::run::MlflowRun;
use crate::config::TrainConfig;
use crate::search::{TrackTrials, Trial, TrialRun, Untracked};
use recs_core::observe::{Event, Observer};
use std::sync::Arc;
use std::time::Duration;

/// MLflow shows a run with this tag below the one that it names.
const PARENT_TAG: &str = "mlflow.parentRunId";
/// How long the end of a trial waits for a server that is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives each trial of a search a run of its own below that of the search: complete settings as parameters, curves of its
/// trainings, `score` at the number of epochs and `fold_0_score`, …, tags `recs.trial` and `recs.rung`. While the server is
/// dead, trials do not wait for it; their runs are kept on disk, and those that end before the server knows the search's run
/// are below none: the tag `recs.parent_run_key` says whose they are.
pub struct MlflowTrials {
    config: MlflowConfig,
    host: MlflowHost,
    parent: Arc<MlflowRun>,
}

impl MlflowTrials {
    /// Child runs of `parent`, with its settings.
    pub fn new(config: MlflowConfig, host: MlflowHost, parent: Arc<MlflowRun>) -> Self {
        Self { config, host, parent }
    }

    fn start(&self, trial: &Trial, config: &TrainConfig) -> crate::Result<MlflowRun> {
        let mut settings = self.config.clone();
        settings.run_name = Some(format!("trial {} rung {}", trial.number, trial.rung));
        settings.tags.extend([
            ("recs.trial".into(), trial.number.to_string()),
            ("recs.rung".into(), trial.rung.to_string()),
            ("recs.parent_run_key".into(), self.parent.report().run_key),
        ]);
        settings.tags.extend(self.parent.run_id().map(|id| (PARENT_TAG.into(), id)));
        let run = MlflowRun::start(&settings, self.host.clone())?;
        run.log_params(config)?;
        Ok(run)
    }
}

impl std::fmt::Debug for MlflowTrials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MlflowTrials").field("parent", &self.parent).finish_non_exhaustive()
    }
}

impl TrackTrials for MlflowTrials {
    fn begin(&self, trial: &Trial, config: &TrainConfig) -> Box<dyn TrialRun> {
        match self.start(trial, config) {
            Ok(run) => Box::new(ChildRun { run, parent: Arc::clone(&self.parent) }),
            Err(e) => {
                let message = format!("trial {} is not in MLflow: {e}", trial.number);
                self.host.warnings.on_event(&Event::Warning { stage: STAGE, message });
                Box::new(Untracked)
            }
        }
    }
}

struct ChildRun {
    run: MlflowRun,
    parent: Arc<MlflowRun>,
}

impl Observer for ChildRun {
    fn on_event(&self, event: &Event) {
        self.run.on_event(event);
    }
}

impl TrialRun for ChildRun {
    fn end(&self, trial: &Trial) {
        let epochs = trial.epochs as u64;
        for (at, score) in trial.folds.iter().enumerate() {
            self.run.log_metric(&format!("fold_{at}_score"), epochs, *score);
        }
        if let Some(score) = trial.score {
            self.run.log_metric("score", epochs, score);
        }
        if let Some(towers) = trial.towers {
            self.run.log_metric("towers_score", epochs, towers);
        }
        if let Some(error) = &trial.error {
            self.run.set_tag("recs.error", error.clone());
        }
        // It may be known only now.
        if let Some(id) = self.parent.run_id() {
            self.run.set_tag(PARENT_TAG, id);
        }
        let outcome = if trial.error.is_some() { Outcome::Failed } else { Outcome::Finished };
        let is_well = self.parent.report().problem.is_none() && self.run.report().problem.is_none();
        self.run.finish(outcome, if is_well { PATIENCE } else { Duration::ZERO });
    }
}
