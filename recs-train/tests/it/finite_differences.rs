//! Gradients of whole models against finite differences, for every tensor and every choice of tower.

use super::shards::{dataset, groups, load};
use recs_core::model::{Activation, Histories, ModelConfig, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::loss::{LossConfig, LossState, Reduction, Targets};
use recs_train::optim::Clip;
use recs_train::trainer::initial_weights;
use recs_train::{DropoutConfig, TowerDropout, TrainConfig, TrainData};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn every_tensor_of_every_kind_of_tower() {
    for (activation, normalise, layers) in [
        (Activation::Linear, false, vec![9, 5]),
        (Activation::Relu, true, vec![7, 6]),
        (Activation::Linear, true, vec![6]),
        (Activation::LeakyRelu, true, vec![8, 7, 6]),
        (Activation::Gelu, false, vec![7, 6]),
        (Activation::Silu, true, vec![8, 7, 6]),
        (Activation::Tanh, false, vec![7, 6]),
    ] {
        let mut config = TrainConfig::reference();
        config.loss = LossConfig::corrected_in_batch();
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.l2_normalise, tower.layers) = (activation, normalise, layers.clone());
        }
        config.loss.temperature = 0.5;
        (config.l1, config.l2) = (0.01, 0.02);
        check(config, 0).await;
    }
}

/// Every objective, kind of negatives, estimate and learned temperature, after two steps that fill caches and estimates.
#[tokio::test]
async fn every_loss() {
    for changes in [
        json!({"uniform_negatives": 30, "log_q": "exact", "learned_temperature": {}}),
        json!({"uniform_negatives": 7, "log_q": {"streaming": {"alpha": 0.3}}, "mask_accidental_hits": true}),
        json!({"cross_batch": {"columns": 13, "warm_up_steps": 1}, "log_q": true, "learned_temperature": {}}),
        json!({"hard_negatives": {"count": 3, "weight": 5.0}, "mask_accidental_hits": true}),
        json!({
            "cross_batch": {"columns": 40, "warm_up_steps": 0}, "uniform_negatives": 9, "hard_negatives": {},
            "log_q": {"streaming": {"alpha": 0.3}}, "mask_accidental_hits": true, "learned_temperature": {}
        }),
        json!({"negatives": "full", "hard_negatives": {"count": 2}, "learned_temperature": {}}),
        json!({"objective": {"kind": "bpr"}, "learned_temperature": {}}),
        json!({"objective": {"kind": "bpr"}, "uniform_negatives": 8, "log_q": true, "cross_batch": {"warm_up_steps": 0}}),
        json!({"objective": {"kind": "bpr", "negatives_per_row": 4}, "learned_temperature": {}}),
        json!({
            "objective": {"kind": "bpr", "negatives_per_row": 3}, "negatives": "uniform", "uniform_negatives": 30
        }),
        json!({"objective": {"kind": "bpr"}, "negatives": "full", "reduction": "sum"}),
    ] {
        let mut config = TrainConfig::reference();
        (config.loss, config.clip) = (loss(&changes), Clip::None);
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.l2_normalise, tower.layers) = (Activation::Relu, true, vec![7, 6]);
        }
        check(config, 2).await;
    }
}

/// Mean, in-batch, temperature 0.5, with changes.
pub(super) fn loss(changes: &Value) -> LossConfig {
    let base = LossConfig { temperature: 0.5, reduction: Reduction::Mean, ..LossConfig::reference() };
    let mut value = serde_json::to_value(base).unwrap();
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// What a backend's loss remembers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saved {
    numbers: Vec<Vec<f32>>,
    counts: Vec<Vec<u32>>,
}

impl Saved {
    pub(super) fn of(backend: &mut CpuBackend) -> Self {
        let LossState { numbers, counts } = backend.loss_state();
        Self {
            numbers: numbers.iter().map(|n| n.to_vec()).collect(),
            counts: counts.iter().map(|n| n.to_vec()).collect(),
        }
    }

    pub(super) fn restore(&self, backend: &mut CpuBackend) {
        let LossState { numbers, counts } = backend.loss_state();
        assert_eq!((numbers.len(), counts.len()), (self.numbers.len(), self.counts.len()));
        numbers.into_iter().zip(&self.numbers).for_each(|(to, from)| to.copy_from_slice(from));
        counts.into_iter().zip(&self.counts).for_each(|(to, from)| to.copy_from_slice(from));
    }
}

