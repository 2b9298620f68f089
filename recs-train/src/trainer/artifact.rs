//! A trained model -> what serving needs.

use super::evaluate::{Evaluation, Evaluator};
use super::fit::{Fitted, judge, pool};
use super::popularity::Popularity;
use crate::data::{NO_PRODUCT, Split, SplitKind, TrainData};
use crate::error::{Error, Result};
use recs_core::artifact::{
    Candidates, Customers, Metrics, ModelArtifact, ModelMetadata, TestMetrics, VocabularySizes,
};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::{Role, Schema};
use recs_core::vocab::Vocabulary;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const DAY_SECONDS: i64 = 86_400;

impl Fitted {
    /// The artifact of this model under the name `version`: the catalogue embedded, purchases of the rows that the
    /// weights were trained on.
    ///
    /// # Errors
    /// [`Error::Core`] when weights and model do not fit, [`Error::Threads`].
    pub fn into_artifact(self, version: &str) -> Result<ModelArtifact> {
        let schema = &self.model.schema;
        let trained_on = if self.refit_history.is_empty() && self.config.early_stopping.is_some() {
            self.split.train.clone()
        } else {
            self.split.before_test()
        };
        let pool = pool(self.config.threads)?;
        let vectors = Evaluator::new(&self.data, &self.model, &self.weights, &pool)?.catalogue().clone();
        let catalogue = &self.data.catalogue;
        let text = |role: Role, ids: &[u32]| texts(&self.vocabulary, schema, role, ids);
        let candidates = Candidates {
            ids: text(Role::Product, &catalogue.ids)?,
            names: text(Role::ProductName, &catalogue.name)?,
            categories: text(Role::Category, &catalogue.category)?,
            available: vec![true; catalogue.len()],
            popularity: Popularity::fit(&self.data, &trained_on).counts,
            vectors,
        };
        let customers = customers(&self.data, &self.vocabulary, schema, &trained_on)?;
        Ok(ModelArtifact {
            metadata: self.metadata(version)?,
            training_stats: self.stats(),
            config: self.model,
            weights: self.weights,
            vocabulary: self.vocabulary,
            candidates: Arc::new(candidates),
            customers: Arc::new(customers),
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
        let mut other = Map::new();
        other.insert("test_evaluation".into(), serde_json::to_value(&self.test).map_err(fault)?);
        Ok(ModelMetadata {
            model_version: version.into(),
            vocabularies: VocabularySizes::of(&self.vocabulary, &self.model.schema),
            hyperparameters,
            metrics: Metrics { test_metrics: TestMetrics::of(&self.test.ranks), other },
        })
    }

    /// What people want to know about the training.
    pub fn stats(&self) -> Value {
        json!({
            "split": self.config.split, "train_rows": self.split.train.len(),
            "validation_rows": self.split.validation.len(), "test_rows": self.split.test.len(),
            "epochs": self.epochs, "history": self.history, "refit_history": self.refit_history,
            "test": self.test, "popularity": self.popularity, "parameters": self.weights.parameters(),
            "examples_per_s": self.examples_per_s(), "seconds": self.seconds,
        })
    }
}

/// Judges a published model, and popularity beside it, on the test rows of a dataset: against the model's own catalogue,
/// as serving does; a product that is not in it is a miss. Popularity is that of the model's training rows. `data` was
/// encoded with the model's schema and vocabulary; `threads` 0 = all cores.
///
/// # Errors
/// [`Error::Data`] for an empty split, [`Error::Config`] for data of another schema, [`Error::Threads`],
/// [`recs_core::Error::Cancelled`].
pub fn evaluate_artifact(
    artifact: &ModelArtifact,
    data: &TrainData,
    split: SplitKind,
    threads: usize,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Evaluation, Evaluation)> {
    data.check(&artifact.config)?;
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
    let rows = Split::new(data, split)?.test;
    let ids = texts(&artifact.vocabulary, &artifact.config.schema, Role::Product, &data.catalogue.ids)?;
    let places: HashMap<&str, u32> = artifact.candidates.ids.iter().map(String::as_str).zip(0..).collect();
    let places: Vec<u32> =
        ids.iter().map(|id| places.get(id.as_str()).copied().unwrap_or(NO_PRODUCT)).collect();
    let product: Vec<u32> =
        data.product.iter().map(|&p| places.get(p as usize).copied().unwrap_or(NO_PRODUCT)).collect();
    let popularity = Popularity::of_counts(artifact.candidates.popularity.clone()).evaluate(&product, &rows);
    let pool = pool(threads)?;
    let evaluator = Evaluator::of_artifact(data, artifact, product, &pool)?;
    Ok((judge(&evaluator, &rows, observer, cancel)?, Evaluation::new(popularity, None, 0.0)))
}

/// Texts of vocabulary ids of the field with `role`; empty text for id 0 and for a role that no field has.
fn texts(vocabulary: &Vocabulary, schema: &Schema, role: Role, ids: &[u32]) -> Result<Vec<String>> {
    let Some(field) = schema.find_role(role) else { return Ok(vec![String::new(); ids.len()]) };
    let lookup = vocabulary.lookup(&field.name)?;
    Ok(ids.iter().map(|&id| lookup.text(id).unwrap_or_default().to_owned()).collect())
}

/// Rows by customer: those of vocabulary id i are `rows[starts[i]..starts[i + 1]]`. 4 bytes a row.
fn by_customer(data: &TrainData, rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let highest = rows.iter().map(|&r| data.customer[r as usize]).max().unwrap_or(0) as usize;
    let mut starts = vec![0u32; highest + 2];
    rows.iter().for_each(|&r| starts[data.customer[r as usize] as usize + 1] += 1);
    (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
    let (mut next, mut sorted) = (starts.clone(), vec![0u32; rows.len()]);
    for &row in rows {
        let at = &mut next[data.customer[row as usize] as usize];
        sorted[*at as usize] = row;
        *at += 1;
    }
    (starts, sorted)
}

/// Each value once, ascending, with its count.
fn counted(mut values: Vec<u32>) -> Vec<(u32, u32)> {
    values.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match counts.last_mut() {
            Some((last, n)) if *last == value => *n += 1,
            _ => counts.push((value, 1)),
        }
    }
    counts
}

fn customers(data: &TrainData, vocabulary: &Vocabulary, schema: &Schema, rows: &[u32]) -> Result<Customers> {
    let mut customers = Customers { offsets: vec![0], ..Customers::default() };
    let (mut ids, mut segments) = (Vec::new(), Vec::new());
    let (starts, sorted) = by_customer(data, rows);
    // By vocabulary id, which is the order of the texts; id 0 is nobody.
    for id in 1..starts.len().saturating_sub(1) {
        let rows = &sorted[starts[id] as usize..starts[id + 1] as usize];
        let all = |column: &[u32]| counted(rows.iter().map(|&r| column[r as usize]).collect());
        let Some(last) = rows.iter().map(|&r| data.timestamp[r as usize]).max() else { continue };
        for (product, count) in all(&data.product) {
            customers.products.push(product);
            customers.counts.push(count);
        }
        ids.push(id as u32);
        customers.offsets.push(customers.products.len());
        customers.last_day.push(last.div_euclid(DAY_SECONDS) as i32);
        let most = all(&data.city).into_iter().max_by_key(|(city, n)| (*n, std::cmp::Reverse(*city)));
        segments.push(most.map_or(0, |(city, _)| city));
    }
    customers.ids = texts(vocabulary, schema, Role::Customer, &ids)?;
    customers.segment = texts(vocabulary, schema, Role::City, &segments)?;
    Ok(customers)
}
