//! Trains on an extract in memory, as `tfrs_train.py`.

use crate::Failure;
use crate::args::Training;
use crate::extract;
use rayon::ThreadPoolBuilder;
use recs_benches::{encoded, vocabulary_of, write_shards};
use recs_core::observe::{CancelToken, Silent};
use recs_core::store::Store;
use recs_train::{Evaluation, Fitted, Trainer};
use serde_json::{Map, Value, json};
use std::path::Path;

const SHARDS: usize = 4;

/// Trains and evaluates; gives what `tfrs_train.py` prints.
pub(crate) async fn run(data: &Path, ranks: Option<&Path>, training: &Training) -> Result<Value, Failure> {
    let (config, schema, cancel) = (training.config()?, extract::schema()?, CancelToken::new());
    let dataset = write_shards(Store::memory(), &schema, &extract::records(data, &schema)?, SHARDS).await?;
    let (readers, model) = (training.readers()?, config.model(&schema)?);
    let vocabulary = vocabulary_of(&dataset, &schema, readers).await?;
    let data = encoded(&dataset, &model.schema, &vocabulary, readers).await?;
    let fitted = Trainer::new(data, model, vocabulary, config)?.fit(&Silent, &cancel)?;
    if let Some(file) = ranks {
        write_ranks(&fitted, file)?;
    }
    Ok(summary(&fitted))
}

fn summary(fitted: &Fitted) -> Value {
    let epochs = fitted.history.iter().chain(&fitted.refit_history);
    let mut summary = Map::new();
    let mut set = |key: &str, value: Value| summary.insert(key.to_owned(), value);
    set("examples_per_s", json!(rounded(fitted.examples_per_s(), 1)));
    set("epoch_s", json!(epochs.map(|e| rounded(e.seconds, 2)).collect::<Vec<_>>()));
    set("split", json!(fitted.config.split));
    set("seed", json!(fitted.config.seed));
    set("epochs", json!(fitted.epochs));
    set("fit_s", json!(rounded(fitted.seconds - fitted.test.seconds - fitted.popularity.seconds, 2)));
    set("test_rows", json!(fitted.test.rows));
    summary.extend(recalls(&fitted.test));
    if let Some(with_repeat) = &fitted.test.with_repeat {
        summary.extend(recalls(with_repeat).map(|(key, recall)| (format!("repeat_{key}"), recall)));
    }
    if let Some(term) = &fitted.repeat {
        summary.insert("repeat_coefficients".into(), json!(term.coefficients));
    }
    Value::Object(summary)
}

/// Recall under the names of the peer.
pub(crate) fn recalls(test: &Evaluation) -> impl Iterator<Item = (String, Value)> {
    let cuts =
        [(5, test.recall_at_5), (10, test.recall_at_10), (50, test.recall_at_50), (100, test.recall_at_100)];
    cuts.into_iter().map(|(k, recall)| (format!("recall@{k}"), json!(recall.map(|r| rounded(r, 5)))))
}

pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

fn write_ranks(fitted: &Fitted, file: &Path) -> Result<(), Failure> {
    let pool = ThreadPoolBuilder::new().num_threads(fitted.config.threads).build()?;
    let [towers, with_repeat] = fitted.evaluator(&pool)?.ranks(&fitted.split.test, &CancelToken::new())?;
    let as_i32 = |rank: Option<u32>| rank.and_then(|r| i32::try_from(r).ok()).unwrap_or(i32::MAX);
    let bytes = |ranks: Vec<Option<u32>>| -> Vec<u8> {
        ranks.into_iter().flat_map(|rank| as_i32(rank).to_le_bytes()).collect()
    };
    if !with_repeat.is_empty() {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".repeat");
        std::fs::write(beside, bytes(with_repeat))?;
    }
    Ok(std::fs::write(file, bytes(towers))?)
}
