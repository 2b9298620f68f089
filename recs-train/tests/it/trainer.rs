//! Whole runs on small data.

use super::shards::{Purchase, dataset, groups, load};
use recs_core::model::ModelConfig;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_core::schema::{Encoding, Schema};
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::data::{Split, SplitKind};
use recs_train::trainer::{Seen, TrendConfig, evaluate_artifact};
use recs_train::{
    EarlyStopping, Error, EvaluateOptions, Evaluation, Fitted, TrainConfig, TrainData, Trainer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) async fn trainer(rows: &[Purchase], config: TrainConfig) -> Trainer {
    let (data, model, vocabulary) = loaded(rows, &config).await;
    Trainer::new(data, model, vocabulary, config).unwrap()
}

pub(super) async fn loaded(
    rows: &[Purchase],
    config: &TrainConfig,
) -> (Arc<TrainData>, ModelConfig, Arc<Vocabulary>) {
    let schema = Schema::retail();
    let dataset = dataset(rows, 3).await;
    let small = VocabularyConfig { revenue_buckets: 10, timestamp_buckets: 5, ..VocabularyConfig::default() };
    let cancel = CancelToken::new();
    let vocabulary =
        Vocabulary::build(&dataset, &schema, &small, 2, Arc::new(Silent), &cancel).await.unwrap();
    let vocabulary = Arc::new(vocabulary);
    let model = config.model(&schema).unwrap();
    let data = load(&dataset, &model.schema, &vocabulary).await;
    (data, model, vocabulary)
}

pub(super) fn small(mut config: TrainConfig) -> TrainConfig {
    (config.batch, config.threads) = (config.batch.min(64), 2);
    config
}

pub(super) async fn fit(rows: &[Purchase], config: TrainConfig) -> Fitted {
    trainer(rows, config).await.fit(&Silent, &CancelToken::new()).unwrap()
}

#[tokio::test]
async fn learns_what_popularity_cannot_know() {
    let rows = groups(60, 800, 40);
    for split in [SplitKind::Random, SplitKind::Time] {
        let mut config = small(TrainConfig::recommended());
        (config.split, config.epochs) = (split, 12);
        let fitted = fit(&rows, config).await;
        let (ours, popular) = (fitted.test.recall_at_100.unwrap(), fitted.popularity.recall_at_100.unwrap());
        // A customer buys from 200 of the 800 products: knowing the group gives 0.5, popularity about 0.13.
        assert!(ours > 0.4 && ours > 2.0 * popular, "{split:?}: {ours} beside {popular}");
        assert!(fitted.test.personalisation.unwrap() > 0.3);
        assert_eq!(fitted.test.rows, fitted.split.test.len() as u64);
    }
}

/// Products of the first group sell only in the last days before the test.
#[tokio::test]
async fn a_trend_moves_biases_by_the_rows_of_the_last_days() {
    let mut rows = groups(60, 80, 40);
    let end = rows.iter().map(|r| r.timestamp).max().unwrap() - 7 * 86_400;
    rows.retain(|r| r.product % 4 != 0 || r.timestamp > end - 5 * 86_400);
    let trend = TrendConfig { days: 5, prior: 2.0, strength: 0.7 };
    let without = TrainConfig { epochs: 2, trend: None, ..small(TrainConfig::recommended()) };
    let with = TrainConfig { trend: Some(trend), ..without.clone() };
    let (data, ..) = loaded(&rows, &without).await;
    let [plain, moved] = [fit(&rows, without.clone()).await, fit(&rows, with.clone()).await];
    assert_eq!(plain.weights.query, moved.weights.query);
    let biases = |fitted: &Fitted| -> Vec<f64> {
        let table = fitted.weights.candidate.embeddings.last().unwrap();
        data.catalogue.ids.iter().map(|&id| f64::from(table[[id as usize, 0]])).collect()
    };
    let mut expected = vec![[0.0f64; 2]; data.catalogue.len()];
    for &row in &plain.split.before_test() {
        let count = &mut expected[data.product[row as usize] as usize];
        count[0] += 1.0;
        count[1] += f64::from(u8::from(data.timestamp[row as usize] > end - 5 * 86_400));
    }
    let total = |i: usize| expected.iter().map(|count| count[i]).sum::<f64>();
    let share = total(1) / total(0);
    let log = |[all, recent]: [f64; 2]| 0.7 * ((recent + 2.0) / (all * share + 2.0)).ln();
    let mean = expected.iter().map(|&counts| log(counts)).sum::<f64>() / expected.len() as f64;
    let mut furthest = 0.0f64;
    for ((plain, moved), counts) in biases(&plain).into_iter().zip(biases(&moved)).zip(&expected) {
        assert!((moved - plain - (log(*counts) - mean)).abs() < 1e-5);
        furthest = furthest.max((moved - plain).abs());
    }
    assert!(furthest > 0.3, "{furthest}");
}

