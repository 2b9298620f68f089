//! A trained model -> what serving needs.

use super::evaluation::{EvaluateOptions, Evaluation, Evaluator, ReportInputs, Served};
use super::fitted::Fitted;
use super::judge::judge;
use super::popularity::Popularity;
use super::probe::probe;
use super::training::pool;
use super::warm_start::{self, WARM_START};
use crate::data::{NO_PRODUCT, Purchases, Split, SplitKind, TrainData, day};
use crate::error::{Error, Result};
use recs_core::artifact::{
    Candidates, Customers, Metrics, ModelArtifact, ModelMetadata, TestMetrics, VocabularySizes,
};
use recs_core::model::InputSnapshot;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::{Role, Schema};
use recs_core::vocab::Vocabulary;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

impl Fitted {
    /// The artifact of this model under the name `version`: the catalogue embedded, purchases of the rows that the
    /// weights were trained on, and those of some customers of the test rows, by which a server judges it.
    ///
    /// # Errors
    /// [`Error::Core`] when weights and model do not fit, [`Error::Threads`].
    pub fn into_artifact(self, version: &str) -> Result<ModelArtifact> {
        let schema = &self.model.schema;
        let pool = pool(self.config.threads)?;
        let towers = Evaluator::new(&self.data, &self.model, &self.weights, &self.purchases, &pool)?;
        let vectors = towers.catalogue().clone();
        let catalogue = &self.data.catalogue;
        let text = |role: Role, ids: &[u32]| texts(&self.vocabulary, schema, role, ids);
        let candidates = Candidates {
            ids: text(Role::Product, &catalogue.ids)?,
            names: text(Role::ProductName, &catalogue.name)?,
            categories: text(Role::Category, &catalogue.category)?,
            available: vec![true; catalogue.len()],
            popularity: Popularity::fit(&self.data, &self.trained_on).counts,
            vectors,
        };
        let customers = customers(&self, schema, &towers)?;
        let probe = probe(&self.data, &self.split.test, &self.vocabulary, schema)?;
        Ok(ModelArtifact {
            metadata: self.metadata(version)?,
            training_stats: self.stats(),
            config: self.model,
            weights: self.weights,
            vocabulary: self.vocabulary,
            candidates: Arc::new(candidates),
            customers: Arc::new(customers),
            probe: probe.into(),
        })
    }

