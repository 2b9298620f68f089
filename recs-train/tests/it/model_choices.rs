//! Dropout and activations: gradients, what does not depend on threads, and that serving computes what training did.

use super::finite_differences::{check, made};
use ndarray::Array2;
use recs_core::model::{Activation, TowerModel, Weights};
use recs_core::schema::{Schema, Tower};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::loss::{LossConfig, Reduction};
use recs_train::optim::Clip;
use recs_train::{DropoutConfig, TowerDropout, TrainConfig};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

fn config(activation: Activation, layers: &[usize], dropout: TowerDropout) -> TrainConfig {
    let mut config = TrainConfig::reference();
    for tower in [&mut config.query, &mut config.candidate] {
        (tower.activation, tower.layers) = (activation, layers.to_vec());
    }
    config.dropout = DropoutConfig { query: dropout, candidate: dropout };
    config
}

const DROPPED: TowerDropout = TowerDropout { hidden: 0.4, input: 0.2, history: 0.0 };

#[tokio::test]
async fn gradients_with_dropout() {
    for (activation, layers, dropout, clip) in [
        (Activation::Linear, &[9, 7, 5][..], DROPPED, Clip::None),
        (Activation::Relu, &[9, 5], TowerDropout { input: 0.0, ..DROPPED }, Clip::None),
        (Activation::Relu, &[9, 5], DROPPED, Clip::PerVariable { norm: 1.0 }),
        (Activation::Gelu, &[9, 5], DROPPED, Clip::None),
        (Activation::Tanh, &[6], DROPPED, Clip::PerVariable { norm: 1.0 }),
    ] {
        let mut config = config(activation, layers, dropout);
        (config.clip, config.l2) = (clip, 0.01);
        config.loss = LossConfig { reduction: Reduction::Mean, ..LossConfig::reference() };
        check(config, 1).await;
    }
}

/// Where no two members of a batch have a row of a table in common, the members' squares are those of the gradient.
#[tokio::test]
async fn squares_of_members_with_dropout() {
    for (layers, dropout) in [(&[9, 7, 5][..], DROPPED), (&[9, 5], TowerDropout { input: 0.0, ..DROPPED })] {
        let (model, weights, data, pool) = made(&config(Activation::Silu, layers, dropout), 0.5).await;
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        (0..data.rows() as u32).for_each(|row| {
            first.entry(data.product[row as usize]).or_insert(row);
        });
        let rows: Vec<u32> = first.into_values().collect();
        let config = config(Activation::Silu, layers, dropout);
        let mut backend = CpuBackend::new(data, model, config, weights, vec![], pool).unwrap();
        let (_, gradients) = backend.gradients(Batch::rows(&rows)).unwrap();
        let products = &gradients.candidate.embeddings[0];
        assert_eq!(products.rows.len(), rows.len());
        let squares: f64 = products.values.iter().map(|x| f64::from(*x).powi(2)).sum();
        let close = (squares - products.unsummed_squares).abs() < 1e-4 * squares;
        assert!(close, "{squares} of the gradient, {} of the members", products.unsummed_squares);
    }
}

#[tokio::test]
async fn what_is_dropped_depends_on_the_step_and_not_on_threads() {
    let config = config(Activation::Relu, &[9, 5], DROPPED);
    let (model, weights, data, _) = made(&config, 0.5).await;
    let rows: Vec<u32> = (0..30).collect();
    let losses = |threads: usize, seed: u64| {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let (data, config) = (Arc::clone(&data), TrainConfig { seed, ..config.clone() });
        let mut backend =
            CpuBackend::new(data, model.clone(), config, weights.clone(), vec![], pool).unwrap();
        // A rate of 0 leaves the weights as they are.
        [0, 1, 2].map(|_| backend.step(Batch::rows(&rows), 0.0).unwrap().retrieval)
    };
    let one = losses(1, 7);
    for threads in [2, 3] {
        let many = losses(threads, 7);
        assert!(one.iter().zip(many).all(|(a, b)| (a - b).abs() < 1e-5 * a.abs()), "{one:?} {many:?}");
    }
    assert!((one[0] - one[1]).abs() > 1e-3 && (one[1] - one[2]).abs() > 1e-3, "{one:?}");
    assert!((one[0] - losses(1, 8)[0]).abs() > 1e-3, "another seed drops the same");
}

/// The in-batch softmax of what serving computes.
fn served_loss(made: &super::finite_differences::Made, weights: &Weights, rows: &[u32]) -> f64 {
    let (model, _, data, _) = made;
    let embed = |tower, columns| -> Array2<f32> {
        TowerModel::new(model, tower, Arc::clone(weights.tower(tower))).unwrap().embed(&columns).unwrap()
    };
    let queries = embed(Tower::Query, data.query_columns(rows));
    let of_catalogue = embed(Tower::Candidate, data.catalogue_columns());
    let at = |row: &u32| data.product[*row as usize] as usize;
    let loss = |(i, row): (usize, &u32)| {
        let logit = |column: usize| f64::from(queries.row(i).dot(&of_catalogue.row(column)));
        rows.iter().map(|row| logit(at(row)).exp()).sum::<f64>().ln() - logit(at(row))
    };
    rows.iter().enumerate().map(loss).sum()
}

