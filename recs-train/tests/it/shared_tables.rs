//! Tables that several encodings read: gradients, one tensor, and that serving and resumed runs have what training had.

use super::finite_differences::{Place, compare, loss};
use super::made::Made;
use super::shards::{dataset, groups};
use recs_core::model::{Histories, TowerColumns, TowerModel, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::{Encoding, Schema, TablePlace, Tower};
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::{Backend, Batch};
use recs_train::loss::Targets;
use recs_train::optim::{AdamConfig, Algorithm, Clip, OptimiserConfig, Rows};
use recs_train::{TrainConfig, Trainer};
use serde_json::json;
use std::sync::Arc;

/// The query's history and the candidate's product by one table; a second pair of the query's own.
fn tied() -> Schema {
    let mut schema = Schema::retail().with_recommended_encodings().unwrap();
    for encoding in schema.query.iter_mut().chain(&mut schema.candidate) {
        if let Encoding::History { table, dim, .. } | Encoding::Embedding { table, dim, .. } = encoding {
            (*table, *dim) = (Some("product".into()), 6);
        }
    }
    schema.validate().unwrap();
    schema
}

/// `tied`, and two encodings of cities in the query tower beside a history.
pub(super) fn tied_twice() -> Schema {
    let mut schema = tied();
    let city = |name: &str| Encoding::Embedding {
        name: name.into(),
        field: "city".into(),
        dim: 4,
        table: Some("city".into()),
    };
    schema.query.splice(0..0, [city("city"), city("city_again")]);
    schema.validate().unwrap();
    schema
}

async fn made(config: &TrainConfig, schema: Schema) -> Made {
    made_of(config, schema, 4).await
}

async fn made_of(config: &TrainConfig, schema: Schema, days: i64) -> Made {
    Made::new(config, schema, days, 0.3).await
}

pub(super) fn histories() -> Histories {
    let mut histories = Histories::default();
    (0..9u32).for_each(|i| histories.push((0..i % 4).map(|j| (1 + (i * 3 + j * 5) % 16, 1.0 + j as f32))));
    histories
}

/// A configuration for layers, on both towers.
fn config(layers: &[usize], negatives: &str) -> TrainConfig {
    let mut config = TrainConfig { preset: recs_train::Preset::Reference, ..TrainConfig::recommended() };
    config.loss = loss(&json!({"negatives": negatives}));
    for tower in [&mut config.query, &mut config.candidate] {
        tower.layers = layers.to_vec();
    }
    config
}

#[tokio::test]
async fn gradients_are_the_sums_over_the_encodings() {
    for (schema, layers, negatives) in [
        (tied(), vec![], "full"),
        (tied(), vec![], "in_batch"),
        (tied(), vec![7, 5], "in_batch"),
        (tied_twice(), vec![5], "full"),
    ] {
        let (config, cities) = (config(&layers, negatives), schema.query.len() > 1);
        let made = made(&config, schema).await;
        let (histories, rows) = (histories(), (0..9).collect::<Vec<u32>>());
        let products: Vec<u32> = (0..20).map(|i| (i * 7) % made.data.catalogue.len() as u32).collect();
        let (offsets, weights) = ([0u32, 3, 3, 4, 9, 10, 12, 15, 16, 20], [0.5f32, 1.0, 2.0, 0.25].repeat(5));
        let targets = Targets { offsets: &offsets, columns: &products, weights: &weights };
        let batch = Batch { rows: &rows, histories: Some(&histories), targets: Some(targets) };
        let loss = |weights: Weights| made.backend(&config, weights).gradients(batch).unwrap().0.total();
        let (_, gradients) = made.backend(&config, made.weights.clone()).gradients(batch).unwrap();
        // The query's history owns the table of products.
        let at = if cities { 2 } else { 0 };
        let table = &gradients.query.embeddings[at];
        assert!(gradients.candidate.embeddings[0].rows.is_empty() && table.rows.len() > 8);
        let of = |i: usize| table.values[i * table.dim + 2];
        let row = |i: usize| table.rows[i] as usize;
        let checks: [(&str, f32, Place<'_>); 3] = [
            ("a product", of(0), &|w| &mut Arc::make_mut(&mut w.query).embeddings[at][[row(0), 2]]),
            ("another", of(3), &|w| &mut Arc::make_mut(&mut w.query).embeddings[at][[row(3), 2]]),
            ("a third", of(7), &|w| &mut Arc::make_mut(&mut w.query).embeddings[at][[row(7), 2]]),
        ];
        compare(&checks, &made.weights, &loss, &format!("{layers:?} {negatives}"));
        if cities {
            let city = &gradients.query.embeddings[0];
            assert!(gradients.query.embeddings[1].rows.is_empty());
            let (row, gradient) = (city.rows[1] as usize, city.values[city.dim + 1]);
            let checks: [(&str, f32, Place<'_>); 1] =
                [("a city", gradient, &|w| &mut Arc::make_mut(&mut w.query).embeddings[0][[row, 1]])];
            compare(&checks, &made.weights, &loss, "cities");
        }
    }
}

/// A shared table moves as one whose gradient is the sum: by gradient descent, that is `-rate * gradient`; and every kind of
/// optimiser and clipping leaves both towers with one table.
#[tokio::test]
async fn a_step_moves_one_table() {
    let adam = |rows| Algorithm::Adam(AdamConfig { rows, weight_decay: 0.1, ..AdamConfig::default() });
    for (embeddings, clip) in [
        (Algorithm::Sgd, Clip::None),
        (Algorithm::Sgd, Clip::GlobalNorm { norm: 0.05 }),
        (adam(Rows::All), Clip::None),
        (adam(Rows::Seen), Clip::GlobalNorm { norm: 1.0 }),
    ] {
        let mut config = config(&[5], "in_batch");
        (config.optimiser, config.clip) = (OptimiserConfig { embeddings, dense: Algorithm::Sgd }, clip);
        let made = made(&config, tied_twice()).await;
        let (histories, rows) = (histories(), (0..9).collect::<Vec<u32>>());
        let batch = Batch { rows: &rows, histories: Some(&histories), targets: None };
        let mut backend = made.backend(&config, made.weights.clone());
        let gradients = backend.clipped_gradients(batch).unwrap();
        let norm = {
            let tables = gradients.query.embeddings.iter().chain(&gradients.candidate.embeddings);
            let dense = gradients.query.dense.iter().chain(&gradients.candidate.dense);
            let dense = dense.flat_map(|d| d.kernel.iter().chain(&d.bias));
            tables.flat_map(|t| &t.values).chain(dense).map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
        };
        if let Clip::GlobalNorm { norm: limit } = clip {
            assert!(norm <= f64::from(limit) * 1.0001, "{norm}");
        }
        for _ in 0..3 {
            backend.step(batch, 0.1).unwrap();
        }
        let after = backend.weights();
        assert_eq!(after.query.embeddings[2], after.candidate.embeddings[0]);
        assert_eq!(after.query.embeddings[0], after.query.embeddings[1]);
        assert_eq!(after.query.embeddings[2].as_ptr(), after.candidate.embeddings[0].as_ptr(), "one memory");
        assert_ne!(after.query.embeddings[2], made.weights.query.embeddings[2]);
        if embeddings == Algorithm::Sgd {
            let mut backend = made.backend(&config, made.weights.clone());
            backend.step(batch, 0.1).unwrap();
            let (after, before) = (backend.weights(), &made.weights);
            for at in [0, 2] {
                let before = &before.query.embeddings[at];
                let moved = before - &gradients.query.embeddings[at].to_dense(before.nrows()) * 0.1;
                let close = moved.iter().zip(&after.query.embeddings[at]).all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(close, "table {at}");
            }
        }
    }
}

#[tokio::test]
async fn training_and_serving_have_one_tensor() {
    let config = config(&[5], "full");
    let made = made(&config, tied_twice()).await;
    let (histories, rows) = (histories(), (0..9).collect::<Vec<u32>>());
    let mut backend = made.backend(&config, made.weights.clone());
    for _ in 0..3 {
        backend.step(Batch { rows: &rows, histories: Some(&histories), targets: None }, 0.05).unwrap();
    }
    let weights = backend.weights();
    let names: Vec<String> =
        weights.tensors(&made.model, &made.vocabulary).unwrap().into_iter().map(|(name, ..)| name).collect();
    let tables = ["shared.city.embedding", "shared.product.embedding", "candidate.product_bias.embedding"];
    assert_eq!(names.iter().filter(|name| name.ends_with(".embedding")).collect::<Vec<_>>(), tables);
    let bytes = weights.to_safetensors(&made.model, &made.vocabulary).unwrap();
    let read = Weights::from_safetensors(&bytes, &made.model, &made.vocabulary, "f").unwrap();
    assert_eq!(read, weights);
    let in_file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let numbers: usize = in_file.tensors().iter().map(|(_, t)| t.shape().iter().product::<usize>()).sum();
    assert_eq!(read.parameters(), numbers);
    let embed = |weights: &Weights, tower: Tower, columns: &TowerColumns| {
        TowerModel::new(&made.model, tower, Arc::clone(weights.tower(tower))).unwrap().embed(columns).unwrap()
    };
    let mut queries = made.data.query_columns(&rows);
    queries.histories = histories;
    let products = made.data.catalogue_columns();
    for (tower, columns) in [(Tower::Query, &queries), (Tower::Candidate, &products)] {
        assert_eq!(embed(&read, tower, columns), embed(&weights, tower, columns));
    }
}

/// A whole run, with a refit, checkpoints and early stopping's best weights.
#[tokio::test]
async fn whole_runs() {
    let mut config = config(&[], "full");
    (config.epochs, config.batch, config.threads) = (3, 4, 2);
    config.early_stopping = Some(recs_train::EarlyStopping { patience: 2 });
    let made = made_of(&config, tied(), 40).await;
    let fit = |checkpoints: Option<recs_train::CheckpointConfig>| {
        let (data, vocabulary) = (Arc::clone(&made.data), Arc::clone(&made.vocabulary));
        let trainer = Trainer::new(data, made.model.clone(), vocabulary, config.clone()).unwrap();
        let trainer = match checkpoints {
            Some(checkpoints) => trainer.with_checkpoints(checkpoints).unwrap(),
            None => trainer,
        };
        trainer.fit(&Silent, &CancelToken::new()).unwrap()
    };
    let alone = fit(None);
    assert_eq!(alone.weights.query.embeddings[0], alone.weights.candidate.embeddings[0]);
    let folder = tempfile::tempdir().unwrap();
    let every_step = recs_train::CheckpointConfig {
        every_steps: Some(1),
        every_minutes: None,
        keep_finished: true,
        keep: 1000,
        ..recs_train::CheckpointConfig::new(folder.path())
    };
    assert_eq!(fit(Some(every_step.clone())).weights, alone.weights);
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    assert!(files.len() > 4, "{files:?}");
    files[files.len() / 2..].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(fit(Some(every_step)).weights, alone.weights);
    let artifact = alone.into_artifact("v1").unwrap();
    assert_eq!(artifact.weights.query.embeddings[0], artifact.weights.candidate.embeddings[0]);
}

#[test]
fn refuses_what_cannot_share() {
    let refused = |change: &dyn Fn(&mut Schema)| {
        let mut schema = tied();
        change(&mut schema);
        schema.validate().unwrap_err().to_string()
    };
    let narrower = refused(&|schema| {
        if let Encoding::Embedding { dim, .. } = &mut schema.candidate[0] {
            *dim = 5;
        }
    });
    assert!(narrower.contains("schema.candidate.product_id.table"), "{narrower}");
    let unnamed = refused(&|schema| {
        if let Encoding::Embedding { table, .. } = &mut schema.candidate[0] {
            *table = Some(String::new());
        }
    });
    assert!(unnamed.contains("name of a table"), "{unnamed}");
}

#[tokio::test]
async fn refuses_tables_of_fields_with_other_vocabularies() {
    let mut schema = tied();
    let encoding =
        Encoding::Embedding { name: "c".into(), field: "city".into(), dim: 6, table: Some("product".into()) };
    schema.query.push(encoding);
    schema.validate().unwrap();
    let dataset = dataset(&groups(12, 16, 4), 2).await;
    let (settings, cancel) = (VocabularyConfig::default(), CancelToken::new());
    let built = Vocabulary::build(&dataset, &schema, &settings, 1, Arc::new(Silent), &cancel).await;
    let refused = built.unwrap().check(&schema).unwrap_err().to_string();
    assert!(refused.contains("schema.query.c.table") && refused.contains("`city`"), "{refused}");
}

#[test]
fn files_without_tables_read_as_before() {
    let json = serde_json::to_value(Schema::retail()).unwrap();
    assert!(!json.to_string().contains("\"table\""));
    assert_eq!(serde_json::from_value::<Schema>(json).unwrap(), Schema::retail());
    let owner = TablePlace { tower: Tower::Query, table: 0 };
    assert_eq!(tied().table_places(Tower::Candidate)[0], owner);
}
