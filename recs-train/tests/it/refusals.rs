//! What a backend does not take, and what it takes though it is near the ends of f32.

use super::finite_differences::{loss, made};
use ndarray::Array2;
use recs_core::model::{Histories, Weights};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::loss::Targets;
use recs_train::optim::{AdamConfig, Algorithm};
use recs_train::{Error, Preset, Result, TrainConfig};
use serde_json::json;
use std::sync::Arc;

/// A batch that belongs to itself, to change.
#[derive(Clone)]
struct Parts {
    rows: Vec<u32>,
    histories: Histories,
    offsets: Vec<u32>,
    products: Vec<u32>,
    weights: Vec<f32>,
}

impl Parts {
    fn new() -> Self {
        let mut histories = Histories::default();
        (1..4u32).for_each(|id| histories.push([(id, 1.0), (id + 1, 2.0)]));
        Self {
            rows: vec![0, 1, 2],
            histories,
            offsets: vec![0, 1, 3, 4],
            products: vec![0, 1, 2, 3],
            weights: vec![0.5, 1.0, 0.25, 2.0],
        }
    }

    fn batch(&self) -> Batch<'_> {
        let targets = Targets { offsets: &self.offsets, columns: &self.products, weights: &self.weights };
        Batch { rows: &self.rows, histories: Some(&self.histories), targets: Some(targets) }
    }
}

async fn recommended(negatives: &str) -> CpuBackend {
    let mut config = TrainConfig::recommended();
    config.loss = loss(&json!({"negatives": negatives}));
    let (model, weights, data, pool) = made(&config, 0.3).await;
    CpuBackend::new(data, model, config, weights, vec![], pool).unwrap()
}

fn field<T>(refused: Result<T>) -> String {
    match refused {
        Err(Error::Config { field, .. }) => field,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was taken"),
    }
}

fn numbers(weights: &Weights) -> Vec<f32> {
    [&weights.query, &weights.candidate].iter().flat_map(|t| t.slices()).flatten().copied().collect()
}

/// The mean over targets does not see what all weights are multiplied by, down to the smallest numbers there are.
#[tokio::test]
async fn weights_of_targets_may_be_tiny_or_huge() {
    for negatives in ["full", "in_batch"] {
        let parts = Parts::new();
        let expected = recommended(negatives).await.step(parts.batch(), 0.01).unwrap().retrieval;
        for scale in [1e-42f32, 1e-40, 1e-38, 1e-30, 1e30, 1e38] {
            let mut parts = parts.clone();
            parts.weights.iter_mut().for_each(|weight| *weight *= scale);
            let mut backend = recommended(negatives).await;
            let loss = backend.step(parts.batch(), 0.01).unwrap().retrieval;
            // The smallest numbers have three digits.
            assert!((loss - expected).abs() < 2e-2 * expected, "{scale}: {loss}, not {expected}");
            assert!(numbers(&backend.weights()).iter().all(|w| w.is_finite()), "{scale}");
        }
        let mut none = parts.clone();
        none.weights.fill(0.0);
        let mut backend = recommended(negatives).await;
        assert_eq!(backend.step(none.batch(), 0.01).unwrap().retrieval, 0.0);
        assert!(numbers(&backend.weights()).iter().all(|w| w.is_finite()));
    }
}

#[tokio::test]
async fn batches_that_do_not_fit() {
    let parts = Parts::new();
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts.clone();
        change(&mut parts);
        parts
    };
    let mut backend = recommended("full").await;
    let before = backend.weights();
    for (name, bad, expected) in [
        ("no rows", changed(&|p| (p.rows, p.offsets) = (vec![], vec![0])), "batch"),
        ("a weight that is none", changed(&|p| p.weights[1] = f32::NAN), "batch"),
        ("a weight below 0", changed(&|p| p.weights[1] = -1.0), "batch"),
        ("no product", changed(&|p| p.products[1] = 99_999), "batch"),
        ("too few histories", changed(&|p| p.histories.offsets.truncate(3)), "batch.histories"),
        ("no offsets", changed(&|p| p.histories.offsets.clear()), "batch.histories"),
        ("offsets that fall", changed(&|p| p.histories.offsets[1] = 5), "batch.histories"),
        ("offsets from 1", changed(&|p| p.histories.offsets[0] = 1), "batch.histories"),
        ("an id too many", changed(&|p| p.histories.ids.push(1)), "batch.histories"),
        ("a weight too few", changed(&|p| p.histories.weights.truncate(5)), "batch.histories"),
        ("an id beyond the table", changed(&|p| p.histories.ids[2] = 99_999), "batch.histories"),
    ] {
        assert_eq!(field(backend.step(bad.batch(), 0.01)), expected, "{name}");
        assert_eq!(field(backend.gradients(bad.batch())), expected, "{name}");
    }
    for rate in [f32::NAN, -0.1, f32::INFINITY] {
        assert_eq!(field(backend.step(parts.batch(), rate)), "learning_rate");
    }
    // Weight decay is 0.3.
    assert_eq!(field(backend.step(parts.batch(), 4.0)), "train.optimiser.embeddings.weight_decay");
    assert_eq!(numbers(&backend.weights()), numbers(&before), "a refused step changes nothing");
    backend.step(parts.batch(), 0.01).unwrap();
}