#[tokio::test]
async fn serving_computes_what_training_did() {
    for activation in Activation::ALL {
        let config = config(activation, &[9, 7, 5], TowerDropout::default());
        let made = made(&config, 0.5).await;
        let (model, weights, data, pool) = made.clone();
        let rows: Vec<u32> = (0..40).collect();
        let mut backend = CpuBackend::new(data, model, config, weights, vec![], pool).unwrap();
        backend.step(Batch::rows(&rows), 0.01).unwrap();
        let (loss, _) = backend.gradients(Batch::rows(&rows)).unwrap();
        let served = served_loss(&made, &backend.weights(), &rows);
        let close = (loss.retrieval - served).abs() < 1e-4 * served.abs();
        assert!(close, "{activation:?}: {} in training, {served} in serving", loss.retrieval);
    }
}

/// Keras: `l2 * sum of w^2`, with gradient `2 l2 w`, on every kernel.
#[tokio::test]
async fn l2_is_on_every_kernel() {
    let config = config(Activation::Relu, &[9, 7, 5], TowerDropout::default());
    let (model, weights, data, pool) = made(&config, 0.5).await;
    let rows: Vec<u32> = (0..20).collect();
    let gradients = |l2: f32| {
        let (data, config) = (Arc::clone(&data), TrainConfig { l1: 0.0, l2, ..config.clone() });
        let mut backend =
            CpuBackend::new(data, model.clone(), config, weights.clone(), vec![], Arc::clone(&pool)).unwrap();
        backend.gradients(Batch::rows(&rows)).unwrap()
    };
    let ((without, plain), (with, penalised)) = (gradients(0.0), gradients(0.125));
    let mut squares = 0.0;
    for (tower, plain, penalised) in [
        (&weights.query, plain.query, penalised.query),
        (&weights.candidate, plain.candidate, penalised.candidate),
    ] {
        for (layer, (plain, penalised)) in tower.dense.iter().zip(plain.dense.iter().zip(&penalised.dense)) {
            squares += layer.kernel.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
            let difference = &penalised.kernel - &plain.kernel - &layer.kernel * 0.25;
            assert!(difference.iter().all(|d| d.abs() < 1e-4), "{difference:?}");
            assert_eq!(plain.bias, penalised.bias);
        }
    }
    assert_eq!((without.regularisation, without.retrieval), (0.0, with.retrieval));
    assert!((with.regularisation - 0.125 * squares).abs() < 1e-9 * squares);
}

#[test]
fn settings_have_names_and_defaults() {
    let changes = json!({
        "preset": "reference", "l2": 1e-4, "query": {"activation": "swish"}, "dropout": {"query": {"hidden": 0.2}}
    });
    let config = TrainConfig::from_overrides(changes.as_object().unwrap()).unwrap();
    assert_eq!((config.l2, config.query.activation), (1e-4, Activation::Silu));
    assert_eq!((config.dropout.query.hidden, config.dropout.candidate), (0.2, TowerDropout::default()));
    let mut old = serde_json::to_value(TrainConfig::recommended()).unwrap();
    for name in ["l2", "dropout", "encodings"] {
        assert!(old.as_object_mut().unwrap().remove(name).is_some());
    }
    assert_eq!(serde_json::from_value::<TrainConfig>(old).unwrap(), TrainConfig::recommended());
    for (changes, name) in [
        (json!({"l2": -1.0}), "train.l2"),
        (json!({"dropout": {"candidate": {"input": 1.0}}}), "train.dropout.candidate.input"),
    ] {
        let refused = TrainConfig::from_overrides(changes.as_object().unwrap()).unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
    }
}

#[test]
fn encodings_come_from_the_configuration() {
    let shared = |field: &str, kind: &str| json!({"kind": kind, "name": field, "field": "product_id", "dim": 24, "table": "p"});
    let n_grams = json!({"kind": "n_grams", "name": "words", "field": "art_name", "bins": 500, "dim": 8});
    let changes = json!({
        "encodings": {"query": [shared("history", "history")], "candidate": [shared("product", "embedding"), n_grams]},
        "query": {"layers": [16]}, "candidate": {"layers": [16]},
    });
    let config = TrainConfig::from_overrides(changes.as_object().unwrap()).unwrap();
    let model = config.model(&Schema::retail()).unwrap();
    assert_eq!((model.schema.query.len(), model.schema.candidate.len()), (1, 2));
    assert_eq!(model.schema.table_places(Tower::Candidate)[0], model.schema.table_places(Tower::Query)[0]);
    assert_eq!((model.input_width(Tower::Candidate), model.embedding_dim()), (32, 16));
    let other = json!({"encodings": {"query": [shared("history", "history")]}});
    let config = TrainConfig::from_overrides(other.as_object().unwrap()).unwrap();
    let refused = config.model(&Schema::retail()).unwrap_err().to_string();
    assert!(refused.contains("query embeddings have 24 numbers"), "{refused}");
}
