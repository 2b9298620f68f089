//! `recs search`: settings -> the best of them.

use super::tracking::{self, Tracked};
use super::{Context, train};
use crate::args::SearchArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::dataset::Dataset;
use recs_core::observe::Observer;
use recs_train::TrainConfig;
use recs_train::search::{Search, SearchConfig, SearchReport, Trial, TrialFiles};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: &SearchArgs) -> Result<Report> {
    let Some(config) = context.config.search.clone() else {
        let reason = "is missing: name what to search over, e.g. under [search.space] learning_rate = { kind = \
                      \"log_uniform\", low = 1e-3, high = 1e-1 }";
        return Err(Error::config("search", reason));
    };
    let base = TrainConfig::from_overrides(&context.config.train)?;
    let dataset = context.dataset(&args.dataset).await?;
    let asked = json!({"search": config, "settings": base, "dataset": dataset.0, "cache": args.cache});
    let job = Job { config, base, dataset };
    let work =
        async |observer, tracked: Option<&Tracked>| search(context, args, job, observer, tracked).await;
    tracking::kept(context, args.mlflow, ("search", asked), work).await
}

/// What is searched.
struct Job {
    config: SearchConfig,
    base: TrainConfig,
    /// With its name.
    dataset: (String, Dataset),
}

async fn search(
    context: &Context,
    args: &SearchArgs,
    job: Job,
    observer: Arc<dyn Observer>,
    tracked: Option<&Tracked>,
) -> Result<Report> {
    let Job { config, base, dataset: (name, dataset) } = job;
    let vocabulary = train::vocabulary(context, &dataset).await?;
    let mut data = Vec::new();
    for schema in config.schemas(&base, &context.schema)? {
        data.push(train::load(context, &dataset, &schema, &vocabulary, args.cache.clone()).await?);
    }
    if let Some(tracked) = tracked {
        tracked.run.log_params(&json!({"search": config, "train": base}))?;
        tracked.run.log_data(&name, dataset.metadata(), &vocabulary, &context.schema)?;
    }
    let mut search = Search::new(data, &context.schema, vocabulary, base, config)?;
    if let Some(results) = &args.results {
        search = search.with_results(results);
    }
    if let Some(folder) = &args.trials {
        search = search.with_tracker(Arc::new(TrialFiles::new(folder)?));
    }
    if let Some(tracked) = tracked {
        search = search.with_tracker(tracked.trials());
    }
    let cancel = context.cancel.clone();
    let searching = tokio::task::spawn_blocking(move || search.run(&*observer, &cancel));
    let found = searching.await.map_err(|_| Error::Worker { doing: "searching" })??;
    let best = found.overrides(&context.config.train);
    write(&args.output, &found, best.clone())?;
    let mut report = told(&found, &best);
    report.line(format!("wrote {0}: train with `recs train --settings {0}`", args.output.display()));
    report.set("output", args.output.display().to_string());
    report.set("dataset", name);
    Ok(report)
}

fn write(path: &Path, found: &SearchReport, best: Map<String, Value>) -> Result<()> {
    let file = train::SettingsFile { train: best };
    let settings = toml::to_string(&file).map_err(|e| Error::config("search.space", e.to_string()))?;
    let (number, metric) = (found.best.number, found.metric.name());
    let score = found.best.score.unwrap_or_default();
    let text = format!("# Trial {number} of `recs search`: {metric} {score:.4} before the test.\n{settings}");
    std::fs::write(path, text).map_err(|source| Error::File { path: path.into(), source })
}

/// The trials, the longest trained and best of them first.
fn told(found: &SearchReport, best: &Map<String, Value>) -> Report {
    let mut report = Report::default();
    let mut trials: Vec<&Trial> = found.trials.iter().collect();
    let score = |trial: &Trial| trial.score.unwrap_or(f64::NEG_INFINITY);
    trials.sort_by(|a, b| b.rung.cmp(&a.rung).then(score(b).total_cmp(&score(a))));
    report.line(format!("  rung epochs trial {:>14} towers alone seconds  settings", found.metric.name()));
    for Trial { number, rung, epochs, settings, score, towers, seconds, error, .. } in trials {
        let [score, towers] =
            [score, towers].map(|of| of.map_or_else(|| "diverged".into(), |of| format!("{of:.4}")));
        let settings = error.clone().unwrap_or_else(|| json!(settings).to_string());
        report.line(format!(
            "  {rung:>4} {epochs:>6} {number:>5} {score:>14} {towers:>12} {seconds:>7.1}  {settings}"
        ));
    }
    report.set("metric", found.metric.name());
    report.set("score", json!(found.best.score));
    report.set("baseline", json!(found.baseline()));
    report.set("best", json!(found.best));
    report.set("settings", best.clone());
    report.set("trials", json!(found.trials));
    report.set("seconds", found.seconds);
    report
}
