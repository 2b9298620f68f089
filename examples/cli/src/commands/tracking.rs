//! `--mlflow`: a run in the server of `[mlflow]`; `recs mlflow replay`.

use super::Context;
use super::record::Record;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::observe::{Observer, Tee};
use recs_train::search::TrackTrials;
use recs_train::tracking::mlflow::{self, MlflowConfig, MlflowHost, MlflowRun, MlflowTrials, Outcome};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a command waits for the server; what it does not have by then is sent by the next run.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a replay may take: model files are among what it sends.
const REPLAY_PATIENCE: Duration = Duration::from_secs(3600);

/// The run of a command.
pub(super) struct Tracked {
    settings: MlflowConfig,
    host: MlflowHost,
    pub(super) run: Arc<MlflowRun>,
}

impl Tracked {
    /// Begins the run, when one is wanted.
    fn start(context: &Context, is_wanted: bool) -> Result<Option<Self>> {
        if !is_wanted {
            return Ok(None);
        }
        let (settings, host) = server(context)?;
        let run = Arc::new(MlflowRun::start(&settings, host.clone())?);
        Ok(Some(Self { settings, host, run }))
    }

    /// Runs below this one, for the trials of a search.
    pub(super) fn trials(&self) -> Arc<dyn TrackTrials> {
        Arc::new(MlflowTrials::new(self.settings.clone(), self.host.clone(), Arc::clone(&self.run)))
    }
}

/// The server of `[mlflow]`, and what to reach it by.
fn server(context: &Context) -> Result<(MlflowConfig, MlflowHost)> {
    let Some(mut settings) = context.config.mlflow.clone() else {
        let reason = "is missing: name a server, e.g. tracking_uri = \"http://127.0.0.1:5000\"";
        return Err(Error::config("mlflow", reason));
    };
    settings.spool_dir = context.config.path(&settings.spool_dir);
    let settings = settings.for_tenant(&context.config.tenant);
    let client = super::http_client()?;
    let warnings = context.observer.clone();
    let host = MlflowHost::new(client).with_warnings(warnings).with_store_options(context.config.options());
    Ok((settings, host))
}

/// Does what was asked for, with a record of it, and a run in the server where one is wanted: both end as the work ends.
pub(super) async fn kept(
    context: &Context,
    in_mlflow: bool,
    (what, asked): (&str, Value),
    work: impl AsyncFnOnce(Arc<dyn Observer>, Option<&Tracked>) -> Result<Report>,
) -> Result<Report> {
    let record = Record::begin(context, what, asked)?;
    let mut done = async {
        let tracked = Tracked::start(context, in_mlflow)?;
        let done = work(observer(context, &record, tracked.as_ref()), tracked.as_ref()).await;
        finish(tracked, done).await
    }
    .await;
    record.end(&mut done).await;
    done
}

/// The terminal, the record, and the run where there is one.
fn observer(context: &Context, record: &Record, tracked: Option<&Tracked>) -> Arc<dyn Observer> {
    let mut all: Vec<Arc<dyn Observer>> = vec![context.observer.clone(), record.observer()];
    all.extend(tracked.map(|tracked| Arc::clone(&tracked.run) as Arc<dyn Observer>));
    Arc::new(Tee::new(all))
}

/// `recs mlflow replay`.
pub(super) async fn replay(context: &Context) -> Result<Report> {
    let (settings, host) = server(context)?;
    let sending = tokio::task::spawn_blocking(move || mlflow::replay(&settings, host, REPLAY_PATIENCE));
    let runs = sending.await.map_err(|_| Error::Worker { doing: "sending to MLflow" })??;
    let waiting = |run: &&mlflow::Report| run.spooled > 0 || run.problem.is_some();
    if let Some(first) = runs.iter().find(waiting) {
        let problem = first.problem.clone().unwrap_or_else(|| "not everything is sent yet".into());
        return Err(Error::Mlflow { entries: runs.iter().map(|run| run.spooled).sum(), problem });
    }
    let mut report = Report::default();
    for run in &runs {
        let at = run.url.as_deref().unwrap_or(&run.run_key);
        report.line(format!("sent {} entries of {at}, {} refused", run.sent, run.refused));
    }
    report.line(format!("{} runs sent; nothing waits", runs.len()));
    report.set("runs", json!(runs));
    Ok(report)
}

/// Ends the run as the command ended, and says what became of it.
async fn finish(tracked: Option<Tracked>, result: Result<Report>) -> Result<Report> {
    let Some(tracked) = tracked else { return result };
    let outcome = match &result {
        Ok(_) => Outcome::Finished,
        Err(error) if error.is_cancelled() => Outcome::Killed,
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
