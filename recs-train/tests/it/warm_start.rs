//! Trainings that start from an earlier version.

use super::shards::{Purchase, dataset, groups, load};
use super::trainer::{fit, small, trainer};
use ndarray::{Array1, ArrayView1};
use recs_core::artifact::{ModelArtifact, Product, RefreshOptions, refresh_candidates};
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_core::schema::Encoding;
use recs_train::data::SplitKind;
use recs_train::trainer::{TrendConfig, evaluate_artifact};
use recs_train::{CheckpointConfig, Error, EvaluateOptions, Fitted, TrainConfig};
use serde_json::json;
use std::sync::Arc;

fn config() -> TrainConfig {
    let mut config = small(TrainConfig::recommended());
    (config.epochs, config.early_stopping, config.repeat, config.trend) = (2, None, None, None);
    config
}

/// A rate at which no number moves: what comes out is what the training started from, biases centred.
fn standing_still() -> TrainConfig {
    TrainConfig { learning_rate: 1e-30, epochs: 1, ..config() }
}

/// The purchases of the first days, of products in the middle of the vocabulary.
fn earlier(rows: &[Purchase]) -> Vec<Purchase> {
    let is_old = |p: &&Purchase| p.timestamp < 1_500_000_000 + 26 * 86_400;
    let is_known = |p: &&Purchase| !matches!(p.product, 10..20 | 40..60 | 90..100);
    rows.iter().filter(is_old).filter(is_known).cloned().collect()
}

async fn warm(rows: &[Purchase], config: TrainConfig, from: &ModelArtifact) -> Fitted {
    let trainer = trainer(rows, config).await.warm_start(from).unwrap();
    trainer.fit(&Silent, &CancelToken::new()).unwrap()
}

fn id(artifact: &ModelArtifact, product: &str) -> usize {
    artifact.vocabulary.lookup("product_id").unwrap().id(product) as usize
}

fn is_near(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>, within: f32) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= within)
}

#[tokio::test]
async fn products_keep_their_rows_and_new_ones_start_among_their_like() {
    let rows = groups(60, 100, 40);
    let old = fit(&earlier(&rows), config()).await.into_artifact("v1").unwrap();
    let fitted = warm(&rows, standing_still(), &old).await;
    let started = fitted.warm_start.clone().unwrap();
    let new = fitted.into_artifact("v2").unwrap();
    let (before, after) = (&old.weights, &new.weights);
    let tables = |artifact: &ModelArtifact| {
        let weights = &artifact.weights;
        [weights.query.embeddings[0].clone(), weights.candidate.embeddings[0].clone()]
    };
    let (ours, theirs) = (tables(&new), tables(&old));
    let (mut known, mut unknown) = (0, 0);
    for (at, text) in new.candidates.ids.iter().enumerate() {
        let (row, was) = (id(&new, text), id(&old, text));
        if was != 0 {
            known += 1;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(is_near(&ours.row(row), &theirs.row(was), 1e-25), "product {text}");
            }
            continue;
        }
        unknown += 1;
        // A product's subcategory is its number modulo 8, its category that modulo 4.
        let subcategory = text.parse::<usize>().unwrap() % 8;
        let like: Vec<usize> = (0..old.candidates.len())
            .filter(|&i| old.candidates.popularity[i] > 0)
            .filter(|&i| old.candidates.ids[i].parse::<usize>().unwrap() % 8 == subcategory)
            .map(|i| id(&old, &old.candidates.ids[i]))
            .collect();
        assert!(like.len() > 3);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let sum = like.iter().fold(Array1::<f32>::zeros(255), |sum, &row| sum + theirs.row(row));
            let mean = sum / like.len() as f32;
            assert!(
                is_near(&ours.row(row), &mean.view(), 1e-5),
                "product {text}, {}",
                new.candidates.names[at]
            );
        }
    }
    assert!(known > 40 && unknown > 20, "{known}, {unknown}");
    assert_eq!((started.version.as_str(), started.new_products), ("v1", unknown));
    // Biases of known products moved together, by the mean of all.
    let bias =
        |artifact: &ModelArtifact, text| artifact.weights.candidate.embeddings[1][[id(artifact, text), 0]];
    let moved: Vec<f32> = old.candidates.ids.iter().map(|text| bias(&new, text) - bias(&old, text)).collect();
    assert!(moved.iter().all(|m| (m - moved[0]).abs() < 1e-5), "{moved:?}");
    assert_eq!(before.query.dense, after.query.dense);
}

