//! Small datasets in memory, written and read as shards.

use recs_core::dataset::{DATASET_FORMAT_VERSION, Dataset, DatasetMetadata, METADATA_FILE, ShardInfo};
use recs_core::example::RowWriter;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::{Schema, Value};
use recs_core::store::Store;
use recs_core::tfrecord::{RecordWriter, ShardPlan, shard_name};
use recs_core::vocab::Vocabulary;
use recs_train::{LoadOptions, TrainData};
use std::sync::Arc;

/// One purchase.
#[derive(Debug, Clone)]
pub(super) struct Purchase {
    pub(super) customer: String,
    pub(super) city: String,
    pub(super) revenue: f32,
    pub(super) timestamp: i64,
    pub(super) product: i64,
    pub(super) name: String,
    pub(super) category: String,
    pub(super) subcategory: String,
}

pub(super) async fn dataset(rows: &[Purchase], shards: usize) -> Dataset {
    use Value::{Float, Int64, Text};
    let (store, schema) = (Store::memory(), Schema::retail());
    let plan = ShardPlan::new(rows.len() as u64, shards).unwrap();
    let mut infos = Vec::new();
    for shard in 0..shards {
        let mut file = RecordWriter::gzip(Vec::new(), 6).unwrap();
        let run = plan.rows(shard);
        for p in &rows[run.start as usize..run.end as usize] {
            let row = [
                Text(&p.customer),
                Text(&p.city),
                Float(p.revenue),
                Int64(p.timestamp),
                Int64(p.product),
                Text(&p.name),
                Text(&p.category),
                Text(&p.subcategory),
            ];
            let mut record = Vec::new();
            RowWriter::new(&schema).write(&row, &mut record).unwrap();
            file.write(&record).unwrap();
        }
        let name = format!("raw_data/{}", shard_name(shard, shards));
        let digest = store.put(&name, file.finish().unwrap().into()).await.unwrap();
        infos.push(ShardInfo { file: name, rows: run.end - run.start, digest });
    }
    let metadata = DatasetMetadata {
        format_version: DATASET_FORMAT_VERSION,
        total_examples: rows.len() as u64,
        data_pattern: "raw_data/*".into(),
        shards: infos,
        features: DatasetMetadata::features_of(&schema),
        schema_digest: schema.record_digest(),
        period: None,
        filters: serde_json::Map::default(),
        counts: Vec::new(),
    };
    store.put(METADATA_FILE, metadata.to_json().unwrap().into()).await.unwrap();
    Dataset::open(store).await.unwrap()
}

pub(super) async fn load(dataset: &Dataset, schema: &Schema, vocabulary: &Arc<Vocabulary>) -> Arc<TrainData> {
    let vocabulary = Arc::clone(vocabulary);
    Arc::new(
        TrainData::load(
            dataset,
            schema,
            vocabulary,
            &LoadOptions::in_memory(2),
            Arc::new(Silent),
            &CancelToken::new(),
        )
        .await
        .unwrap(),
    )
}

/// Customers who buy from their own group of products: something to learn. `days` days, one purchase a customer a day.
pub(super) fn groups(customers: usize, products: usize, days: i64) -> Vec<Purchase> {
    let mut rows = Vec::new();
    for day in 0..days {
        for customer in 0..customers {
            let group = customer % 4;
            let hash = recs_core::hash::fingerprint64(format!("{day}/{customer}").as_bytes()) as usize;
            let product = (hash % (products / 4)) * 4 + group;
            rows.push(Purchase {
                customer: format!("c{customer}"),
                city: format!("city{}", customer % 5),
                revenue: 10.0 + customer as f32,
                timestamp: 1_500_000_000 + day * 86_400,
                product: product as i64,
                name: format!("product {product}"),
                category: format!("group{}", product % 4),
                subcategory: format!("sub{}", product % 8),
            });
        }
    }
    // The random split goes by file order.
    rows.sort_by_key(|p| {
        recs_core::hash::fingerprint64(format!("{}{}{}", p.customer, p.timestamp, p.product).as_bytes())
    });
    rows
}
