//! `recs evaluate`: a model version on the test rows of a dataset.

use super::{Context, scores};
use crate::args::EvaluateArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_train::data::SplitKind;
use recs_train::trainer::evaluate_artifact;
use recs_train::{EvaluateOptions, LoadOptions, TrainConfig, TrainData};

pub(super) async fn run(context: &Context, args: &EvaluateArgs) -> Result<Report> {
    let artifact = context.model(&args.model).await?;
    let (name, dataset) = context.dataset(&args.dataset).await?;
    let trained_with = artifact.metadata.hyperparameters.get("split").cloned().unwrap_or_default();
    let split: SplitKind =
        args.split.or_else(|| serde_json::from_value(trained_with).ok()).unwrap_or_default();
    let looks_at = options(context, args)?;
    let (observer, options) = (context.observer.clone(), LoadOptions::in_memory(context.parallelism()));
    let (schema, vocabulary) = (&artifact.config.schema, artifact.vocabulary.clone());
    let loading = TrainData::load(&dataset, schema, vocabulary, &options, observer, &context.cancel);
    let data = loading.await?;
    let (observer, cancel) = (context.observer.clone(), context.cancel.clone());
    let model = artifact.clone();
    let scoring = tokio::task::spawn_blocking(move || {
        evaluate_artifact(&model, &data, split, &looks_at, 0, &*observer, &cancel).map_err(Error::from)
    });
    let (test, popularity) = scoring.await.map_err(|_| Error::Worker { doing: "evaluating" })??;
    let version = &artifact.metadata.model_version;
    let mut report = Report::default();
    report.line(format!("model {version} on dataset {name}, {} split", split.name()));
    scores::lines(&mut report, &test, &popularity);
    report.set("model_version", version.clone());
    report.set("dataset", name);
    report.set("split", split.name());
    scores::keys(&mut report, &test, &popularity);
    Ok(report)
}

/// Those of the file under `[train.evaluation]`, overridden by the command line.
fn options(context: &Context, args: &EvaluateArgs) -> Result<EvaluateOptions> {
    let mut options = TrainConfig::from_overrides(&context.config.train)?.evaluation;
    options.seen = args.seen.unwrap_or(options.seen);
    options.bootstrap.samples = args.samples.unwrap_or(options.bootstrap.samples);
    if !args.slice_by.is_empty() {
        options.slices.fields = Some(args.slice_by.clone());
    }
    Ok(options)
}