/// What stands in the biases of a version with a trend is not what training made of them.
#[tokio::test]
async fn biases_that_were_moved_to_a_trend_start_anew() {
    let rows = groups(60, 100, 40);
    let biases = |fitted: Fitted| fitted.weights.candidate.embeddings[1].clone();
    let with_trend = TrainConfig { trend: Some(TrendConfig::default()), ..config() };
    let cold = fit(&rows, standing_still()).await;
    let fresh = biases(cold);
    for (config, is_fresh) in [(with_trend, true), (config(), false)] {
        let old = fit(&earlier(&rows), config).await.into_artifact("v1").unwrap();
        let started = biases(warm(&rows, standing_still(), &old).await);
        let near = fresh.iter().zip(&started).all(|(a, b)| (a - b).abs() < 1e-5);
        assert_eq!(near, is_fresh);
    }
    // Of a random split the settings could ask for a trend, and no bias was moved.
    let random = TrainConfig { split: SplitKind::Random, ..config() };
    let mut old = fit(&earlier(&rows), random).await.into_artifact("v1").unwrap();
    let started = biases(warm(&rows, standing_still(), &old).await);
    old.metadata
        .hyperparameters
        .insert("trend".into(), serde_json::to_value(TrendConfig::default()).unwrap());
    assert_eq!(biases(warm(&rows, standing_still(), &old).await), started);
}

#[tokio::test]
async fn every_table_of_the_reference_model_is_carried_over() {
    let rows = groups(20, 100, 40);
    let reference = |rate| {
        let mut config = small(TrainConfig::reference());
        (config.learning_rate, config.epochs, config.split) = (rate, 1, SplitKind::Random);
        config
    };
    let old = fit(&earlier(&rows), reference(0.05)).await.into_artifact("v1").unwrap();
    let new = warm(&rows, reference(1e-30), &old).await.into_artifact("v2").unwrap();
    assert_eq!(
        (&old.weights.query.dense, &old.weights.candidate.dense),
        (&new.weights.query.dense, &new.weights.candidate.dense)
    );
    let tables = |a: &ModelArtifact| {
        [a.weights.query.embeddings.clone(), a.weights.candidate.embeddings.clone()].concat()
    };
    let (ours, theirs) = (tables(&new), tables(&old));
    for (at, field) in
        [(0, "customer_id"), (1, "city"), (6, "product_id"), (7, "category"), (8, "subcategory")]
    {
        let (to, from) = (new.vocabulary.lookup(field).unwrap(), old.vocabulary.lookup(field).unwrap());
        for value in from.values() {
            let (row, was) = (to.id(value) as usize, from.id(value) as usize);
            assert!(row != 0 && is_near(&ours[at].row(row), &theirs[at].row(was), 1e-25), "{field} {value}");
        }
        assert!(is_near(&ours[at].row(0), &theirs[at].row(0), 1e-25));
    }
    // Customer x city: hashes of the same texts. Revenue x hour: the buckets are the same, too; time has moved.
    assert!(
        is_near(&ours[3].row(7), &theirs[3].row(7), 1e-25)
            && is_near(&ours[5].row(9), &theirs[5].row(9), 1e-25)
    );
    assert_eq!(old.vocabulary.buckets("revenue").unwrap(), new.vocabulary.buckets("revenue").unwrap());
    assert!((0..ours[2].nrows()).all(|row| is_near(&ours[2].row(row), &theirs[2].row(row), 1e-25)));
    let times = [&old, &new].map(|a| a.vocabulary.buckets("timestamp").unwrap().boundaries().to_vec());
    assert_ne!(times[0], times[1]);
    for (i, window) in times[1].windows(2).enumerate() {
        let middle = f64::midpoint(window[0], window[1]);
        let was = times[0].iter().filter(|&&b| b <= middle).count().clamp(1, times[0].len() - 1);
        assert!(is_near(&ours[4].row(i + 1), &theirs[4].row(was), 1e-25), "bucket {}", i + 1);
    }
}

