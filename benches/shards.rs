//! Records -> a dataset.

use recs_core::Result;
use recs_core::dataset::{DATASET_FORMAT_VERSION, Dataset, DatasetMetadata, METADATA_FILE, ShardInfo};
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_core::tfrecord::{RecordWriter, ShardPlan, shard_name};

/// Writes records in `shards` gzip shards of `schema` below `raw_data/`, and `metadata.json` last.
///
/// # Errors
/// Those of the store and the codecs.
pub async fn write_shards(
    store: Store,
    schema: &Schema,
    records: &[Vec<u8>],
    shards: usize,
) -> Result<Dataset> {
    let plan = ShardPlan::new(records.len() as u64, shards)?;
    let mut infos = Vec::new();
    for shard in 0..shards {
        let run = plan.rows(shard);
        let mut file = RecordWriter::gzip(Vec::new(), 6)?;
        for record in &records[run.start as usize..run.end as usize] {
            file.write(record)?;
        }
        let name = format!("raw_data/{}", shard_name(shard, shards));
        let digest = store.put(&name, file.finish()?.into()).await?;
        infos.push(ShardInfo { file: name, rows: run.end - run.start, digest });
    }
    publish_metadata(store, schema, infos).await
}

/// Writes `metadata.json` of shards that are there already.
///
/// # Errors
/// Those of the store and the codecs.
pub async fn publish_metadata(store: Store, schema: &Schema, shards: Vec<ShardInfo>) -> Result<Dataset> {
    let metadata = DatasetMetadata {
        format_version: DATASET_FORMAT_VERSION,
        total_examples: shards.iter().map(|shard| shard.rows).sum(),
        data_pattern: format!("raw_data/data-*-of-{:05}.tfrecord.gz", shards.len()),
        shards,
        features: DatasetMetadata::features_of(schema),
        schema_digest: schema.record_digest(),
        period: None,
        filters: Default::default(),
        counts: Vec::new(),
    };
    store.put(METADATA_FILE, metadata.to_json()?.into()).await?;
    Dataset::open(store).await
}
