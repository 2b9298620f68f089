//! `recs train`: a dataset -> a published model version.

use super::tracking::{self, Tracked};
use super::{Context, scores, vocab};
use crate::args::{ModelChoice, TrainArgs};
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::Error as CoreError;
use recs_core::artifact::ModelArtifact;
use recs_core::dataset::Dataset;
use recs_core::observe::Observer;
use recs_core::schema::Schema;
use recs_core::vocab::Vocabulary;
use recs_train::{Fitted, LoadOptions, TrainConfig, TrainData, Trainer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub(super) async fn run(context: &Context, args: &TrainArgs) -> Result<Report> {
    let config = settings(context, args)?;
    let version = args.version.clone().unwrap_or_else(|| context.name_by_time());
    // Refused here, before anything is done for it.
    context.root.model(&version)?;
    let (previous, dataset) = (previous(context, args).await?, context.dataset(&args.dataset).await?);
    let asked = json!({
        "settings": config,
        "dataset": dataset.0,
        "warm_start": previous.as_ref().map(|model| &model.metadata.model_version),
        "checkpoint": args.checkpoints.checkpoint,
        "cache": args.cache,
    });
    let what = format!("train-{version}");
    let job = Job { config, version, previous, dataset };
    let work = async |observer, tracked: Option<&Tracked>| train(context, args, job, observer, tracked).await;
    tracking::kept(context, args.mlflow, (&what, asked), work).await
}

/// What is trained.
struct Job {
    config: TrainConfig,
    version: String,
    previous: Option<ModelArtifact>,
    /// With its name.
    dataset: (String, Dataset),
}

async fn train(
    context: &Context,
    args: &TrainArgs,
    job: Job,
    observer: Arc<dyn Observer>,
    tracked: Option<&Tracked>,
) -> Result<Report> {
    let started = Instant::now();
    let Job { config, version, previous, dataset: (name, dataset) } = job;
    let (vocabulary, model) = (vocabulary(context, &dataset).await?, config.model(&context.schema)?);
    let data = load(context, &dataset, &model.schema, &vocabulary, args.cache.clone()).await?;
    if let Some(tracked) = tracked {
        tracked.run.log_params(&config)?;
        tracked.run.log_data(&name, dataset.metadata(), &vocabulary, &context.schema)?;
    }
    let mut trainer = Trainer::new(data, model, vocabulary, config)?;
    if let Some(previous) = previous {
        trainer = trainer.warm_start(&previous)?;
    }
    let checkpoints = args.checkpoints.config();
    if let Some(checkpoints) = &checkpoints {
        trainer = trainer.with_checkpoints(checkpoints.clone())?;
    }
    let cancel = context.cancel.clone();
    let fitting = tokio::task::spawn_blocking(move || trainer.fit(&*observer, &cancel));
    let fitted = fitting.await.map_err(|_| Error::Worker { doing: "training" })??;
    let mut report = Report::default();
    report.line(format!(
        "trained {} epochs on dataset {name}, {} split: {:.0} examples/s",
        fitted.epochs,
        fitted.config.split.name(),
        fitted.examples_per_s()
    ));
    started_from(&mut report, &fitted);
    scores::lines(&mut report, &fitted.test, &fitted.popularity);
    report.set("dataset", name);
    report.set("model_version", version.clone());
    report.set("preset", json!(fitted.config.preset));
    report.set("split", fitted.config.split.name());
    report.set("epochs", fitted.epochs);
    report.set("warm_start", json!(fitted.warm_start));
    report.set("examples_per_s", fitted.examples_per_s());
    scores::keys(&mut report, &fitted.test, &fitted.popularity);
    if let Some(tracked) = tracked {
        tracked.run.log_fitted(&fitted);
    }
    let artifact = fitted.into_artifact(&version)?;
    let manifest = context.publish(&artifact).await?;
    if let Some(tracked) = tracked {
        tracked.run.log_model(&context.root.model(&version)?, &manifest)?;
    }
    // Not before: a run that is killed while it publishes goes on, too.
    checkpoints.map_or(Ok(()), |checkpoints| checkpoints.remove())?;
    report.line(format!("published {}", context.root.model(&version)?.url()));
    report.set("seconds", started.elapsed().as_secs_f64());
    Ok(report)
}

/// The version to start from, if one is asked for.
async fn previous(context: &Context, args: &TrainArgs) -> Result<Option<ModelArtifact>> {
    let Some(version) = &args.warm_start else { return Ok(None) };
    let choice = ModelChoice { model: (version != "latest").then(|| version.clone()) };
    context.model(&choice).await.map(Some)
}

fn started_from(report: &mut Report, fitted: &Fitted) {
    let Some(started) = &fitted.warm_start else { return };
    report.line(format!("started from version {}, {} new products", started.version, started.new_products));
    if started.test_rows_seen > 0 {
        let (seen, all) = (started.test_rows_seen, fitted.split.test.len());
        report.line(format!("  it has seen {seen} of {all} test rows: these results are too good"));
    }
}

/// A dataset's vocabulary, which is built where there is none.
pub(super) async fn vocabulary(context: &Context, dataset: &Dataset) -> Result<Arc<Vocabulary>> {
    match context.vocabulary(dataset, &context.schema).await {
        Err(Error::Core(CoreError::NotFound { .. })) => vocab::build(context, dataset).await.map(Arc::new),
        found => found.map(Arc::new),
    }
}

/// The rows as models of `schema` read them.
pub(super) async fn load(
    context: &Context,
    dataset: &Dataset,
    schema: &Schema,
    vocabulary: &Arc<Vocabulary>,
    cache: Option<PathBuf>,
) -> Result<Arc<TrainData>> {
    let options = LoadOptions { parallelism: context.parallelism(), cache };
    let (vocabulary, observer) = (Arc::clone(vocabulary), context.observer.clone());
    let data = TrainData::load(dataset, schema, vocabulary, &options, observer, &context.cancel).await?;
    Ok(Arc::new(data))
}

/// What `recs search` writes, and recs.toml has beside other things.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFile {
    pub(super) train: Map<String, Value>,
}

impl SettingsFile {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })?;
        toml::from_str(&text).map_err(|source| Error::ConfigSyntax { path: path.into(), source })
    }
}

/// The file's settings, overridden by the command line.
fn settings(context: &Context, args: &TrainArgs) -> Result<TrainConfig> {
    let mut settings = match &args.settings {
        Some(path) => SettingsFile::read(path)?.train,
        None => context.config.train.clone(),
    };
    let overrides: [(&str, Option<Value>); 6] = [
        ("preset", args.preset.map(|p| json!(p))),
        ("split", args.split.map(|s| json!(s))),
        ("epochs", args.epochs.map(Value::from)),
        ("batch", args.batch.map(Value::from)),
        ("seed", args.seed.map(Value::from)),
        ("threads", args.threads.map(Value::from)),
    ];
    settings.extend(overrides.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(TrainConfig::from_overrides(&settings)?)
}