#[tokio::test]
async fn it_is_there_sooner_than_a_training_from_nothing() {
    let rows = groups(60, 400, 40);
    let longer = TrainConfig { epochs: 6, ..config() };
    let old = fit(&earlier(&rows), longer.clone()).await.into_artifact("v1").unwrap();
    let cold = fit(&rows, longer.clone()).await;
    let warm = warm(&rows, longer, &old).await;
    let goal = cold.history.last().unwrap().loss;
    let epochs = warm.history.iter().position(|epoch| epoch.loss <= goal).map(|at| at + 1);
    let losses = |fitted: &Fitted| fitted.history.iter().map(|e| e.loss).collect::<Vec<f64>>();
    assert!(epochs.is_some_and(|n| n <= 4), "{:?} beside {:?}", losses(&warm), losses(&cold));
    assert!(warm.history[0].loss < cold.history[0].loss);
}

#[tokio::test]
async fn another_model_is_refused_by_what_differs() {
    let rows = groups(20, 40, 25);
    let old = fit(&rows, config()).await.into_artifact("v1").unwrap();
    let refused = async |change: &dyn Fn(&mut ModelArtifact)| {
        let mut other = old.clone();
        change(&mut other);
        let error = trainer(&rows, config()).await.warm_start(&other).unwrap_err();
        assert!(matches!(&error, Error::WarmStart { version, .. } if version == "v1"), "{error}");
        error.to_string()
    };
    let message = refused(&|a| a.config.candidate.layers = vec![255]).await;
    assert!(message.contains("candidate.layers are [], there [255]"), "{message}");
    let message = refused(&|a| a.config.query.l2_normalise ^= true).await;
    assert!(message.contains("query.l2_normalise is"), "{message}");
    let message = refused(&|a| a.config.schema.query.clear()).await;
    assert!(message.contains("query.history is not there"), "{message}");
    let mut reference = small(TrainConfig::reference());
    (reference.epochs, reference.split) = (1, SplitKind::Random);
    let other = fit(&rows, reference).await.into_artifact("r").unwrap();
    let message = refused(&|a| a.config = other.config.clone()).await;
    assert!(message.contains("query.city is there only"), "{message}");
}

fn warnings(events: &Collect) -> Vec<String> {
    let said = events.events();
    let text = said.iter().filter_map(|e| match e {
        Event::Warning { message, .. } => Some(message.clone()),
        _ => None,
    });
    text.filter(|message| message.contains("not newer")).collect()
}

#[tokio::test]
async fn rows_that_the_version_has_seen_are_told() {
    let (rows, cancel) = (groups(30, 100, 40), CancelToken::new());
    let old = fit(&rows, config()).await.into_artifact("v1").unwrap();
    // The same purchases again: its test rows are later than what it was trained on, its validation rows are not.
    let chooses = TrainConfig { early_stopping: Some(recs_train::EarlyStopping { patience: 2 }), ..config() };
    let events = Collect::default();
    let again = trainer(&rows, chooses).await.warm_start(&old).unwrap().fit(&events, &cancel).unwrap();
    let started = again.warm_start.clone().unwrap();
    assert_eq!((started.test_rows_seen, started.validation_rows_seen), (0, again.split.validation.len()));
    let said = warnings(&events);
    assert!(said.len() == 1 && said[0].contains("validation rows"), "{said:?}");
    // Tested on earlier purchases, it has seen them.
    let past: Vec<Purchase> =
        rows.iter().filter(|p| p.timestamp < 1_500_000_000 + 30 * 86_400).cloned().collect();
    let events = Collect::default();
    let late = trainer(&past, config()).await.warm_start(&old).unwrap().fit(&events, &cancel).unwrap();
    let (started, tests) = (late.warm_start.clone().unwrap(), late.split.test.len());
    assert_eq!((started.test_rows_seen, started.newest_timestamp), (tests, 1_500_000_000 + 32 * 86_400));
    assert!(warnings(&events).iter().any(|message| message.contains("test rows")), "{:?}", warnings(&events));
    let mut late = late.into_artifact("v2").unwrap();
    assert_eq!(late.training_stats["warm_start"]["test_rows_seen"], tests);
    assert_eq!(late.metadata.hyperparameters["warm_start"]["version"], "v1");
    let data = load(&dataset(&past, 3).await, &late.config.schema, &late.vocabulary).await;
    let events = Collect::default();
    let options = EvaluateOptions::default();
    evaluate_artifact(&late, &data, SplitKind::Time, &options, 2, &events, &cancel).unwrap();
    assert_eq!(warnings(&events).len(), 1);
    // What a version was started from counts on; without its own note the customers' last day does.
    late.training_stats.as_object_mut().unwrap().remove("newest_timestamp");
    let third = trainer(&past, config()).await.warm_start(&late).unwrap().fit(&Silent, &cancel).unwrap();
    assert_eq!(third.warm_start.unwrap().newest_timestamp, 1_500_000_000 + 32 * 86_400);
    late.training_stats = serde_json::json!({});
    let third = trainer(&past, config()).await.warm_start(&late).unwrap().fit(&Silent, &cancel).unwrap();
    let last = i64::from(*late.customers.last_day.iter().max().unwrap());
    assert_eq!(third.warm_start.unwrap().newest_timestamp, (last + 1) * 86_400 - 1);
}

