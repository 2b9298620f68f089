//! `/model-info`.

use super::super::Problem;
use super::super::tenant::Loaded;
use super::{json_response, to_json};
use crate::retriever::MAX_BATCH;
use axum::response::Response;
use recs_core::artifact::{TestMetrics, VocabularySizes};
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
struct ModelInfo<'a> {
    model_version: &'a str,
    vocabularies: &'a VocabularySizes,
    hyperparameters: &'a Map<String, Value>,
    /// Null when the model was not evaluated.
    performance_metrics: Option<&'a TestMetrics>,
    batch_capabilities: BatchCapabilities,
}

#[derive(Serialize)]
struct BatchCapabilities {
    max_batch_size: usize,
    endpoints: [&'static str; 1],
}

pub(in super::super) async fn model_info(loaded: Loaded) -> Result<Response, Problem> {
    let metadata = loaded.version.retriever().metadata();
    let answer = ModelInfo {
        model_version: &metadata.model_version,
        vocabularies: &metadata.vocabularies,
        hyperparameters: &metadata.hyperparameters,
        performance_metrics: metadata.metrics.test_metrics.as_ref(),
        batch_capabilities: BatchCapabilities { max_batch_size: MAX_BATCH, endpoints: ["/recommend-batch"] },
    };
    to_json(&answer).map(json_response)
}
