//! Losses in whole steps and whole runs: what they come close to, what they remember, what they draw.

use super::finite_differences::{Saved, loss, made};
use super::shards::{dataset, groups, load};
use super::trainer::{fit, small, trainer};
use recs_core::model::Weights;
use recs_core::observe::{CancelToken, Silent};
use recs_train::backend::cpu::{Gradients, TowerGradients};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::data::EpochOrder;
use recs_train::optim::{Algorithm, Clip, OptimiserConfig};
use recs_train::trainer::{Popularity, evaluate_artifact};
use recs_train::{Error, EvaluateOptions, TrainConfig, TrainData};
use serde_json::{Value, json};
use std::sync::Arc;

/// A run's parts: backends of any loss on the same data, from the same weights.
struct Bench {
    config: TrainConfig,
    parts: super::finite_differences::Made,
}

impl Bench {
    async fn new() -> Self {
        let mut config = TrainConfig::reference();
        (config.clip, config.l1) = (Clip::None, 0.0);
        (config.query.layers, config.candidate.layers) = (vec![6], vec![6]);
        // Nothing to remember but what losses remember.
        config.optimiser = OptimiserConfig { embeddings: Algorithm::Sgd, dense: Algorithm::Sgd };
        let parts = made(&config, 0.5).await;
        Self { config, parts }
    }

    fn data(&self) -> &TrainData {
        &self.parts.2
    }

    fn rows(&self) -> Vec<u32> {
        (0..self.data().product.len() as u32).collect()
    }

    fn backend(&self, changes: &Value, weights: &Weights) -> CpuBackend {
        let (model, _, data, pool) = &self.parts;
        let config = TrainConfig { loss: loss(changes), ..self.config.clone() };
        let log_q = Popularity::fit(data, &self.rows()).log_q();
        CpuBackend::new(Arc::clone(data), model.clone(), config, weights.clone(), log_q, Arc::clone(pool))
            .unwrap()
    }

    fn start(&self, changes: &Value) -> CpuBackend {
        self.backend(changes, &self.parts.1)
    }

    fn flat(&self, gradients: &Gradients) -> Vec<f32> {
        let weights = &self.parts.1;
        let tower = |g: &TowerGradients, w: &recs_core::model::TowerWeights| {
            let tables = g.embeddings.iter().zip(&w.embeddings);
            let mut flat: Vec<f32> =
                tables.flat_map(|(e, table)| e.to_dense(table.nrows()).into_raw_vec_and_offset().0).collect();
            g.dense.iter().for_each(|layer| flat.extend(layer.kernel.iter().chain(&layer.bias)));
            flat
        };
        [tower(&gradients.query, &weights.query), tower(&gradients.candidate, &weights.candidate)].concat()
    }

    /// Relative distance of a gradient from that of the softmax over the whole catalogue.
    fn distance_from_full(&self, gradients: &Gradients, rows: &[u32]) -> f64 {
        let full = self.start(&json!({"negatives": "full"})).gradients(Batch::rows(rows)).unwrap().1;
        relative(&self.flat(gradients), &self.flat(&full))
    }
}

pub(super) fn relative(ours: &[f32], theirs: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied())
}

/// A batch of all rows has each product as often as its share says: copies by shares are 1, and the corrected sum is the sum
/// over the catalogue.
#[tokio::test]
async fn all_rows_corrected_by_their_shares_are_the_full_softmax() {
    let bench = Bench::new().await;
    let rows = bench.rows();
    let distance = |changes: Value| {
        let (_, gradients) = bench.start(&changes).gradients(Batch::rows(&rows)).unwrap();
        bench.distance_from_full(&gradients, &rows)
    };
    assert!(distance(json!({"log_q": "exact"})) < 1e-4);
    assert!(distance(json!({"log_q": true})) < 1e-4);
    assert!(distance(json!({"log_q": "none"})) > 0.02);
}

