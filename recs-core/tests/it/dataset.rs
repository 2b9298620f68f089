//! Reading a dataset: digests, counts and schema are checked.

use recs_core::Error;
use recs_core::dataset::{DATASET_FORMAT_VERSION, Dataset, DatasetMetadata, METADATA_FILE, ShardInfo};
use recs_core::example::RowWriter;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::{Schema, Value};
use recs_core::store::Store;
use recs_core::tfrecord::{RecordWriter, ShardPlan, shard_name};
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn write(store: &Store, rows: u64, shards: usize) -> DatasetMetadata {
    let (schema, plan) = (Schema::retail(), ShardPlan::new(rows, shards).unwrap());
    let writer = RowWriter::new(&schema);
    let mut infos = Vec::new();
    for shard in 0..shards {
        let mut file = RecordWriter::gzip(Vec::new(), 6).unwrap();
        for i in plan.rows(shard) {
            use Value::{Float, Int64, Text};
            let customer = (i % 7).to_string();
            let row = [
                Text(&customer),
                Text("x"),
                Float(i as f32),
                Int64(1_500_000_000 + i as i64),
                Int64(i as i64 % 5),
                Text("n"),
                Text("c"),
                Text("s"),
            ];
            let mut record = Vec::new();
            writer.write(&row, &mut record).unwrap();
            file.write(&record).unwrap();
        }
        let name = format!("raw_data/{}", shard_name(shard, shards));
        let digest = store.put(&name, file.finish().unwrap().into()).await.unwrap();
        let rows = plan.rows(shard);
        infos.push(ShardInfo { file: name, rows: rows.end - rows.start, digest });
    }
    let metadata = DatasetMetadata {
        format_version: DATASET_FORMAT_VERSION,
        total_examples: rows,
        data_pattern: format!("raw_data/data-*-of-{shards:05}.tfrecord.gz"),
        shards: infos,
        features: DatasetMetadata::features_of(&schema),
        schema_digest: schema.record_digest(),
        period: None,
        filters: serde_json::Map::default(),
        counts: Vec::new(),
    };
    store.put(METADATA_FILE, metadata.to_json().unwrap().into()).await.unwrap();
    metadata
}

async fn revenues(store: &Store) -> Result<Vec<Vec<f32>>, Error> {
    let dataset = Dataset::open(store.clone()).await?;
    let take = |all: &mut Vec<f32>, row: &[Value<'_>]| {
        if let Value::Float(x) = row[2] {
            all.push(x);
        }
        Ok(())
    };
    dataset.fold_rows(&Schema::retail(), 3, &CancelToken::new(), |_| Vec::new(), take).await
}

#[tokio::test]
async fn rows_come_in_file_order_whatever_the_parallelism() {
    let store = Store::memory();
    write(&store, 100, 7).await;
    let read: Vec<f32> = revenues(&store).await.unwrap().concat();
    assert_eq!(read, (0..100).map(|i| i as f32).collect::<Vec<_>>());
}

