//! A model over a few purchases, for tests of a backend.

use super::shards::{dataset, groups};
use recs_core::dataset::Dataset;
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::CpuBackend;
use recs_train::trainer::initial_weights;
use recs_train::{LoadOptions, TrainConfig, TrainData};
use std::path::Path;
use std::sync::Arc;

pub(super) struct Made {
    pub(super) model: ModelConfig,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) data: Arc<TrainData>,
    pub(super) weights: Weights,
    pub(super) pool: Arc<rayon::ThreadPool>,
}

/// Its vocabulary, and its rows encoded for a schema.
pub(super) async fn encoded(
    dataset: &Dataset,
    schema: &Schema,
    cache: Option<&Path>,
) -> (Arc<Vocabulary>, Arc<TrainData>) {
    let cancel = CancelToken::new();
    let settings = VocabularyConfig::default();
    let built = Vocabulary::build(dataset, schema, &settings, 1, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let options = LoadOptions { parallelism: 2, cache: cache.map(Path::to_path_buf) };
    let data =
        TrainData::load(dataset, schema, Arc::clone(&vocabulary), &options, Arc::new(Silent), &cancel).await;
    (vocabulary, Arc::new(data.unwrap()))
}

impl Made {
    /// The purchases of some days, and weights from `-init` to `init`.
    pub(super) async fn new(config: &TrainConfig, schema: Schema, days: i64, init: f32) -> Self {
        let (vocabulary, data) = encoded(&dataset(&groups(12, 16, days), 2).await, &schema, None).await;
        let (query, candidate) = (config.query.clone(), config.candidate.clone());
        let model = ModelConfig { schema, query, candidate, temperature: config.loss.temperature };
        model.validate().unwrap();
        let weights = initial_weights(&model, &vocabulary, 3, init).unwrap();
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        Self { model, vocabulary, data, weights, pool }
    }

    pub(super) fn backend(&self, config: &TrainConfig, weights: Weights) -> CpuBackend {
        let (data, pool) = (Arc::clone(&self.data), Arc::clone(&self.pool));
        CpuBackend::new(data, self.model.clone(), config.clone(), weights, vec![], pool).unwrap()
    }
}