/// With more and more uniform draws beside 20 rows, the corrected gradient becomes that of the whole catalogue.
#[tokio::test]
async fn mixed_negatives_approach_the_full_softmax() {
    let bench = Bench::new().await;
    let rows: Vec<u32> = (0..20).collect();
    let distance = |uniform: usize, log_q: Value| {
        let changes = json!({"uniform_negatives": uniform, "log_q": log_q});
        let (_, gradients) = bench.start(&changes).gradients(Batch::rows(&rows)).unwrap();
        bench.distance_from_full(&gradients, &rows)
    };
    let distances = [0, 2_000, 200_000].map(|n| distance(n, json!("exact")));
    // Standard error of 16 products' numbers in 2,000 and in 200,000 draws.
    assert!(distances[0] > 0.1 && distances[1] < 0.1 && distances[2] < 0.01, "{distances:?}");
    let estimated = distance(200_000, json!({"streaming": {"alpha": 0.1}}));
    assert!(estimated < 0.01, "draws outweigh an estimate from one step: {estimated}");
}

/// Estimates from 600 steps of 16 rows correct nearly as the exact shares do; weights stand still meanwhile.
#[tokio::test]
async fn streamed_frequencies_come_close_to_the_shares() {
    let bench = Bench::new().await;
    let (rows, first) = (bench.rows(), (0..16).collect::<Vec<u32>>());
    let gradients = |backend: &mut CpuBackend| bench.flat(&backend.gradients(Batch::rows(&first)).unwrap().1);
    let exact = gradients(&mut bench.start(&json!({"log_q": "exact"})));
    let none = relative(&gradients(&mut bench.start(&json!({}))), &exact);
    let mut streaming = bench.start(&json!({"log_q": {"streaming": {"alpha": 0.01}}}));
    for epoch in 0..200 {
        let mut order = EpochOrder::new(&rows, 1, epoch);
        while let Some(batch) = order.next_batch(16) {
            streaming.step(Batch::rows(batch), 0.0).unwrap();
        }
    }
    let streamed = relative(&gradients(&mut streaming), &exact);
    assert!(streamed < 0.05 && none > 2.0 * streamed, "{streamed}, {none} without correction");
}

/// Everything that losses can remember, and both ways to draw.
fn memories() -> [Value; 2] {
    [
        json!({
            "uniform_negatives": 12, "log_q": {"streaming": {"alpha": 0.1}}, "mask_accidental_hits": true,
            "cross_batch": {"columns": 25, "warm_up_steps": 2}, "hard_negatives": {}, "learned_temperature": {}
        }),
        json!({
            "objective": {"kind": "bpr", "negatives_per_row": 4}, "uniform_negatives": 12, "log_q": "exact",
            "cross_batch": {"columns": 25, "warm_up_steps": 0}, "learned_temperature": {}
        }),
    ]
}

#[tokio::test]
async fn a_resumed_run_goes_on_with_the_same_bits() {
    let bench = Bench::new().await;
    let batch = |step: u32| (0..10).map(|i| (step * 7 + i * 3) % 48).collect::<Vec<u32>>();
    let steps = |backend: &mut CpuBackend, range: std::ops::Range<u32>| -> Vec<f64> {
        range.map(|step| backend.step(Batch::rows(&batch(step)), 0.05).unwrap().total()).collect()
    };
    for changes in memories() {
        let mut whole = bench.start(&changes);
        let losses = steps(&mut whole, 0..8);
        let mut first = bench.start(&changes);
        let before = steps(&mut first, 0..4);
        // Looking at gradients changes nothing.
        first.gradients(Batch::rows(&batch(9))).unwrap();
        let mut second = bench.backend(&changes, &first.weights());
        Saved::of(&mut first).restore(&mut second);
        let after = steps(&mut second, 4..8);
        assert_eq!(losses, [before, after].concat());
        assert_eq!(Saved::of(&mut whole), Saved::of(&mut second));
        assert_eq!(whole.weights().query.embeddings, second.weights().query.embeddings);
        let forgetful = steps(&mut bench.backend(&changes, &first.weights()), 4..8);
        assert!(losses[4..] != forgetful[..], "the state matters");
        assert!(second.learned_temperature().is_some_and(|t| (t - 0.5).abs() > 1e-6));
    }
}