    fn metadata(&self, version: &str) -> Result<ModelMetadata> {
        let fault = |e: serde_json::Error| Error::config("train", e.to_string());
        let mut hyperparameters = match serde_json::to_value(&self.config).map_err(fault)? {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        hyperparameters.insert("embedding_dim".into(), self.model.embedding_dim().into());
        hyperparameters.insert("epochs_trained".into(), self.epochs.into());
        if let Some(started) = &self.warm_start {
            hyperparameters.insert(WARM_START.into(), serde_json::to_value(started).map_err(fault)?);
        }
        let mut other = Map::new();
        other.insert("test_evaluation".into(), serde_json::to_value(&self.test).map_err(fault)?);
        Ok(ModelMetadata {
            model_version: version.into(),
            vocabularies: VocabularySizes::of(&self.vocabulary, &self.model.schema),
            hyperparameters,
            metrics: Metrics { test_metrics: TestMetrics::of(&self.test.served().ranks), other },
        })
    }

    /// What people want to know about the training.
    pub fn stats(&self) -> Value {
        let mut stats = json!({
            "split": self.config.split, "train_rows": self.split.train.len(),
            "validation_rows": self.split.validation.len(), "test_rows": self.split.test.len(),
            "epochs": self.epochs, "history": self.history, "refit_history": self.refit_history,
            "repeat_coefficients": self.repeat.as_ref().map(|term| term.coefficients),
            "test": self.test, "popularity": self.popularity, "parameters": self.weights.parameters(),
            "examples_per_s": self.examples_per_s(), "seconds": self.seconds, WARM_START: self.warm_start,
        });
        let (key, newest) = warm_start::newest_of(&self.data, &self.trained_on);
        stats[key] = newest;
        stats[InputSnapshot::KEY] = json!(self.inputs());
        stats
    }
}

/// Rows that say enough about all.
const SNAPSHOT_ROWS: usize = 200_000;

impl Fitted {
    /// What the query tower read, for whoever serves the model and wants to know whether that changes.
    fn inputs(&self) -> InputSnapshot {
        let every = self.trained_on.len().div_ceil(SNAPSHOT_ROWS).max(1);
        let rows: Vec<u32> = self.trained_on.iter().step_by(every).copied().collect();
        let query = &self.data.query;
        InputSnapshot::of(&self.model.schema, query.rows, &query.ids, &query.numbers, &rows)
    }
}

/// Judges a published model, and popularity beside it, on the test rows of a dataset: against the model's own catalogue,
/// as serving does; a product that is not in it is a miss. Popularity is that of the model's training rows. `data` was
/// encoded with the model's schema and vocabulary; `threads` 0 = all cores. Known purchases, for `options` and slices, are
/// those that the model holds.
///
/// # Errors
/// [`Error::Data`] for an empty split, [`Error::Config`] for data of another schema or vocabulary and for options that do not fit,
/// [`Error::Threads`], [`recs_core::Error::Cancelled`].
pub fn evaluate_artifact(
    artifact: &ModelArtifact,
    data: &TrainData,
    split: SplitKind,
    options: &EvaluateOptions,
    threads: usize,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Evaluation, Evaluation)> {
    data.check(&artifact.config)?;
    data.check_vocabulary(&artifact.vocabulary)?;
    options.check(&artifact.config.schema)?;
    let trained_with = artifact.metadata.hyperparameters.get("split");
    let trained_with: Option<SplitKind> = trained_with.and_then(|s| serde_json::from_value(s.clone()).ok());
    if let Some(trained) = trained_with.filter(|&t| t != split) {
        let message = format!(
            "the model was trained with split \"{}\": it has seen purchases that split \"{}\" tests, so these results \
             are too good",
            trained.name(),
            split.name()
        );
        observer.on_event(&Event::Warning { stage: "evaluate", message });
    }
    let split = Split::new(data, split)?;
    let rows = &split.test;
    if let Some(message) = warm_start::warning(artifact, data, rows) {
        observer.on_event(&Event::Warning { stage: "evaluate", message });
    }
    let ids = texts(&artifact.vocabulary, &artifact.config.schema, Role::Product, &data.catalogue.ids)?;
    let places: HashMap<&str, u32> = artifact.candidates.ids.iter().map(String::as_str).zip(0..).collect();
    let places: Vec<u32> =
        ids.iter().map(|id| places.get(id.as_str()).copied().unwrap_or(NO_PRODUCT)).collect();
    let product: Vec<u32> =
        data.product.iter().map(|&p| places.get(p as usize).copied().unwrap_or(NO_PRODUCT)).collect();
    let pool = pool(threads)?;
    let served = Served::new(artifact, data, places, &split.before_test())?;
    let evaluator = Evaluator::of_artifact(data, artifact, product, served, &pool)?;
    let inputs = ReportInputs {
        options,
        popularity: &Popularity::of_counts(artifact.candidates.popularity.clone()),
        schema: &artifact.config.schema,
        vocabulary: &artifact.vocabulary,
    };
    judge(&evaluator, rows, &inputs, observer, cancel)
}

/// Texts of vocabulary ids of the field with `role`; empty text for id 0 and for a role that no field has.
pub(super) fn texts(
    vocabulary: &Vocabulary,
    schema: &Schema,
    role: Role,
    ids: &[u32],
) -> Result<Vec<String>> {
    let Some(field) = schema.find_role(role) else { return Ok(vec![String::new(); ids.len()]) };
    let lookup = vocabulary.lookup(&field.name)?;
    Ok(ids.iter().map(|&id| lookup.text(id).unwrap_or_default().to_owned()).collect())
}

/// What each customer bought in the rows that the weights were trained on, and what is added for buying it again.
fn customers(fitted: &Fitted, schema: &Schema, towers: &Evaluator<'_>) -> Result<Customers> {
    let Fitted { data, vocabulary, purchases, .. } = fitted;
    let mut customers = Customers { offsets: vec![0], ..Customers::default() };
    let (mut ids, mut segments, mut last_rows) = (Vec::new(), Vec::new(), Vec::new());
    // By vocabulary id, which is the order of the texts.
    for id in 0..purchases.customers() {
        let rows = purchases.of(id);
        let Some(&last) = rows.last() else { continue };
        for (product, count) in Purchases::counted(data, rows.iter().copied()) {
            customers.products.push(product);
            customers.counts.push(count);
        }
        ids.push(id);
        last_rows.push(last);
        customers.offsets.push(customers.products.len());
        customers.last_day.push(day(data.timestamp[last as usize]) as i32);
        segments.push(purchases.home(data, id));
    }
    if let Some(term) = &fitted.repeat {
        customers.repeat = vec![0.0; customers.products.len()];
        let entries = towers.served_scores(&last_rows, |i, score| term.entries(data, ids[i], None, score))?;
        for (i, entries) in entries.into_iter().enumerate() {
            let range = customers.offsets[i]..customers.offsets[i + 1];
            let products = &customers.products[range.clone()];
            for (product, value) in entries {
                if let Ok(at) = products.binary_search(&product) {
                    customers.repeat[range.start + at] = value;
                }
            }
        }
    }
    customers.ids = texts(vocabulary, schema, Role::Customer, &ids)?;
    customers.segment = texts(vocabulary, schema, Role::City, &segments)?;
    Ok(customers)
}