/// A model is judged against its own catalogue, whatever the dataset holds.
#[tokio::test]
async fn a_published_model_is_judged_as_it_was_at_the_end_of_its_training() {
    let rows = groups(60, 800, 40);
    let mut config = small(TrainConfig::recommended());
    config.epochs = 3;
    let trainer = trainer(&rows, config.clone()).await;
    let fitted = trainer.fit(&Silent, &CancelToken::new()).unwrap();
    let (expected, popular) = (fitted.test.clone(), fitted.popularity.clone());
    let artifact = fitted.into_artifact("v1").unwrap();
    let judge = async |rows: &[Purchase], split| {
        let dataset = dataset(rows, 3).await;
        let data = load(&dataset, &artifact.config.schema, &artifact.vocabulary).await;
        let (events, options) = (Collect::default(), EvaluateOptions::default());
        let judged =
            evaluate_artifact(&artifact, &data, split, &options, 2, &events, &CancelToken::new()).unwrap();
        let warned = events.events().iter().any(|e| matches!(e, Event::Warning { .. }));
        (judged, warned)
    };
    let ((test, popularity), warned) = judge(&rows, SplitKind::Time).await;
    let (again, before) = (test.clone(), expected.clone());
    assert_eq!(
        (test.ranks, test.coverage, test.personalisation),
        (expected.ranks, expected.coverage, expected.personalisation)
    );
    let served = |evaluation: &Evaluation| evaluation.with_repeat.as_ref().unwrap().ranks.clone();
    assert_eq!(served(&again), served(&before));
    // Everything else too: what the model knows of customers is what the training's rows say.
    assert_eq!(json(&again), json(&before));
    assert_eq!(before.slices.len(), 4);
    assert_eq!((popularity.ranks, warned), (popular.ranks, false));
    // Purchases of a hundred products only: a hundred places would be enough for all of them.
    let few: Vec<Purchase> = rows.iter().filter(|r| r.product % 8 == 0).cloned().collect();
    let ((test, _), warned) = judge(&few, SplitKind::Random).await;
    assert!(test.rows > 0 && test.recall_at_100.unwrap() < 0.95, "{test:?}");
    assert!(warned, "it was trained with the other split");
}