/// Histories of several products, biases and targets of several weights, with every kind of negatives, with and without
/// layers.
#[tokio::test]
async fn histories_biases_and_targets() {
    let bpr = json!({"kind": "bpr"});
    let dropped = TowerDropout { input: 0.3, hidden: 0.4, history: 0.3 };
    for (dropout, (changes, layers)) in [
        (json!({"negatives": "full"}), vec![]),
        (json!({}), vec![]),
        (json!({"negatives": "full"}), vec![6]),
        (json!({}), vec![7, 5]),
        (json!({"uniform_negatives": 9, "log_q": "exact", "hard_negatives": {}}), vec![6]),
        (json!({"uniform_negatives": 5, "log_q": {"streaming": {"alpha": 0.1}}}), vec![]),
        (json!({"objective": bpr, "negatives": "full"}), vec![]),
        (json!({"objective": bpr, "uniform_negatives": 20, "log_q": "exact"}), vec![6]),
        (json!({"objective": {"kind": "bpr", "negatives_per_row": 3}, "uniform_negatives": 20}), vec![]),
    ]
    .into_iter()
    .flat_map(|case| [(TowerDropout::default(), case.clone()), (dropped, case)])
    {
        let mut config = TrainConfig::recommended();
        config.loss = loss(&changes);
        config.dropout = DropoutConfig { query: dropout, candidate: dropout };
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.layers) = (Activation::Relu, layers.clone());
        }
        let (model, weights, data, pool) = made(&config, 0.3).await;
        let mut histories = Histories::default();
        (0..9u32)
            .for_each(|i| histories.push((0..i % 4).map(|j| (1 + (i * 3 + j * 5) % 16, 1.0 + j as f32))));
        let products: Vec<u32> = (0..20).map(|i| (i * 7) % data.catalogue.len() as u32).collect();
        let (offsets, weights_of) =
            ([0u32, 3, 3, 4, 9, 10, 12, 15, 16, 20], [0.5f32, 1.0, 2.0, 0.25].repeat(5));
        let rows: Vec<u32> = (0..9).collect();
        let targets = Targets { offsets: &offsets, columns: &products, weights: &weights_of };
        let batch = Batch { rows: &rows, histories: Some(&histories), targets: Some(targets) };
        let make = |weights: Weights| {
            let (data, pool) = (Arc::clone(&data), Arc::clone(&pool));
            let log_q = vec![-2.0; data.catalogue.len()];
            CpuBackend::new(data, model.clone(), config.clone(), weights, log_q, pool).unwrap()
        };
        let loss = |weights: Weights| make(weights).gradients(batch).unwrap().0.total();
        let (_, gradients) = make(weights.clone()).gradients(batch).unwrap();
        let (history, product, bias) = (
            &gradients.query.embeddings[0],
            &gradients.candidate.embeddings[0],
            &gradients.candidate.embeddings[1],
        );
        let checks: [(&str, f32, Place<'_>); 4] = [
            ("history", history.values[history.dim + 2], &|w| {
                &mut Arc::make_mut(&mut w.query).embeddings[0][[history.rows[1] as usize, 2]]
            }),
            ("product", product.values[3 * product.dim], &|w| {
                &mut Arc::make_mut(&mut w.candidate).embeddings[0][[product.rows[3] as usize, 0]]
            }),
            ("bias", bias.values[2], &|w| {
                &mut Arc::make_mut(&mut w.candidate).embeddings[1][[bias.rows[2] as usize, 0]]
            }),
            ("first bias", bias.values[0], &|w| {
                &mut Arc::make_mut(&mut w.candidate).embeddings[1][[bias.rows[0] as usize, 0]]
            }),
        ];
        compare(&checks, &weights, &loss, &format!("{changes} {layers:?} {dropout:?}"));
    }
}

/// One number of the weights.
pub(super) type Place<'a> = &'a dyn Fn(&mut Weights) -> &mut f32;

pub(super) type Made = (ModelConfig, Weights, Arc<TrainData>, Arc<rayon::ThreadPool>);