/// A shard's result that counts how many of its kind are alive.
struct Counted {
    file: String,
    rows: u64,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn new(file: &str, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { file: file.into(), rows: 0, alive: Arc::clone(alive) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn results_are_merged_in_shard_order_and_no_more_are_held_than_shards_are_in_flight() {
    let store = Store::memory();
    let metadata = write(&store, 90, 20).await;
    let dataset = Dataset::open(store).await.unwrap();
    let (schema, cancel, alive) = (Schema::retail(), CancelToken::new(), Arc::new(AtomicUsize::new(0)));
    let count = |counted: &mut Counted, _: &[Value<'_>]| {
        counted.rows += 1;
        Ok(())
    };
    for parallelism in [1, 3] {
        let mut merged = Vec::new();
        let merge = |counted: Counted| {
            assert!(alive.load(Ordering::SeqCst) <= parallelism);
            merged.push((counted.file.clone(), counted.rows));
            Ok(())
        };
        let start = |shard: &ShardInfo| Counted::new(&shard.file, &alive);
        dataset.merge_rows(&schema, parallelism, &cancel, start, count, merge).await.unwrap();
        let expected: Vec<_> = metadata.shards.iter().map(|s| (s.file.clone(), s.rows)).collect();
        assert_eq!(merged, expected);
    }
    let refuse = |counted: Counted| Err(Error::corrupt(counted.file.clone(), "refused"));
    let start = |shard: &ShardInfo| Counted::new(&shard.file, &alive);
    let error = dataset.merge_rows(&schema, 3, &cancel, start, count, refuse).await.unwrap_err();
    assert!(error.to_string().contains(&metadata.shards[0].file), "{error}");
}

#[tokio::test]
async fn a_changed_shard_is_refused_even_if_it_is_a_valid_file() {
    let store = Store::memory();
    let metadata = write(&store, 20, 2).await;
    let other = Store::memory();
    write(&other, 18, 2).await;
    let swapped = other.get(&metadata.shards[1].file, 1 << 20).await.unwrap();
    store.put(&metadata.shards[1].file, swapped).await.unwrap();
    let error = revenues(&store).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert!(error.to_string().contains("data-00001-of-00002"));
    // One that goes on and on is not read to its end.
    let longer = Store::memory();
    write(&longer, 22, 2).await;
    let swapped = longer.get(&metadata.shards[1].file, 1 << 20).await.unwrap();
    store.put(&metadata.shards[1].file, swapped).await.unwrap();
    let error = revenues(&store).await.unwrap_err();
    assert!(error.to_string().contains("more than the 10 records"), "{error}");
    store.delete(&metadata.shards[0].file).await.unwrap();
    assert!(matches!(revenues(&store).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn metadata_that_contradicts_itself_or_the_schema_is_refused() {
    let store = Store::memory();
    let good = write(&store, 20, 2).await;
    let mut wrong = good.clone();
    wrong.total_examples = 21;
    store.put(METADATA_FILE, wrong.to_json().unwrap().into()).await.unwrap();
    assert!(matches!(Dataset::open(store.clone()).await, Err(Error::Corrupt { .. })));
    let mut wrong = good.clone();
    wrong.format_version = 99;
    store.put(METADATA_FILE, wrong.to_json().unwrap().into()).await.unwrap();
    assert!(matches!(Dataset::open(store.clone()).await, Err(Error::Version { got: 99, .. })));
    let mut wrong = good;
    wrong.features.retain(|f| f.record != "city");
    store.put(METADATA_FILE, wrong.to_json().unwrap().into()).await.unwrap();
    let error = revenues(&store).await.unwrap_err();
    assert!(error.to_string().contains("column `city` of field `city` is missing"), "{error}");
}

#[tokio::test]
async fn a_cancelled_read_stops() {
    let store = Store::memory();
    write(&store, 5000, 1).await;
    let dataset = Dataset::open(store).await.unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let read = dataset.fold_rows(&Schema::retail(), 1, &cancel, |_| (), |(), _| Ok(())).await;
    assert!(matches!(read, Err(Error::Cancelled)));
}

#[tokio::test]
async fn the_vocabulary_of_a_dataset_does_not_depend_on_parallelism() {
    let store = Store::memory();
    write(&store, 500, 9).await;
    let dataset = Dataset::open(store).await.unwrap();
    let schema = Schema::retail();
    let mut files = Vec::new();
    for parallelism in [1, 4] {
        let config = VocabularyConfig::default();
        let cancel = CancelToken::new();
        let built = Vocabulary::build(&dataset, &schema, &config, parallelism, Arc::new(Silent), &cancel);
        files.push(built.await.unwrap().to_json(&schema).unwrap());
    }
    assert_eq!(files[0], files[1]);
}

#[tokio::test]
async fn a_shard_that_is_listed_twice_is_refused() {
    let store = Store::memory();
    let mut metadata = write(&store, 20, 2).await;
    metadata.shards[1] = metadata.shards[0].clone();
    let error = DatasetMetadata::parse(&metadata.to_json().unwrap(), METADATA_FILE).unwrap_err().to_string();
    assert!(error.contains("data-00000-of-00002") && error.contains("twice"), "{error}");
}
