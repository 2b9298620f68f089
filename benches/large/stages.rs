//! Shards -> vocabulary -> mapped rows -> model.

use crate::Failure;
use crate::args::{Args, Stage};
use crate::generate;
use crate::meter::{Meter, Report};
use recs_core::Error;
use recs_core::dataset::Dataset;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_core::tfrecord::ShardPlan;
use recs_core::vocab::{MAX_VOCABULARY_BYTES, VOCABULARY_FILE, Vocabulary, VocabularyConfig};
use recs_train::{Evaluation, Fitted, LoadOptions, TrainConfig, TrainData, Trainer};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A folder of encoded rows that is whole has this file.
const COLUMNS: &str = "columns.json";

/// Runs the stages that are wanted.
pub(crate) async fn run(args: &Args) -> Result<Report, Failure> {
    let meter = Meter::start()?;
    let mut results = Map::from_iter([("rows".to_owned(), json!(args.rows))]);
    let dataset = generated(args, &meter).await?;
    if args.until >= Stage::Vocabulary {
        let vocabulary = vocabulary(args, &dataset, &meter).await?;
        if args.until >= Stage::Load {
            let config = config(args)?;
            let data = loaded(args, &dataset, &config, &vocabulary, &meter).await?;
            if args.until >= Stage::Train {
                results.extend(trained(args, data, config, vocabulary, &meter).await?);
            }
        }
    }
    Ok(meter.finish(results))
}

/// Several numbers of rows can lie beside each other.
fn store(args: &Args) -> Result<Store, Failure> {
    let folder = args.folder.join(format!("rows-{}", args.rows));
    std::fs::create_dir_all(&folder)?;
    Ok(Store::local(&folder)?)
}

async fn generated(args: &Args, meter: &Meter) -> Result<Dataset, Failure> {
    let (store, plan) = (store(args)?, ShardPlan::new(args.rows, usize::try_from(args.shards())?)?);
    match Dataset::open(store.clone()).await {
        Err(Error::NotFound { .. }) => {
            meter.begin("generate", args.rows);
            generate::dataset(store, plan, args.parallelism()).await
        }
        opened => {
            meter.begin("generate", 0);
            Ok(opened?)
        }
    }
}

async fn vocabulary(args: &Args, dataset: &Dataset, meter: &Meter) -> Result<Arc<Vocabulary>, Failure> {
    let (store, schema) = (store(args)?, Schema::retail());
    match store.get(VOCABULARY_FILE, MAX_VOCABULARY_BYTES).await {
        Err(Error::NotFound { .. }) => {
            meter.begin("vocabulary", args.rows);
            let (whole, cancel) = (VocabularyConfig::default(), CancelToken::new());
            let (readers, quiet) = (args.parallelism(), Arc::new(Silent));
            let made = Vocabulary::build(dataset, &schema, &whole, readers, quiet, &cancel).await?;
            store.put(VOCABULARY_FILE, made.to_json(&schema)?.into()).await?;
            Ok(Arc::new(made))
        }
        read => {
            meter.begin("vocabulary", 0);
            Ok(Arc::new(Vocabulary::parse(&read?, &schema, VOCABULARY_FILE)?))
        }
    }
}

fn config(args: &Args) -> Result<TrainConfig, Failure> {
    let overrides = json!({
        "preset": args.preset, "split": "random", "epochs": args.epochs, "batch": args.batch,
        "test_rows": args.test_rows, "threads": args.threads,
    });
    Ok(TrainConfig::from_overrides(overrides.as_object().unwrap_or(&Map::new()))?)
}

async fn loaded(
    args: &Args,
    dataset: &Dataset,
    config: &TrainConfig,
    vocabulary: &Arc<Vocabulary>,
    meter: &Meter,
) -> Result<TrainData, Failure> {
    let cache = args.folder.join(format!("rows-{}", args.rows)).join("cache");
    let whole =
        |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|e| e.path().join(COLUMNS).exists());
    let made = std::fs::read_dir(&cache).is_ok_and(|mut entries| entries.any(whole));
    meter.begin("load", if made { 0 } else { args.rows });
    let options = LoadOptions { parallelism: args.parallelism(), cache: Some(cache) };
    let (schema, cancel) = (config.model(&Schema::retail())?.schema, CancelToken::new());
    let vocabulary = Arc::clone(vocabulary);
    Ok(TrainData::load(dataset, &schema, vocabulary, &options, Arc::new(Silent), &cancel).await?)
}

async fn trained(
    args: &Args,
    data: TrainData,
    config: TrainConfig,
    vocabulary: Arc<Vocabulary>,
    meter: &Meter,
) -> Result<Map<String, Value>, Failure> {
    meter.begin("train", args.rows * args.epochs as u64);
    let model = config.model(&Schema::retail())?;
    let fitted = Trainer::new(Arc::new(data), model, vocabulary, config)?.fit(meter, &CancelToken::new())?;
    let results = summary(&fitted);
    meter.begin("publish", args.rows);
    let root = store(args)?.tenant(&TenantId::new("large")?)?;
    for file in root.store().list("").await? {
        root.store().delete(&file).await?;
    }
    fitted.into_artifact("large")?.publish(&root, "2018-01-02T00:00:00Z").await?;
    Ok(results)
}

fn summary(fitted: &Fitted) -> Map<String, Value> {
    let recall = |of: &Evaluation| json!(of.recall_at_100);
    Map::from_iter([
        ("examples_per_s".into(), json!(fitted.examples_per_s().round())),
        ("loss".into(), json!(fitted.history.last().map(|epoch| epoch.loss))),
        ("train_rows".into(), json!(fitted.split.before_test().len())),
        ("test_rows".into(), json!(fitted.split.test.len())),
        ("test_rows_scored".into(), json!(fitted.test.rows)),
        ("recall_at_100".into(), recall(&fitted.test)),
        ("popularity_recall_at_100".into(), recall(&fitted.popularity)),
        ("parameters".into(), json!(fitted.weights.parameters())),
    ])
}