#[tokio::test]
async fn an_empty_batch_clipped_by_variable() {
    let config = TrainConfig::reference();
    let (model, weights, data, pool) = made(&config, 0.3).await;
    let mut backend = CpuBackend::new(data, model, config, weights, vec![], pool).unwrap();
    assert_eq!(field(backend.step(Batch::rows(&[]), 0.01)), "batch");
}

#[tokio::test]
async fn kernels_that_do_not_stand_row_after_row() {
    let config = TrainConfig::reference();
    let (model, mut weights, data, pool) = made(&config, 0.3).await;
    let kernel = &mut Arc::make_mut(&mut weights.query).dense[1].kernel;
    let columns: Vec<f32> = kernel.t().iter().copied().collect();
    let turned = Array2::from_shape_vec((kernel.ncols(), kernel.nrows()), columns).unwrap();
    *kernel = turned.reversed_axes();
    let refused = CpuBackend::new(data, model, config, weights, vec![], pool).unwrap_err();
    assert!(refused.to_string().contains("query.dense_1.kernel"), "{refused}");
}

/// A number of a table that is none is seen by the loss, whatever activation comes behind it.
#[tokio::test]
async fn nan_reaches_the_loss() {
    use recs_core::model::Activation::{Gelu, LeakyRelu, Linear, Relu, Silu, Tanh};
    for activation in [Linear, Relu, LeakyRelu, Gelu, Silu, Tanh] {
        let mut config = TrainConfig::reference();
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.layers) = (activation, vec![7, 5]);
        }
        let (model, mut weights, data, pool) = made(&config, 0.3).await;
        Arc::make_mut(&mut weights.candidate).embeddings[0].fill(f32::NAN);
        let mut backend = CpuBackend::new(data, model, config, weights, vec![], pool).unwrap();
        let loss = backend.step(Batch::rows(&[0, 1, 2, 3]), 0.01).unwrap();
        assert!(loss.total().is_nan(), "{activation:?}: {}", loss.total());
    }
}

#[test]
fn settings_without_effect() {
    let refused = |preset: Preset, changes: serde_json::Value| {
        field(TrainConfig::preset(preset).with_overrides(changes.as_object().unwrap()))
    };
    let (reference, recommended) = (Preset::Reference, Preset::Recommended);
    for preset in [reference, recommended] {
        TrainConfig::preset(preset).validate().unwrap();
    }
    for (preset, changes, expected) in [
        (recommended, json!({"l1": 0.1}), "train.l1"),
        (recommended, json!({"l2": 0.1}), "train.l2"),
        (reference, json!({"l2": 0.1, "query": {"layers": []}, "candidate": {"layers": []}}), "train.l1"),
        (reference, json!({"examples": {"kind": "customers"}}), "train.clip.kind"),
        (reference, json!({"loss": {"negatives": "full"}}), "train.clip.kind"),
        (recommended, json!({"clip": {"kind": "per_variable", "norm": 1.0}}), "train.clip.kind"),
        (
            reference,
            json!({"optimiser": {"dense": {"kind": "adagrad", "row_wise": true}}}),
            "train.optimiser.dense.row_wise",
        ),
        (recommended, json!({"learning_rate": 4.0}), "train.optimiser.embeddings.weight_decay"),
        (recommended, json!({"loss": {"log_q": "exact"}}), "train.loss.log_q"),
        (recommended, json!({"loss": {"mask_accidental_hits": true}}), "train.loss.mask_accidental_hits"),
    ] {
        assert_eq!(refused(preset, changes.clone()), expected, "{changes}");
    }
    let mut config = TrainConfig::reference();
    config.learning_rate = 0.5;
    config.optimiser.dense = Algorithm::Adam(AdamConfig { weight_decay: 2.0, ..AdamConfig::default() });
    assert_eq!(field(config.validate()), "train.optimiser.dense.weight_decay");
    config.optimiser.dense = Algorithm::Adam(AdamConfig { weight_decay: 1.9, ..AdamConfig::default() });
    config.validate().unwrap();
}