#[tokio::test]
async fn the_probe_set_is_what_customers_of_the_test_rows_bought() {
    let rows = groups(300, 80, 40);
    let config = TrainConfig { epochs: 1, ..small(TrainConfig::recommended()) };
    let probe = trainer(&rows, config).await.fit(&Silent, &CancelToken::new()).unwrap();
    let probe = probe.into_artifact("v1").unwrap().probe;
    let last = rows.iter().map(|row| row.timestamp).max().unwrap();
    let mut expected: BTreeMap<&str, Vec<&Purchase>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.timestamp > last - 7 * 86_400) {
        expected.entry(&row.customer).or_default().push(row);
    }
    assert!(expected.len() > 256, "{}", expected.len());
    assert_eq!(probe.len(), 256);
    let hash = |customer: &str| recs_core::hash::fingerprint64(customer.as_bytes());
    let highest = probe.iter().map(|asked| hash(&asked.customer_id)).max().unwrap();
    for asked in probe.iter() {
        let bought = expected.remove(asked.customer_id.as_str()).unwrap();
        let products = |of: &mut dyn Iterator<Item = String>| of.collect::<BTreeSet<String>>();
        assert_eq!(
            products(&mut asked.product_ids.iter().cloned()),
            products(&mut bought.iter().map(|row| row.product.to_string()))
        );
        let first = bought.iter().map(|row| row.timestamp).min().unwrap();
        assert_eq!(asked.timestamp, first);
        assert!(bought.iter().any(|row| row.timestamp == first && row.city == asked.city));
    }
    assert!(expected.keys().all(|left| hash(left) > highest));
}

/// Where days of a customer lie on both sides of the split, too.
#[tokio::test]
async fn seen_products_are_those_that_a_published_model_holds() {
    let rows = groups(60, 80, 40);
    for split in [SplitKind::Time, SplitKind::Random] {
        let mut config = small(TrainConfig::recommended());
        (config.epochs, config.split) = (2, split);
        let trainer = trainer(&rows, config).await;
        let (fitted, cancel) = (trainer.fit(&Silent, &CancelToken::new()).unwrap(), CancelToken::new());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let options = EvaluateOptions { seen: Seen::Remove, ..EvaluateOptions::default() };
        let expected = fitted.report(&options, &pool, &cancel).unwrap();
        let (kept, test) = (fitted.test.clone(), fitted.split.test.len() as u64);
        let artifact = fitted.into_artifact("v1").unwrap();
        let dataset = dataset(&rows, 3).await;
        let data = load(&dataset, &artifact.config.schema, &artifact.vocabulary).await;
        let judged = evaluate_artifact(&artifact, &data, split, &options, 2, &Silent, &cancel).unwrap();
        assert_eq!([json(&judged.0), json(&judged.1)], [json(&expected.0), json(&expected.1)]);
        let removed = judged.0;
        assert!(removed.rows_left_out > 0 && removed.rows + removed.rows_left_out == test);
        assert_eq!((kept.rows, kept.rows_left_out), (test, 0));
        let again =
            |e: &Evaluation| e.slices.iter().find(|table| table.by == "purchase").unwrap().slices[0].rows;
        assert_eq!((again(&kept), again(&removed)), (removed.rows_left_out, 0));
        // The repeat term is for products bought before, which are not there.
        assert_eq!(removed.ranks, removed.served().ranks);
    }
}

/// Without what no second run repeats.
fn json(evaluation: &Evaluation) -> String {
    let mut evaluation = Evaluation { seconds: 0.0, ..evaluation.clone() };
    evaluation.with_repeat.iter_mut().for_each(|served| served.seconds = 0.0);
    serde_json::to_string(&evaluation).unwrap()
}

