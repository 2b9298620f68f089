//! What recs-train has to tell: dataset, vocabulary, results, the published model.

use super::entry::Entry;
use super::run::MlflowRun;
use crate::error::Result;
use crate::trainer::{Evaluation, Fitted};
use recs_core::artifact::{Digest, MANIFEST_FILE, Manifest};
use recs_core::dataset::DatasetMetadata;
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_core::vocab::Vocabulary;

/// Folder of the model below the run's artifacts.
const FOLDER: &str = "model";

impl MlflowRun {
    /// Tags that say what was trained on: `recs.dataset`, `recs.dataset_rows`, and the SHA-256 of `metadata.json`, which
    /// holds those of all shards, and of `vocabularies.json`.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when one of them has no JSON form.
    pub fn log_data(
        &self,
        name: &str,
        dataset: &DatasetMetadata,
        vocabulary: &Vocabulary,
        schema: &Schema,
    ) -> Result<()> {
        self.set_tag("recs.dataset", name);
        self.set_tag("recs.dataset_rows", dataset.total_examples.to_string());
        self.set_tag("recs.dataset_sha256", Digest::of(&dataset.to_json()?).sha256);
        self.set_tag("recs.vocabulary_sha256", Digest::of(&vocabulary.to_json(schema)?).sha256);
        Ok(())
    }

    /// Results on the test rows as metrics at the number of epochs: `test_recall_at_100`, … of what is served, and those of
    /// the towers alone and of popularity as `towers_recall_at_100`, … and `popularity_recall_at_100`, ….
    pub fn log_fitted(&self, fitted: &Fitted) {
        let step = fitted.epochs as u64;
        let all =
            [("test", fitted.test.served()), ("towers", &fitted.test), ("popularity", &fitted.popularity)];
        for (whose, evaluation) in all {
            for (name, value) in numbers(evaluation) {
                self.log_metric(&format!("{whose}_{name}"), step, value);
            }
        }
        self.log_metric("fit_seconds", step, fitted.seconds);
    }

    /// All files of a published model as artifacts under `model/`, and, when the configuration names a registered model,
    /// that folder as a new version of it, with the tags `recs.model_version`, `recs.tenant`, `recs.created_at`. `folder`
    /// is that of the model's version.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the manifest has no JSON form, [`Error::Config`](crate::Error::Config)
    /// for one with a file name that is no plain path.
    pub fn log_model(&self, folder: &Store, manifest: &Manifest) -> Result<()> {
        let own = Digest::of(&manifest.to_json()?);
        let files = manifest.files.iter().map(|(name, digest)| (name.as_str(), digest));
        for (name, digest) in files.chain([(MANIFEST_FILE, &own)]) {
            self.log_file(folder, name, &format!("{FOLDER}/{name}"), digest)?;
        }
        if let Some(model) = &self.registered_model {
            let tags = [
                ("recs.model_version", manifest.model_version.clone()),
                ("recs.tenant", manifest.tenant.to_string()),
                ("recs.created_at", manifest.created_at.clone()),
            ];
            let tags = tags.map(|(name, value)| (name.to_owned(), value)).into();
            self.offer(Entry::Register { model: model.clone(), folder: FOLDER.into(), tags });
        }
        Ok(())
    }
}

fn numbers(evaluation: &Evaluation) -> impl Iterator<Item = (&'static str, f64)> {
    let numbers = [
        ("recall_at_5", evaluation.recall_at_5),
        ("recall_at_10", evaluation.recall_at_10),
        ("recall_at_50", evaluation.recall_at_50),
        ("recall_at_100", evaluation.recall_at_100),
        ("ndcg_at_10", evaluation.ndcg_at_10),
        ("ndcg_at_100", evaluation.ndcg_at_100),
        ("mrr", evaluation.mrr),
        ("coverage", evaluation.coverage),
        ("personalisation", evaluation.personalisation),
        ("novelty", evaluation.novelty),
        (
            "recall_at_100_standard_error",
            evaluation.bootstrap.as_ref().map(|b| b.recall_at_100.standard_error),
        ),
        ("rows", Some(evaluation.rows as f64)),
    ];
    numbers.into_iter().filter_map(|(name, value)| Some((name, value?)))
}