pub(super) async fn made(config: &TrainConfig, init: f32) -> Made {
    let schema = Schema::retail();
    let dataset = dataset(&groups(12, 16, 4), 2).await;
    let buckets =
        VocabularyConfig { revenue_buckets: 5, timestamp_buckets: 4, ..VocabularyConfig::default() };
    let cancel = CancelToken::new();
    let built = Vocabulary::build(&dataset, &schema, &buckets, 1, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let model = config.model(&schema).unwrap();
    let data = load(&dataset, &model.schema, &vocabulary).await;
    let weights = initial_weights(&model, &vocabulary, 3, init).unwrap();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    (model, weights, data, pool)
}

/// Checks gradients after some steps.
pub(super) async fn check(config: TrainConfig, steps: u32) {
    let (model, weights, data, pool) = made(&config, 0.5).await;
    let log_q = vec![-2.0; data.catalogue.len()];
    let batch: Vec<u32> = (0..20).collect();
    let make = |weights: Weights| {
        CpuBackend::new(
            Arc::clone(&data),
            model.clone(),
            config.clone(),
            weights,
            log_q.clone(),
            Arc::clone(&pool),
        )
        .unwrap()
    };
    let mut before = make(weights);
    for step in 0..steps {
        before.step(Batch::rows(&(step * 20..(step + 1) * 20).collect::<Vec<_>>()), 0.01).unwrap();
    }
    let (saved, weights) = (Saved::of(&mut before), before.weights());
    let resumed = |weights: Weights, saved: &Saved| {
        let mut backend = make(weights);
        saved.restore(&mut backend);
        backend.gradients(Batch::rows(&batch)).unwrap()
    };
    let loss = |weights: Weights| resumed(weights, &saved).0.total();
    let gradients = resumed(weights.clone(), &saved).1;
    let row = gradients.query.embeddings[0].rows[1] as usize;
    let checks: [(&str, f32, Place<'_>); 6] = [
        ("query kernel 0", gradients.query.dense[0].kernel[[3, 2]], &|w| {
            &mut Arc::make_mut(&mut w.query).dense[0].kernel[[3, 2]]
        }),
        ("query last bias", gradients.query.dense.last().unwrap().bias[1], &|w| {
            &mut Arc::make_mut(&mut w.query).dense.last_mut().unwrap().bias[1]
        }),
        ("candidate kernel 0", gradients.candidate.dense[0].kernel[[5, 4]], &|w| {
            &mut Arc::make_mut(&mut w.candidate).dense[0].kernel[[5, 4]]
        }),
        ("candidate last kernel", gradients.candidate.dense.last().unwrap().kernel[[2, 3]], &|w| {
            &mut Arc::make_mut(&mut w.candidate).dense.last_mut().unwrap().kernel[[2, 3]]
        }),
        ("query embedding", gradients.query.embeddings[0].values[gradients.query.embeddings[0].dim], &|w| {
            &mut Arc::make_mut(&mut w.query).embeddings[0][[row, 0]]
        }),
        ("candidate embedding", gradients.candidate.embeddings[2].values[1], &|w| {
            let row = gradients.candidate.embeddings[2].rows[0] as usize;
            &mut Arc::make_mut(&mut w.candidate).embeddings[2][[row, 1]]
        }),
    ];
    let what = format!("{:?} {:?} {:?}", config.query, config.loss, config.dropout);
    compare(&checks, &weights, &loss, &what);
    assert_eq!(gradients.log_scale.is_some(), config.loss.learned_temperature.is_some());
    if let Some(analytic) = gradients.log_scale {
        let nudged = |by: f32| {
            let mut saved = saved.clone();
            saved.numbers[0][0] += by;
            resumed(weights.clone(), &saved).0.total()
        };
        let numeric = (nudged(4e-3) - nudged(-4e-3)) / 8e-3;
        let close = (numeric - f64::from(analytic)).abs() < 0.01 * numeric.abs().max(0.05);
        assert!(close, "temperature of {what}: {numeric} by differences, {analytic} by the backward pass");
    }
}

pub(super) fn compare(
    checks: &[(&str, f32, Place<'_>)],
    weights: &Weights,
    loss: &dyn Fn(Weights) -> f64,
    what: &str,
) {
    for (name, analytic, at) in checks {
        let nudged = |by: f32| {
            let mut weights = weights.clone();
            *at(&mut weights) += by;
            loss(weights)
        };
        let numeric = (nudged(4e-3) - nudged(-4e-3)) / 8e-3;
        let close = (numeric - f64::from(*analytic)).abs() < 0.02 * numeric.abs().max(0.02);
        assert!(close, "{name} of {what}: {numeric} by differences, {analytic} by the backward pass");
    }
}