#[tokio::test]
async fn ranks_row_by_row_add_up_to_the_evaluation() {
    let (rows, cancel) = (groups(60, 800, 40), CancelToken::new());
    let mut config = small(TrainConfig::recommended());
    (config.epochs, config.early_stopping) = (2, None);
    let dataset = dataset(&rows, 3).await;
    let (schema, sizes) = (Schema::retail(), VocabularyConfig::default());
    let vocabulary =
        Vocabulary::build(&dataset, &schema, &sizes, 2, Arc::new(Silent), &cancel).await.unwrap();
    let (vocabulary, model) = (Arc::new(vocabulary), config.model(&schema).unwrap());
    let data = load(&dataset, &model.schema, &vocabulary).await;
    let fitted = Trainer::new(data.clone(), model, vocabulary, config).unwrap();
    let fitted = fitted.fit(&Silent, &cancel).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let evaluator = fitted.evaluator(&pool).unwrap();
    let [towers, with_repeat] = evaluator.ranks(&fitted.split.test, &cancel).unwrap();
    let served = fitted.test.with_repeat.as_ref().unwrap();
    assert_eq!([towers.len(), with_repeat.len()], [fitted.split.test.len(); 2]);
    for (ranks, k, recall) in [
        (&towers, 5, fitted.test.recall_at_5),
        (&towers, 100, fitted.test.recall_at_100),
        (&with_repeat, 5, served.recall_at_5),
        (&with_repeat, 100, served.recall_at_100),
    ] {
        let hits = ranks.iter().filter(|rank| rank.is_some_and(|rank| rank < k)).count();
        assert_eq!(hits as f64 / ranks.len() as f64, recall.unwrap());
    }
    // One row alone is ranked as it is among others.
    let last = fitted.split.test[fitted.split.test.len() - 1];
    let n = towers.len() - 1;
    assert_eq!(evaluator.ranks(&[last], &cancel).unwrap(), [towers[n..].to_vec(), with_repeat[n..].to_vec()]);
}

#[tokio::test]
async fn test_rows_leave_training_alone_and_say_how_many_were_scored() {
    let rows = groups(60, 800, 40);
    let mut config = small(TrainConfig::reference());
    config.epochs = 1;
    let whole = fit(&rows, config.clone()).await;
    config.test_rows = 33;
    let some = fit(&rows, config).await;
    assert_eq!((some.test.rows, some.popularity.rows), (33, 33));
    assert_eq!(some.weights, whole.weights);
    let test = &some.split.test;
    assert_eq!(*test, whole.split.test);
    let spread: Vec<u32> = (0..33).map(|i| test[i * test.len() / 33]).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let judged = whole.evaluator(&pool).unwrap().evaluate(&spread, &CancelToken::new()).unwrap();
    assert_eq!((judged.mrr, judged.recall_at_100), (some.test.mrr, some.test.recall_at_100));
    assert!(some.popularity.mrr != whole.popularity.mrr);
}

#[tokio::test]
async fn data_of_another_schema_is_refused() {
    let dataset = dataset(&groups(20, 40, 25), 3).await;
    let (schema, config, cancel) = (Schema::retail(), TrainConfig::recommended(), CancelToken::new());
    let sizes = VocabularyConfig::default();
    let vocabulary =
        Vocabulary::build(&dataset, &schema, &sizes, 2, Arc::new(Silent), &cancel).await.unwrap();
    let vocabulary = Arc::new(vocabulary);
    let data = load(&dataset, &schema, &vocabulary).await;
    let model = config.model(&schema).unwrap();
    let error = Trainer::new(data, model, vocabulary, config).unwrap_err();
    assert!(error.to_string().contains("encoded for another schema"), "{error}");
}

#[tokio::test]
async fn same_seed_and_threads_give_the_same_bits() {
    let rows = groups(20, 40, 25);
    for preset in [TrainConfig::recommended(), TrainConfig::reference()] {
        let mut config = small(preset);
        (config.epochs, config.split) = (3, SplitKind::Random);
        let (a, b) = (fit(&rows, config.clone()).await, fit(&rows, config.clone()).await);
        assert_eq!(a.weights, b.weights);
        assert_eq!(a.test.ranks, b.test.ranks);
        config.seed += 1;
        assert_ne!(fit(&rows, config).await.weights, a.weights);
    }
}

