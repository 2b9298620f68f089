//! Gradients of whole models against finite differences, for every tensor and every choice of tower.

use super::shards::{dataset, groups, load};
use recs_core::model::{Activation, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::TrainConfig;
use recs_train::backend::{Batch, CpuBackend};
use recs_train::trainer::initial_weights;
use std::sync::Arc;

#[tokio::test]
async fn every_tensor_of_every_kind_of_tower() {
    for (activation, normalise, layers) in [
        (Activation::Linear, false, vec![9, 5]),
        (Activation::Relu, true, vec![7, 6]),
        (Activation::Linear, true, vec![6]),
    ] {
        let mut config = TrainConfig::recommended();
        for tower in [&mut config.query, &mut config.candidate] {
            (tower.activation, tower.l2_normalise, tower.layers) = (activation, normalise, layers.clone());
        }
        config.loss.temperature = 0.5;
        config.l1 = 0.01;
        check(config).await;
    }
}

/// One number of the weights.
type Place<'a> = &'a dyn Fn(&mut Weights) -> &mut f32;

async fn check(config: TrainConfig) {
    let schema = Schema::retail();
    let dataset = dataset(&groups(12, 16, 4), 2).await;
    let buckets =
        VocabularyConfig { revenue_buckets: 5, timestamp_buckets: 4, ..VocabularyConfig::default() };
    let cancel = CancelToken::new();
    let built = Vocabulary::build(&dataset, &schema, &buckets, 1, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let model = config.model(&schema).unwrap();
    let data = load(&dataset, &model.schema, &vocabulary).await;
    let weights = initial_weights(&model, &vocabulary, 3, 0.5).unwrap();
    let log_q = vec![-2.0; data.catalogue.len()];
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
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
    for (name, analytic, at) in checks {
        let nudged = |by: f32| {
            let mut weights = weights.clone();
            *at(&mut weights) += by;
            loss(weights)
        };
        let numeric = (nudged(4e-3) - nudged(-4e-3)) / 8e-3;
        let close = (numeric - f64::from(analytic)).abs() < 0.02 * numeric.abs().max(0.02);
        assert!(
            close,
            "{name} of {:?}: {numeric} by differences, {analytic} by the backward pass",
            config.query
        );
    }
}
