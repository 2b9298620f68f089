//! `recs vocab`: shards -> vocabularies.json.

use super::Context;
use crate::args::DatasetChoice;
use crate::error::Result;
use crate::output::Report;
use recs_core::dataset::Dataset;
use recs_core::vocab::{VOCABULARY_FILE, Vocabulary};
use serde_json::json;
use std::time::Instant;

pub(super) async fn run(context: &Context, choice: &DatasetChoice) -> Result<Report> {
    let started = Instant::now();
    let (name, dataset) = context.dataset(choice).await?;
    let vocabulary = build(context, &dataset).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (sizes, rows) = (vocabulary.sizes(&context.schema), vocabulary.total_examples());
    let mut report = Report::default();
    report.line(format!("vocabularies of dataset {name}: {rows} rows in {seconds:.2} s"));
    sizes.iter().for_each(|(key, size)| report.line(format!("  {key:<22} {size:>8}")));
    report.set("dataset", name);
    report.set("rows", rows);
    report.set("vocab_sizes", json!(sizes));
    report.set("rows_per_s", rows as f64 / seconds);
    report.set("seconds", seconds);
    Ok(report)
}

/// Builds and writes the vocabularies beside the shards.
pub(super) async fn build(context: &Context, dataset: &Dataset) -> Result<Vocabulary> {
    let (schema, config) = (&context.schema, &context.config.vocab);
    let (observer, parallelism) = (context.observer.clone(), context.parallelism());
    let vocabulary =
        Vocabulary::build(dataset, schema, config, parallelism, observer, &context.cancel).await?;
    let folder = dataset.store().child("vocabularies")?;
    folder.put(VOCABULARY_FILE, vocabulary.to_json(schema)?.into()).await?;
    Ok(vocabulary)
}