#[tokio::test]
async fn early_stopping_restores_the_best_epoch_and_refits_as_long() {
    let mut config = small(TrainConfig::recommended());
    (config.epochs, config.early_stopping) = (40, Some(EarlyStopping { patience: 4 }));
    let fitted = fit(&groups(20, 40, 30), config.clone()).await;
    let recalls: Vec<f64> = fitted.history.iter().map(|e| e.validation_recall_at_100.unwrap()).collect();
    let best = recalls.iter().position(|r| *r == recalls.iter().copied().fold(0.0, f64::max)).unwrap() + 1;
    assert_eq!((fitted.epochs, fitted.refit_history.len()), (best, best));
    assert!(recalls.len() < 40 && recalls.len() == best + 4, "{recalls:?}");
    config.refit = false;
    let unrefitted = fit(&groups(20, 40, 30), config).await;
    assert_eq!(unrefitted.epochs, best);
    assert!(unrefitted.refit_history.is_empty());
    assert_ne!(unrefitted.weights, fitted.weights);
}

#[tokio::test]
async fn splits_follow_their_definition() {
    let rows = groups(10, 20, 30);
    let trainer_data = {
        let schema = Schema::retail();
        let dataset = dataset(&rows, 2).await;
        let (config, cancel) = (VocabularyConfig::default(), CancelToken::new());
        let built = Vocabulary::build(&dataset, &schema, &config, 1, Arc::new(Silent), &cancel).await;
        let vocabulary = Arc::new(built.unwrap());
        load(&dataset, &schema, &vocabulary).await
    };
    let random = Split::new(&trainer_data, SplitKind::Random).unwrap();
    assert_eq!((random.train.len(), random.validation.len(), random.test.len()), (240, 45, 15));
    assert_eq!(random.test, (285..300).collect::<Vec<u32>>());
    let time = Split::new(&trainer_data, SplitKind::Time).unwrap();
    assert_eq!((time.train.len(), time.validation.len(), time.test.len()), (160, 70, 70));
    let last = rows.iter().map(|p| p.timestamp).max().unwrap();
    assert!(time.test.iter().all(|&r| rows[r as usize].timestamp > last - 7 * 86_400));
    assert_eq!(time.before_test().len(), 230);
}

