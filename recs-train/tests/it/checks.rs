//! What a training, a search or a judgement cannot work with is refused before its first step, by name.

use super::shards::{Purchase, dataset, groups};
use super::trainer::{fit, loaded, small, trainer};
use recs_core::dataset::{Dataset, DatasetMetadata, METADATA_FILE};
use recs_core::model::ModelConfig;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_core::schema::{Encoding, Schema};
use recs_core::store::Store;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::data::{HoldOut, SplitKind};
use recs_train::schedule::{Decay, ScheduleConfig};
use recs_train::search::{Search, SearchConfig};
use recs_train::trainer::{EpochStats, TrendConfig, evaluate_artifact};
use recs_train::{
    EarlyStopping, Error, EvaluateOptions, Examples, LoadOptions, TrainConfig, TrainData, Trainer,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn reference() -> TrainConfig {
    TrainConfig { epochs: 1, ..small(TrainConfig::reference()) }
}

/// The configuration's message.
pub(super) fn refused<T>(result: Result<T, Error>) -> String {
    match result {
        Err(e @ Error::Config { .. }) => e.to_string(),
        Err(e) => panic!("{e:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

/// As many ids and numbers a row, of other fields or bins.
#[tokio::test]
async fn data_that_were_encoded_otherwise_are_refused() {
    let config = reference();
    let (data, model, vocabulary) = loaded(&groups(20, 40, 25), &config).await;
    let new = |model: &ModelConfig| {
        Trainer::new(Arc::clone(&data), model.clone(), Arc::clone(&vocabulary), config.clone())
    };
    new(&model).unwrap();
    let (mut fields, mut bins, mut widths) = (model.clone(), model.clone(), model);
    fields.schema.candidate.swap(1, 2);
    let message = refused(new(&fields));
    assert!(
        message.contains("[ids of product_id; ids of subcategory; ids of category]")
            && message.contains("[ids of product_id; ids of category; ids of subcategory]"),
        "{message}"
    );
    for encoding in &mut bins.schema.query {
        if let Encoding::Cross { bins, .. } = encoding {
            *bins -= 1;
        }
    }
    let message = refused(new(&bins));
    assert!(message.contains("in 4999 bins") && message.contains("in 5000 bins"), "{message}");
    for encoding in &mut widths.schema.candidate {
        if let Encoding::Embedding { dim, .. } = encoding {
            *dim += 1;
        }
    }
    new(&widths).unwrap().fit(&Silent, &CancelToken::new()).unwrap();
}

#[tokio::test]
async fn data_of_another_vocabulary_are_refused() {
    let config = TrainConfig { epochs: 1, ..small(TrainConfig::recommended()) };
    let rows = groups(20, 40, 25);
    let (data, model, vocabulary) = loaded(&rows, &config).await;
    let renamed = |row: &Purchase| Purchase { product: row.product + 1, ..row.clone() };
    let others: Vec<Purchase> = rows.iter().map(renamed).collect();
    let (theirs, _, other) = loaded(&others, &config).await;
    let message = refused(Trainer::new(Arc::clone(&data), model, Arc::clone(&other), config.clone()));
    assert!(message.contains("`vocabulary`") && message.contains("of product_id than"), "{message}");
    let space: SearchConfig = serde_json::from_value(
        json!({"space": {"learning_rate": {"kind": "uniform", "low": 0.01, "high": 0.02}}}),
    )
    .unwrap();
    let search = Search::new([Arc::clone(&data)], &Schema::retail(), other, config.clone(), space);
    assert!(refused(search).contains("product_id"));
    let artifact = fit(&rows, config).await.into_artifact("v1").unwrap();
    let judge = |data: &TrainData| {
        let (options, cancel) = (EvaluateOptions::default(), CancelToken::new());
        evaluate_artifact(&artifact, data, SplitKind::Time, &options, 2, &Silent, &cancel)
    };
    judge(&data).unwrap();
    assert!(refused(judge(&theirs)).contains("product_id"));
    // As it comes back from its file.
    let json = vocabulary.to_json(&artifact.config.schema).unwrap();
    let read = Vocabulary::parse(&json, &artifact.config.schema, "vocabularies.json").unwrap();
    data.check_vocabulary(&read).unwrap();
}

#[tokio::test]
async fn data_from_a_cache_know_what_they_were_encoded_with() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, schema, cancel) =
        (dataset(&groups(20, 40, 25), 3).await, Schema::retail(), CancelToken::new());
    let sizes = VocabularyConfig { revenue_buckets: 10, timestamp_buckets: 5, ..VocabularyConfig::default() };
    let built = Vocabulary::build(&dataset, &schema, &sizes, 2, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let model = reference().model(&schema).unwrap();
    let mut other = model.clone();
    other.schema.candidate.swap(1, 2);
    let options = LoadOptions { parallelism: 1, cache: Some(folder.path().into()) };
    for _ in ["made", "opened"] {
        let vocabulary = Arc::clone(&vocabulary);
        let data = TrainData::load(&dataset, &schema, vocabulary, &options, Arc::new(Silent), &cancel).await;
        let data = data.unwrap();
        data.check(&model).unwrap();
        assert!(refused(data.check(&other)).contains("ids of subcategory"));
    }
}

#[tokio::test]
async fn columns_that_were_changed_by_hand_are_refused() {
    let (data, model, vocabulary) = loaded(&groups(20, 40, 25), &reference()).await;
    type Change = fn(&mut TrainData);
    let changes: [(&str, Change); 4] = [
        ("customer", |data| data.customer = Vec::new().into()),
        ("timestamp", |data| data.timestamp = data.timestamp[1..].to_vec().into()),
        ("query.ids", |data| data.query.ids = data.query.ids[1..].to_vec().into()),
        ("catalogue.category", |data| data.catalogue.category.truncate(3)),
    ];
    for (column, change) in changes {
        let mut changed = TrainData::clone(&data);
        change(&mut changed);
        let error =
            Trainer::new(Arc::new(changed), model.clone(), Arc::clone(&vocabulary), reference()).unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("`{column}`")), "{error}");
    }
}

#[tokio::test]
async fn more_rows_than_have_numbers_are_refused_before_they_are_read() {
    let small = dataset(&groups(20, 40, 25), 1).await;
    let mut metadata: DatasetMetadata = small.metadata().clone();
    metadata.total_examples = (1 << 32) + 5;
    metadata.shards[0].rows = metadata.total_examples;
    let store = Store::memory();
    store.put(METADATA_FILE, metadata.to_json().unwrap().into()).await.unwrap();
    let large = Dataset::open(store).await.unwrap();
    let (schema, cancel, sizes) = (Schema::retail(), CancelToken::new(), VocabularyConfig::default());
    let built = Vocabulary::build(&small, &schema, &sizes, 1, Arc::new(Silent), &cancel).await;
    let (vocabulary, options) = (Arc::new(built.unwrap()), LoadOptions::in_memory(1));
    let loaded = TrainData::load(&large, &schema, vocabulary, &options, Arc::new(Silent), &cancel).await;
    assert!(
        matches!(loaded, Err(recs_core::Error::TooLarge { size, .. }) if size == (1 << 32) + 5),
        "{loaded:?}"
    );
}

/// The setting that is refused, and settings that make it so.
fn contradictions() -> Vec<(&'static str, Value, TrainConfig)> {
    let trend = serde_json::to_value(TrendConfig::default()).unwrap();
    let plateau = json!({"factor": 0.5, "patience": 1, "lowest": 0.0});
    let recommended = small(TrainConfig::recommended());
    let random = TrainConfig { split: SplitKind::Random, ..recommended.clone() };
    let towers = TrainConfig { repeat: None, ..recommended.clone() };
    let norm = json!({"kind": "per_variable", "norm": 1.0});
    vec![
        ("train.trend", json!({"trend": trend}), TrainConfig { split: SplitKind::Time, ..reference() }),
        ("train.trend", json!({"trend": trend}), random),
        ("train.schedule.plateau", json!({"schedule.plateau": plateau}), towers),
        ("train.clip.kind", json!({"clip": norm}), recommended),
        ("train.clip.kind", json!({"examples": {"kind": "customers"}}), reference()),
    ]
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_before_the_first_step() {
    let rows = groups(20, 40, 40);
    for (setting, settings, base) in contradictions() {
        let (data, model, vocabulary) = loaded(&rows, &base).await;
        let mut overrides = settings.clone();
        if let Some(plateau) = settings.get("schedule.plateau") {
            overrides = json!({"schedule": {"plateau": plateau}});
        }
        let message = match base.with_overrides(overrides.as_object().unwrap()) {
            Ok(config) => refused(Trainer::new(Arc::clone(&data), model, Arc::clone(&vocabulary), config)),
            Err(e) => e.to_string(),
        };
        assert!(message.contains(&format!("`{setting}`")), "{message}");
        // One trial of a search: none is trained.
        let listed = json!({"algorithm": {"kind": "listed", "trials": [{"seed": 5}, settings]}});
        let listed: SearchConfig = serde_json::from_value(listed).unwrap();
        let message = refused(Search::new([data], &Schema::retail(), vocabulary, base, listed));
        assert!(message.contains("trial 2") && message.contains(setting), "{message}");
    }
}

#[tokio::test]
async fn a_training_without_a_step_is_no_success() {
    let mut config = TrainConfig { epochs: 2, repeat: None, ..small(TrainConfig::recommended()) };
    config.examples = Examples::Customers(HoldOut { share: 1e-9, ..HoldOut::default() });
    let ended = trainer(&groups(20, 40, 25), config).await.fit(&Silent, &CancelToken::new());
    let Err(error @ Error::Data { .. }) = ended else { panic!("{ended:?}") };
    assert!(error.to_string().contains("train.examples.share"), "{error}");
}

#[tokio::test]
async fn what_needs_validation_rows_says_that_there_are_none() {
    let mut rows = groups(20, 40, 40);
    let last = rows.iter().map(|row| row.timestamp).max().unwrap();
    rows.retain(|row| row.timestamp <= last - 14 * 86_400 || row.timestamp > last - 7 * 86_400);
    let (asks, events) = (TrainConfig { epochs: 2, ..small(TrainConfig::recommended()) }, Collect::default());
    let fitted = trainer(&rows, asks.clone()).await.fit(&events, &CancelToken::new()).unwrap();
    assert!(fitted.repeat.is_none() && fitted.refit_history.is_empty());
    let warned = |events: &Collect| {
        let of =
            |e: &Event| matches!(e, Event::Warning { message, .. } if message.contains("no validation rows"));
        events.events().iter().any(of)
    };
    assert!(warned(&events));
    let (plain, events) = (TrainConfig { repeat: None, ..asks }, Collect::default());
    trainer(&rows, plain).await.fit(&events, &CancelToken::new()).unwrap();
    assert!(!warned(&events));
}

/// The rate of each step is what the choosing run had there, however many epochs it went on for.
#[tokio::test]
async fn a_refit_repeats_the_rates_of_the_chosen_weights() {
    let rows = groups(20, 40, 30);
    let schedule = ScheduleConfig { decay: Decay::Linear, ..ScheduleConfig::constant() };
    let stops = TrainConfig {
        epochs: 40,
        schedule,
        early_stopping: Some(EarlyStopping { patience: 4 }),
        repeat: None,
        ..small(TrainConfig::recommended())
    };
    let fitted = fit(&rows, stops.clone()).await;
    assert!(fitted.epochs < 30, "{}", fitted.epochs);
    // The same rows and the whole schedule.
    let whole = fit(&rows, TrainConfig { early_stopping: None, ..stops }).await;
    let losses = |epochs: &[EpochStats]| epochs.iter().map(|epoch| epoch.loss).collect::<Vec<f64>>();
    assert_eq!(losses(&fitted.refit_history), losses(&whole.history)[..fitted.epochs]);
}

/// What shares a bias starts where all of it puts it.
#[tokio::test]
async fn a_bias_of_categories_starts_at_the_rows_of_all_their_products() {
    let mut rows = groups(30, 80, 40);
    rows.retain(|row| row.category != "group1" || row.product % 3 == 0);
    let mut config = TrainConfig { epochs: 1, repeat: None, ..small(TrainConfig::recommended()) };
    // It stays where it starts.
    config.learning_rate = 1e-12;
    let bias = Encoding::Bias { name: "bias".into(), field: "category".into() };
    let embedding =
        Encoding::Embedding { name: "product_id".into(), field: "product_id".into(), dim: 255, table: None };
    config.encodings.candidate = Some(vec![embedding, bias]);
    let fitted = fit(&rows, config.clone()).await;
    let (data, ..) = loaded(&rows, &config).await;
    let mut counts = BTreeMap::<u32, f64>::new();
    for &row in &fitted.split.before_test() {
        *counts.entry(data.catalogue.category[data.product[row as usize] as usize]).or_default() += 1.0;
    }
    let mean = counts.values().map(|n| n.ln_1p()).sum::<f64>() / counts.len() as f64;
    assert_eq!(counts.len(), 4);
    let table = fitted.weights.candidate.embeddings.last().unwrap();
    for (id, n) in counts {
        let started = f64::from(table[[id as usize, 0]]);
        assert!((started - (n.ln_1p() - mean)).abs() < 1e-4, "{started} of {n} rows");
    }
}

#[tokio::test]
async fn another_report_is_on_as_many_test_rows() {
    let config = TrainConfig { epochs: 1, test_rows: 20, ..small(TrainConfig::recommended()) };
    let fitted = fit(&groups(20, 40, 40), config).await;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let again = fitted.report(&EvaluateOptions::default(), &pool, &CancelToken::new()).unwrap();
    assert_eq!((again.0.rows, again.1.rows), (20, 20));
    assert_eq!(again.0.ranks, fitted.test.ranks);
}
