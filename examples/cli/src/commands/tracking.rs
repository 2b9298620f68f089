//! `--mlflow`: a run in the server of `[mlflow]`.

use super::Context;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::Error as CoreError;
use recs_core::observe::{Observer, Tee};
use recs_train::Error as TrainError;
use recs_train::search::TrackTrials;
use recs_train::tracking::mlflow::{MlflowConfig, MlflowHost, MlflowRun, MlflowTrials, Outcome};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a command waits for the server; what it does not have by then is sent by the next run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The run of a command.
pub(super) struct Tracked {
    settings: MlflowConfig,
    host: MlflowHost,
    pub(super) run: Arc<MlflowRun>,
}

impl Tracked {
    /// Begins the run, when one is wanted.
    pub(super) fn start(context: &Context, is_wanted: bool) -> Result<Option<Self>> {
        if !is_wanted {
            return Ok(None);
        }
        let Some(mut settings) = context.config.mlflow.clone() else {
            let reason = "is missing: --mlflow needs a server, e.g. tracking_uri = \"http://127.0.0.1:5000\"";
            return Err(Error::config("mlflow", reason));
        };
        settings.spool_dir = context.config.path(&settings.spool_dir);
        let settings = settings.for_tenant(&context.config.tenant);
        // Refused where the process has one already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().build().map_err(Error::Http)?;
        let warnings = context.observer.clone();
        let host =
            MlflowHost::new(client).with_warnings(warnings).with_store_options(context.config.options());
        let run = Arc::new(MlflowRun::start(&settings, host.clone())?);
        Ok(Some(Self { settings, host, run }))
    }

    /// Runs below this one, for the trials of a search.
    pub(super) fn trials(&self) -> Arc<dyn TrackTrials> {
        Arc::new(MlflowTrials::new(self.settings.clone(), self.host.clone(), Arc::clone(&self.run)))
    }
}

/// The terminal, and the run where there is one.
pub(super) fn observer(context: &Context, tracked: Option<&Tracked>) -> Arc<dyn Observer> {
    let terminal: Arc<dyn Observer> = context.observer.clone();
    match tracked {
        None => terminal,
        Some(tracked) => Arc::new(Tee::new([terminal, Arc::clone(&tracked.run) as Arc<dyn Observer>])),
    }
}

/// Ends the run as the command ended, and says what became of it.
pub(super) async fn finish(tracked: Option<Tracked>, result: Result<Report>) -> Result<Report> {
    let Some(tracked) = tracked else { return result };
    let outcome = match &result {
        Ok(_) => Outcome::Finished,
        Err(Error::Core(CoreError::Cancelled) | Error::Train(TrainError::Core(CoreError::Cancelled))) => {
            Outcome::Killed
        }
        Err(_) => Outcome::Failed,
    };
    let ending = tokio::task::spawn_blocking(move || tracked.run.finish(outcome, PATIENCE));
    let told = ending.await.map_err(|_| Error::Worker { doing: "ending the MLflow run" })?;
    let mut report = result?;
    report.line(match (&told.url, &told.problem) {
        (Some(url), None) => format!("MLflow run {url}"),
        (_, problem) => {
            let problem = problem.as_deref().unwrap_or("not everything is sent yet");
            format!("MLflow lacks {} entries of the run, which the next one sends: {problem}", told.spooled)
        }
    });
    report.set("mlflow", json!(told));
    Ok(report)
}
