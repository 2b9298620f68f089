//! What `fit`, `evaluate`, `save` and `load` run, away from the interpreter.

use crate::errors::{Error, Result};
use crate::runtime::Context;
use crate::shards::Loaded;
use recs_core::artifact::ModelArtifact;
use recs_core::schema::Schema;
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::index::IndexConfig;
use recs_serve::model::publish;
use recs_serve::retriever::Retriever;
use recs_train::data::SplitKind;
use recs_train::trainer::evaluate_artifact;
use recs_train::{
    CheckpointConfig, EvaluateOptions, Evaluation, LoadOptions, TrainConfig, TrainData, Trainer,
};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// A trained model, ready to answer.
#[derive(Debug)]
pub(crate) struct Model {
    /// What is saved.
    pub(crate) artifact: ModelArtifact,
    /// What answers, in the process that made it.
    retriever: Mutex<(u32, Arc<Retriever>)>,
}

impl Model {
    fn new(artifact: ModelArtifact, context: &Context) -> Result<Self> {
        let retriever = retriever(&artifact, context)?;
        Ok(Self { artifact, retriever: Mutex::new((std::process::id(), retriever)) })
    }

    /// What answers. A forked child has none of the threads of its parent's, so it makes its own.
    ///
    /// # Errors
    /// As [`Retriever::new`].
    pub(crate) fn retriever(&self, context: &Context) -> Result<Arc<Retriever>> {
        let known = || self.retriever.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, shared) = known().clone();
        if pid == std::process::id() {
            return Ok(shared);
        }
        let own = retriever(&self.artifact, context)?;
        let parents = std::mem::replace(&mut *known(), (std::process::id(), Arc::clone(&own)));
        // Dropping it would wait for threads that are not there.
        std::mem::forget(parents);
        Ok(own)
    }

    /// Trains, from the weights of `warm_start` if there is one, and evaluates once.
    ///
    /// # Errors
    /// Those of loading, training and retrieval.
    pub(crate) fn fit(
        config: TrainConfig,
        checkpoints: Option<CheckpointConfig>,
        warm_start: Option<&Self>,
        rows: &Loaded,
        context: &Context,
    ) -> Result<Self> {
        let model = config.model(&rows.schema)?;
        let vocabulary = Arc::clone(&rows.vocabulary);
        let data = load(rows, &model.schema, &vocabulary, context)?;
        let mut trainer = Trainer::new(Arc::new(data), model, vocabulary, config)?;
        if let Some(checkpoints) = checkpoints {
            trainer = trainer.with_checkpoints(checkpoints)?;
        }
        if let Some(previous) = warm_start {
            trainer = trainer.warm_start(&previous.artifact)?;
        }
        let fitted = trainer.fit(&*context.observer, &context.cancel)?;
        context.observer.say(summary(&fitted.test, &fitted.popularity, fitted.config.split, fitted.epochs));
        Self::new(fitted.into_artifact(&name_by_time())?, context)
    }

    /// The model and popularity on the test rows of `rows`.
    ///
    /// # Errors
    /// Those of loading and evaluation.
    pub(crate) fn evaluate(
        artifact: &ModelArtifact,
        rows: &Loaded,
        split: SplitKind,
        options: &EvaluateOptions,
        context: &Context,
    ) -> Result<(Evaluation, Evaluation)> {
        // Names and types of these shards, encodings of the model.
        let schema = Schema { fields: rows.schema.fields.clone(), ..artifact.config.schema.clone() };
        let data = load(rows, &schema, &artifact.vocabulary, context)?;
        Ok(evaluate_artifact(artifact, &data, split, options, 0, &*context.observer, &context.cancel)?)
    }

    /// Publishes the model under `version`, and gives it back under that name.
    ///
    /// # Errors
    /// Those of the store, among them that the version exists.
    pub(crate) fn save(&self, root: &TenantRoot, version: &str, context: &Context) -> Result<Self> {
        let mut artifact = self.artifact.clone();
        version.clone_into(&mut artifact.metadata.model_version);
        let (now, index) = (jiff::Timestamp::now().to_string(), IndexConfig::default());
        context.wait(publish(&artifact, root, &now, &index, &context.host.workers))?;
        Ok(Self { artifact, retriever: Mutex::new((std::process::id(), self.retriever(context)?)) })
    }

    /// Loads a version, the latest unless named.
    ///
    /// # Errors
    /// Those of the store and of damaged files.
    pub(crate) fn load(root: &TenantRoot, version: Option<String>, context: &Context) -> Result<Self> {
        let artifact = context.wait(async {
            let version = match version {
                Some(version) => version,
                None => ModelArtifact::latest_version(root).await?,
            };
            ModelArtifact::load(root, &version).await
        })?;
        Self::new(artifact, context)
    }

    /// The split that it was trained with.
    pub(crate) fn split(&self) -> SplitKind {
        let stated = self.artifact.metadata.hyperparameters.get("split").cloned();
        stated.and_then(|s| serde_json::from_value(s).ok()).unwrap_or_default()
    }

    /// The evaluation of the training run: the model's and popularity's.
    pub(crate) fn metrics(&self) -> (&Value, &Value) {
        let of = |key: &str| self.artifact.training_stats.get(key).unwrap_or(&Value::Null);
        (of("test"), of("popularity"))
    }
}

fn retriever(artifact: &ModelArtifact, context: &Context) -> Result<Arc<Retriever>> {
    Ok(Arc::new(Retriever::new(Arc::new(artifact.clone()), context.host.clone())?))
}

/// The part of a store that belongs to a tenant.
pub(crate) fn tenant_root(store: &Store, tenant: &str) -> Result<TenantRoot> {
    Ok(store.tenant(&TenantId::new(tenant)?)?)
}

fn load(
    rows: &Loaded,
    schema: &Schema,
    vocabulary: &Arc<recs_core::vocab::Vocabulary>,
    context: &Context,
) -> Result<TrainData> {
    let (vocabulary, observer) = (Arc::clone(vocabulary), context.shared_observer());
    let options = LoadOptions::in_memory(context.parallelism());
    let loading = TrainData::load(&rows.shards, schema, vocabulary, &options, observer, &context.cancel);
    context.wait(loading).map_err(Error::from)
}

/// A name for a new version: the time in UTC.
fn name_by_time() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

fn summary(test: &Evaluation, popularity: &Evaluation, split: SplitKind, epochs: usize) -> String {
    let test = test.served();
    let share = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
    format!(
        "fitted {epochs} epochs; {} split, {} test rows: Recall@100 {} (popularity {}), personalisation {}",
        split.name(),
        test.rows,
        share(test.recall_at_100),
        share(popularity.recall_at_100),
        share(test.personalisation)
    )
}
