//! From shards to what a trainer takes.

use recs_core::dataset::Dataset;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::{LoadOptions, TrainData};
use std::sync::Arc;

/// The vocabulary of a dataset, by `readers` threads.
///
/// # Errors
/// As [`Vocabulary::build`].
pub async fn vocabulary_of(
    dataset: &Dataset,
    schema: &Schema,
    readers: usize,
) -> recs_core::Result<Arc<Vocabulary>> {
    let (whole, quiet, cancel) = (VocabularyConfig::default(), Arc::new(Silent), CancelToken::new());
    Vocabulary::build(dataset, schema, &whole, readers, quiet, &cancel).await.map(Arc::new)
}

/// Its rows in memory, encoded for a model over `schema`.
///
/// # Errors
/// As [`TrainData::load`].
pub async fn encoded(
    dataset: &Dataset,
    schema: &Schema,
    vocabulary: &Arc<Vocabulary>,
    readers: usize,
) -> recs_core::Result<Arc<TrainData>> {
    let (options, quiet, cancel) = (LoadOptions::in_memory(readers), Arc::new(Silent), CancelToken::new());
    TrainData::load(dataset, schema, Arc::clone(vocabulary), &options, quiet, &cancel).await.map(Arc::new)
}