#[tokio::test]
async fn a_cancelled_run_and_a_diverged_one_end_with_their_error() {
    let rows = groups(20, 40, 25);
    let cancel = CancelToken::new();
    cancel.cancel();
    let ended = trainer(&rows, small(TrainConfig::recommended())).await.fit(&Silent, &cancel);
    assert!(matches!(ended, Err(Error::Core(recs_core::Error::Cancelled))));
    let mut config = small(TrainConfig::reference());
    (config.learning_rate, config.clip) = (1e30, recs_train::optim::Clip::None);
    let ended = trainer(&rows, config).await.fit(&Silent, &CancelToken::new());
    assert!(
        matches!(ended, Err(Error::Diverged { .. } | Error::Core(recs_core::Error::NonFinite { .. }))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_observer_hears_of_stages_and_metrics() {
    let observer = Collect::default();
    let mut config = small(TrainConfig::reference());
    config.epochs = 2;
    let rows = groups(30, 400, 20);
    trainer(&rows, config).await.fit(&observer, &CancelToken::new()).unwrap();
    let events = observer.events();
    let named = |wanted: &str| {
        events.iter().filter(|e| matches!(e, Event::Metric { name, .. } if name == wanted)).count()
    };
    assert_eq!((named("loss"), named("examples_per_s"), named("validation_recall_at_100")), (2, 2, 0));
    assert!(
        events.iter().any(|e| matches!(e, Event::Started { stage: "train", total: Some(1140), .. })),
        "{events:?}"
    );
    assert!(events.iter().any(|e| matches!(e, Event::Finished { stage: "evaluate", .. })));
}

/// Of a customer the query tower reads the city alone: nothing tells those of one city apart.
#[tokio::test]
async fn the_observer_hears_of_a_collapse_where_there_is_one() {
    let city = Encoding::Embedding { name: "city".into(), field: "city".into(), dim: 16, table: None };
    let mut config = small(TrainConfig::reference());
    // So slow that lists are those of the starting weights, which differ from city to city.
    (config.epochs, config.learning_rate) = (1, 1e-9);
    config.encodings.query = Some(vec![city]);
    let five = groups(30, 400, 20);
    // Ten products are all in everybody's list: no collapse.
    let few: Vec<Purchase> =
        five.iter().map(|row| Purchase { product: row.product % 10, ..row.clone() }).collect();
    let one: Vec<Purchase> =
        five.iter().map(|row| Purchase { city: "city0".into(), ..row.clone() }).collect();
    for (rows, is_low, warns) in [(one, true, true), (five, false, false), (few, true, false)] {
        let observer = Collect::default();
        let fitted = trainer(&rows, config.clone()).await.fit(&observer, &CancelToken::new()).unwrap();
        let rate = fitted.test.personalisation.unwrap();
        assert_eq!(rate < 0.05, is_low, "{rate}");
        let events = observer.events();
        let collapse = "the towers give customers nearly the same list";
        let warned = events.iter().any(
            |e| matches!(e, Event::Warning { stage: "evaluate", message } if message.starts_with(collapse)),
        );
        assert_eq!(warned, warns, "{events:?}");
    }
}

#[tokio::test]
async fn the_artifact_holds_catalogue_and_purchases() {
    let mut config = small(TrainConfig::recommended());
    (config.epochs, config.split) = (2, SplitKind::Random);
    let rows = groups(20, 40, 25);
    let fitted = fit(&rows, config).await;
    let (split, test) = (fitted.split.clone(), fitted.test.served().clone());
    let artifact = fitted.into_artifact("v1").unwrap();
    let (candidates, customers) = (&artifact.candidates, &artifact.customers);
    assert_eq!(candidates.len(), 40);
    assert_eq!(candidates.vectors.dim(), (40, 256));
    assert_eq!(customers.repeat.len(), customers.products.len());
    assert!(customers.repeat.iter().any(|v| *v != 0.0));
    let seven = candidates.ids.iter().position(|id| id == "7").unwrap();
    assert_eq!(
        (candidates.names[seven].as_str(), candidates.categories[seven].as_str()),
        ("product 7", "group3")
    );
    assert_eq!(candidates.popularity.iter().sum::<u64>() as usize, split.before_test().len());
    let c3 = customers.position("c3").unwrap();
    let (products, counts) = customers.purchases(c3);
    let bought = split.before_test().into_iter().filter(|&r| rows[r as usize].customer == "c3").count();
    assert_eq!(counts.iter().sum::<u32>() as usize, bought);
    assert!(products.windows(2).all(|w| w[0] < w[1]));
    assert_eq!(customers.segment[c3], "city3");
    let stated = artifact.metadata.metrics.test_metrics.unwrap();
    assert_eq!(Some(stated.test_recall_100), test.recall_at_100);
    assert_eq!(artifact.metadata.vocabularies.num_products, 40);
}

#[test]
fn settings_out_of_range_and_unknown_ones_are_refused() {
    let refused = |json: serde_json::Value| {
        TrainConfig::from_overrides(json.as_object().unwrap()).unwrap_err().to_string()
    };
    for (json, expected) in [
        (serde_json::json!({"batch": 1}), "train.batch"),
        (serde_json::json!({"epochs": 0}), "train.epochs"),
        (serde_json::json!({"learning_rate": -1.0}), "train.learning_rate"),
        (serde_json::json!({"loss": {"temperature": 0.0}}), "train.loss.temperature"),
        (serde_json::json!({"batchsize": 3}), "batchsize"),
        (serde_json::json!({"preset": "best"}), "best"),
        (
            serde_json::json!({"evaluation": {"bootstrap": {"samples": 3}}}),
            "train.evaluation.bootstrap.samples",
        ),
        (serde_json::json!({"evaluation": {"seen": "forget"}}), "forget"),
        (serde_json::json!({"clip": {"kind": "global_norm", "norm": 0.0}}), "train.clip.norm"),
    ] {
        let message = refused(json);
        assert!(message.contains(expected), "{message}");
    }
}
