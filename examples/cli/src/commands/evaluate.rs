//! `recs evaluate`: a model version on the test rows of a dataset.

use super::{Context, train};
use crate::args::EvaluateArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_train::data::{Split, SplitKind};
use recs_train::trainer::Popularity;
use recs_train::{Evaluation, TrainConfig, TrainData, Trainer};
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: &EvaluateArgs) -> Result<Report> {
    let artifact = context.model(&args.model).await?;
    let (name, dataset) = context.dataset(&args.dataset).await?;
    let trained_with = artifact.metadata.hyperparameters.get("split").cloned().unwrap_or_default();
    let split: SplitKind =
        args.split.or_else(|| serde_json::from_value(trained_with).ok()).unwrap_or_default();
    let (observer, parallelism) = (context.observer.clone(), context.parallelism());
    let (schema, vocabulary) = (&artifact.config.schema, artifact.vocabulary.clone());
    let loading =
        TrainData::load(&dataset, schema, vocabulary.clone(), parallelism, observer, &context.cancel);
    let data = Arc::new(loading.await?);
    let trainer =
        Trainer::new(data.clone(), artifact.config.clone(), vocabulary, TrainConfig::recommended())?;
    let (observer, cancel, weights) =
        (context.observer.clone(), context.cancel.clone(), artifact.weights.clone());
    let scoring = tokio::task::spawn_blocking(move || -> Result<(Evaluation, Evaluation)> {
        let rows = Split::new(&data, split)?;
        let popularity = Popularity::fit(&data, &rows.before_test()).evaluate(&data, &rows.test);
        let test = trainer.evaluate(&weights, &rows.test, &*observer, &cancel)?;
        Ok((test, Evaluation::new(popularity, None, 0.0)))
    });
    let (test, popularity) = scoring.await.map_err(|_| Error::Worker { doing: "evaluating" })??;
    let version = &artifact.metadata.model_version;
    let mut report = Report::default();
    report.line(format!("model {version} on dataset {name}, {} split", split.name()));
    train::table(&mut report, &test, &popularity);
    report.set("model_version", version.clone());
    report.set("dataset", name);
    report.set("split", split.name());
    train::evaluation(&mut report, &test, &popularity);
    Ok(report)
}
