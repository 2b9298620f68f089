//! Gradients of whole models against finite differences, for every tensor and every choice of tower.

use super::shards::{dataset, groups, load};
use recs_core::model::{Activation, Histories, ModelConfig, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::{Batch, CpuBackend};
use recs_train::loss::{LossConfig, Negatives, Targets};
use recs_train::trainer::initial_weights;
use recs_train::{TrainConfig, TrainData};
use std::sync::Arc;

#[tokio::test]
async fn every_tensor_of_every_kind_of_tower() {
    for (activation, normalise, layers) in [
        (Activation::Linear, false, vec![9, 5]),
        (Activation::Relu, true, vec![7, 6]),
        (Activation::Linear, true, vec![6]),
    ] {
        let mut config = TrainConfig::reference();
        config.loss = LossConfig::corrected_in_batch();
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.l2_normalise, tower.layers) = (activation, normalise, layers.clone());
        }
        config.loss.temperature = 0.5;
        config.l1 = 0.01;
        check(config).await;
    }
}

/// Histories of several products, biases and targets of several weights, with every kind of negatives, with and without
/// layers.
#[tokio::test]
async fn histories_biases_and_targets() {
    for (negatives, layers) in [
        (Negatives::Full, vec![]),
        (Negatives::InBatch, vec![]),
        (Negatives::Full, vec![6]),
        (Negatives::InBatch, vec![7, 5]),
    ] {
        let mut config = TrainConfig::recommended();
        (config.loss.negatives, config.loss.temperature) = (negatives, 0.5);
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
            CpuBackend::new(data, model.clone(), config.clone(), weights, Vec::new(), pool).unwrap()
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
        compare(&checks, &weights, &loss, &format!("{negatives:?} {layers:?}"));
    }
}

/// One number of the weights.
type Place<'a> = &'a dyn Fn(&mut Weights) -> &mut f32;

type Made = (ModelConfig, Weights, Arc<TrainData>, Arc<rayon::ThreadPool>);

async fn made(config: &TrainConfig, init: f32) -> Made {
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

async fn check(config: TrainConfig) {
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
    let loss = |weights: Weights| make(weights).gradients(Batch::rows(&batch)).unwrap().0.total();
    let (_, gradients) = make(weights.clone()).gradients(Batch::rows(&batch)).unwrap();
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
    compare(&checks, &weights, &loss, &format!("{:?}", config.query));
}

fn compare(checks: &[(&str, f32, Place<'_>)], weights: &Weights, loss: &dyn Fn(Weights) -> f64, what: &str) {
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
