//! `recs train`: a dataset -> a published model version.

use super::{Context, scores, vocab};
use crate::args::{ModelChoice, TrainArgs};
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::Error as CoreError;
use recs_core::artifact::ModelArtifact;
use recs_train::{Fitted, LoadOptions, TrainConfig, TrainData, Trainer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

pub(super) async fn run(context: &Context, args: &TrainArgs) -> Result<Report> {
    let started = Instant::now();
    let config = settings(context, args)?;
    let previous = previous(context, args).await?;
    let (name, dataset) = context.dataset(&args.dataset).await?;
    let vocabulary = match context.vocabulary(&dataset, &context.schema).await {
        Err(Error::Core(CoreError::NotFound { .. })) => vocab::build(context, &dataset).await?,
        found => found?,
    };
    let (vocabulary, model) = (Arc::new(vocabulary), config.model(&context.schema)?);
    let options = LoadOptions { parallelism: context.parallelism(), cache: args.cache.clone() };
    let observer = context.observer.clone();
    let loading =
        TrainData::load(&dataset, &model.schema, vocabulary.clone(), &options, observer, &context.cancel);
    let mut trainer = Trainer::new(Arc::new(loading.await?), model, vocabulary, config)?;
    if let Some(previous) = previous {
        trainer = trainer.warm_start(&previous)?;
    }
    let checkpoints = args.checkpoints.config();
    if let Some(checkpoints) = &checkpoints {
        trainer = trainer.with_checkpoints(checkpoints.clone())?;
    }
    let (observer, cancel) = (context.observer.clone(), context.cancel.clone());
    let fitting = tokio::task::spawn_blocking(move || trainer.fit(&*observer, &cancel));
    let fitted = fitting.await.map_err(|_| Error::Worker { doing: "training" })??;
    let version = args.version.clone().unwrap_or_else(|| context.name_by_time());
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
    let artifact = fitted.into_artifact(&version)?;
    artifact.publish(&context.root, &jiff::Timestamp::now().to_string()).await?;
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

/// The file's settings, overridden by the command line.
fn settings(context: &Context, args: &TrainArgs) -> Result<TrainConfig> {
    let mut settings = context.config.train.clone();
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