#[tokio::test]
async fn checkpoints_know_what_a_run_was_started_from() {
    let rows = groups(20, 40, 25);
    let (folder, cancel) = (tempfile::tempdir().unwrap(), CancelToken::new());
    let old = fit(&rows, config()).await.into_artifact("v1").unwrap();
    let keeping = || CheckpointConfig {
        every_steps: Some(1),
        keep_finished: true,
        ..CheckpointConfig::new(folder.path())
    };
    let warm = async |from: &ModelArtifact| {
        let trainer = trainer(&rows, config()).await.with_checkpoints(keeping()).unwrap();
        trainer.warm_start(from).unwrap().fit(&Silent, &cancel)
    };
    let first = warm(&old).await.unwrap();
    assert_eq!(warm(&old).await.unwrap().weights, first.weights);
    let mut other = old.clone();
    Arc::make_mut(&mut Arc::make_mut(&mut other.weights).query).embeddings[0][[1, 1]] += 1.0;
    for refused in [
        warm(&other).await,
        trainer(&rows, config()).await.with_checkpoints(keeping()).unwrap().fit(&Silent, &cancel),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::CheckpointDiffers { .. }), "{error}");
        assert!(error.to_string().contains("warm_start is"), "{error}");
    }
}

/// What encodings share is still one after it was carried over, by a training and by a refresh.
#[tokio::test]
async fn shared_tables_and_n_grams_are_carried_over() {
    let rows = groups(60, 100, 40);
    let shared = |mut config: TrainConfig| {
        let table = Some("product".to_owned());
        let (name, field, dim) = ("product".to_owned(), "product_id".to_owned(), 8);
        let history =
            Encoding::History { name: "history".into(), field: field.clone(), dim, table: table.clone() };
        let n_grams =
            json!({ "kind": "n_grams", "name": "words", "field": "art_name", "bins": 100, "dim": 4 });
        config.encodings.query = Some(vec![history]);
        config.encodings.candidate = Some(vec![
            Encoding::Embedding { name, field: field.clone(), dim, table },
            serde_json::from_value(n_grams).unwrap(),
            Encoding::Bias { name: "bias".into(), field },
        ]);
        (config.query.layers, config.candidate.layers) = (vec![12], vec![12]);
        config
    };
    let old = fit(&earlier(&rows), shared(config())).await.into_artifact("v1").unwrap();
    let new = warm(&rows, shared(standing_still()), &old).await.into_artifact("v2").unwrap();
    let tables = |artifact: &ModelArtifact| {
        let (query, candidate) = (&artifact.weights.query.embeddings, &artifact.weights.candidate.embeddings);
        assert_eq!(query[0], candidate[0]);
        [query[0].clone(), candidate[1].clone()]
    };
    let ([theirs, their_words], [ours, our_words]) = (tables(&old), tables(&new));
    assert!(ours.nrows() > theirs.nrows() && our_words.iter().any(|&x| x != 0.0));
    for text in &old.candidates.ids {
        assert!(is_near(&ours.row(id(&new, text)), &theirs.row(id(&old, text)), 1e-25), "product {text}");
    }
    assert!(our_words.rows().into_iter().zip(their_words.rows()).all(|(a, b)| is_near(&a, &b, 1e-25)));
    let newcomer = Product::new("9999").with_text("art_name", "like no other");
    let refreshed = refresh_candidates(&new, &[newcomer], "v3", &RefreshOptions::default()).unwrap().artifact;
    let [grown, words] = tables(&refreshed);
    assert_eq!((grown.nrows(), words), (ours.nrows() + 1, our_words));
    assert_eq!(refreshed.weights.parameters(), new.weights.parameters() + 8 + 1);
}