/// Columns of earlier steps come with the first step after the warm-up, and make the sum larger.
#[tokio::test]
async fn earlier_columns_wait_for_the_warm_up() {
    let bench = Bench::new().await;
    let losses = |changes: Value| -> Vec<f64> {
        let mut backend = bench.start(&changes);
        (0..4u32).map(|i| backend.step(Batch::rows(&[i, i + 8, i + 16]), 0.0).unwrap().total()).collect()
    };
    let (without, with) =
        (losses(json!({})), losses(json!({"cross_batch": {"columns": 8, "warm_up_steps": 2}})));
    assert_eq!(without[..2], with[..2]);
    assert!(with[2] > without[2] + 0.1 && with[3] > without[3] + 0.1, "{with:?} {without:?}");
}

#[tokio::test]
async fn clipping_per_variable_wants_the_plain_softmax() {
    let bench = Bench::new().await;
    let (model, weights, data, pool) = &bench.parts;
    for changes in memories() {
        let mut config = TrainConfig { loss: loss(&changes), ..bench.config.clone() };
        config.clip = Clip::PerVariable { norm: 1.0 };
        let log_q = vec![-1.0; data.catalogue.len()];
        let refused = CpuBackend::new(
            Arc::clone(data),
            model.clone(),
            config,
            weights.clone(),
            log_q,
            Arc::clone(pool),
        );
        assert!(matches!(refused, Err(Error::Config { field, .. }) if field == "train.clip.kind"));
    }
}

/// Whole runs: each loss learns what popularity cannot know, from rows and from customers, the same with the same seed.
#[tokio::test]
async fn every_loss_learns_the_same_again() {
    let rows = groups(60, 200, 30);
    let [all, _] = memories();
    let bpr = json!({
        "objective": {"kind": "bpr", "negatives_per_row": 20}, "negatives": "uniform", "uniform_negatives": 256, "temperature": 0.2
    });
    for (changes, customers) in [(&all, false), (&all, true), (&bpr, false), (&bpr, true)] {
        let mut config = small(TrainConfig::recommended());
        (config.loss, config.epochs, config.refit) = (loss(changes), 8, true);
        if !customers {
            config.examples = recs_train::Examples::Rows;
        }
        let fitted = fit(&rows, config.clone()).await;
        let (ours, popular) = (fitted.test.recall_at_50.unwrap(), fitted.popularity.recall_at_50.unwrap());
        // A customer buys from 50 of the 200 products.
        assert!(ours > 0.6 && ours > 1.5 * popular, "{changes}, {customers}: {ours} beside {popular}");
        if customers {
            continue;
        }
        let again = fit(&rows, config).await;
        assert_eq!(again.weights.candidate.embeddings, fitted.weights.candidate.embeddings);
        assert_eq!(again.model, fitted.model);
    }
}

/// The temperature that was learned is the model's, also where products' biases have it as counterpart.
#[tokio::test]
async fn a_learned_temperature_is_published() {
    let rows = groups(60, 200, 30);
    let mut config = small(TrainConfig::recommended());
    (config.epochs, config.batch) = (6, 8);
    config.loss.learned_temperature =
        Some(recs_train::loss::TemperatureConfig { lowest: 0.05, highest: 0.4 });
    let fitted = trainer(&rows, config).await.fit(&Silent, &CancelToken::new()).unwrap();
    let (learned, expected) = (fitted.model.temperature, fitted.test.ranks.clone());
    assert!(
        (0.05..=0.4).contains(&learned) && (learned - fitted.config.loss.temperature).abs() > 1e-3,
        "{learned}"
    );
    let split = fitted.config.split;
    let artifact = fitted.into_artifact("v1").unwrap();
    assert_eq!(artifact.config.temperature, learned);
    let dataset = dataset(&rows, 3).await;
    let data = load(&dataset, &artifact.config.schema, &artifact.vocabulary).await;
    let (test, _) = evaluate_artifact(
        &artifact,
        &data,
        split,
        &EvaluateOptions::default(),
        2,
        &Silent,
        &CancelToken::new(),
    )
    .unwrap();
    assert_eq!(test.ranks, expected);
}
