//! Gzip TFRecord shards: made in memory, opened, published.

use crate::errors::{Error, Result};
use crate::runtime::Context;
use arrow::array::RecordBatch;
use recs_core::dataset::{Dataset, METADATA_FILE};
use recs_core::schema::{Field, Schema};
use recs_core::store::{Publication, Store};
use recs_core::vocab::{MAX_VOCABULARY_BYTES, VOCABULARY_FILE, Vocabulary, VocabularyConfig};
use recs_etl::dataset::{DatasetConfig, DatasetInput, write_dataset};
use recs_etl::source::MemorySource;
use std::sync::Arc;

const TABLE: &str = "events";
const FOLDER: &str = "vocabularies";
/// Shards in memory are compressed quickly rather than well.
const GZIP_LEVEL: u32 = 1;

/// Shards, open, with their vocabulary.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The rows.
    pub(crate) shards: Dataset,
    /// Names and types in the records.
    pub(crate) schema: Schema,
    /// Of all rows.
    pub(crate) vocabulary: Arc<Vocabulary>,
}

impl Loaded {
    /// Writes rows as shards in memory.
    ///
    /// # Errors
    /// Those of the writer; cancellation.
    pub(crate) fn from_batches(batches: Vec<RecordBatch>, schema: Schema, context: &Context) -> Result<Self> {
        let arrow = batches.first().map(RecordBatch::schema).ok_or_else(|| Error::lost("reading a frame"))?;
        let source = Arc::new(MemorySource::new(TABLE).with_table(TABLE, arrow, batches)?);
        let (store, cancel) = (Store::memory(), &context.cancel);
        let shards = context.parallelism().min(16);
        let config = DatasetConfig { shards, gzip_level: GZIP_LEVEL, ..DatasetConfig::default() };
        context.wait(async {
            let input = DatasetInput::from_table(source, TABLE, &schema, &config, None, cancel).await?;
            write_dataset(&store, input, &schema, &config, &*context.observer, cancel).await
        })?;
        Self::open_with(store, schema, context)
    }

    /// Opens the dataset in a folder.
    ///
    /// # Errors
    /// Those of reading it; [`Error::Schema`] for one without the retail fields.
    pub(crate) fn open(store: Store, context: &Context) -> Result<Self> {
        let shards = context.wait(Dataset::open(store.clone()))?;
        let schema = schema_of(&shards)?;
        Self::open_with(store, schema, context)
    }

    /// The vocabulary in the folder, or one built from the rows.
    fn open_with(store: Store, schema: Schema, context: &Context) -> Result<Self> {
        context.wait(async {
            let folder = store.child(FOLDER)?;
            let shards = Dataset::open(store).await?;
            let vocabulary = match folder.get(VOCABULARY_FILE, MAX_VOCABULARY_BYTES).await {
                Ok(json) => Vocabulary::parse(&json, &schema, &folder.show(VOCABULARY_FILE))?,
                Err(recs_core::Error::NotFound { .. }) => {
                    let (config, observer) = (VocabularyConfig::default(), context.shared_observer());
                    let cores = context.parallelism();
                    Vocabulary::build(&shards, &schema, &config, cores, observer, &context.cancel).await?
                }
                Err(e) => return Err(e.into()),
            };
            Ok(Self { shards, schema, vocabulary: Arc::new(vocabulary) })
        })
    }

    /// Copies shards and vocabulary, metadata last.
    ///
    /// # Errors
    /// Those of the stores, among them that there is a dataset already.
    pub(crate) async fn publish(&self, to: Store) -> Result<()> {
        let (from, metadata) = (self.shards.store(), self.shards.metadata());
        let mut publication = Publication::begin(to, METADATA_FILE).await?;
        let copied = async {
            for shard in &metadata.shards {
                let bytes = from.get(&shard.file, shard.digest.size_bytes).await?;
                publication.put(&shard.file, bytes).await?;
            }
            let vocabulary = self.vocabulary.to_json(&self.schema)?;
            publication.put(&format!("{FOLDER}/{VOCABULARY_FILE}"), vocabulary.into()).await?;
            metadata.to_json()
        };
        match copied.await {
            Ok(json) => publication.commit(json.into()).await.map(drop).map_err(Error::from),
            Err(e) => {
                publication.abort().await;
                Err(e.into())
            }
        }
    }
}

/// The eight retail fields under the names and types that the shards have them.
fn schema_of(shards: &Dataset) -> Result<Schema> {
    let mut schema = Schema::retail();
    let features = &shards.metadata().features;
    let place = |field: &Field| features.iter().find(|f| f.name == field.name);
    for field in &mut schema.fields {
        let Some(found) = place(field) else {
            let names: Vec<&str> = features.iter().map(|f| f.name.as_str()).collect();
            return Err(Error::schema(
                &field.name,
                format!("is missing; the dataset has: {}", names.join(", ")),
            ));
        };
        found.record.clone_into(&mut field.record);
        found.record.clone_into(&mut field.column);
        field.dtype = found.dtype;
    }
    schema.validate()?;
    Ok(schema)
}
