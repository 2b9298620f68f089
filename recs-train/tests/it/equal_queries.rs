//! Queries with equal features are computed once; whoever looks at loss and gradients does not see it.

use super::losses::relative;
use super::made::Made;
use recs_core::model::Activation;
use recs_core::schema::{Encoding, Schema};
use recs_train::TrainConfig;
use recs_train::backend::cpu::{Gradients, TowerGradients};
use recs_train::backend::{Backend, Batch};
use recs_train::loss::Reduction;
use recs_train::optim::Clip;

/// City and day: queries of several customers are equal, and their products differ.
fn schema() -> Schema {
    let embedding =
        |name: &str, dim| Encoding::Embedding { name: name.into(), field: name.into(), dim, table: None };
    let mut schema = Schema::retail();
    let cyclical = Encoding::Cyclical { name: "time".into(), field: "timestamp".into() };
    schema.query = vec![embedding("city", 3), cyclical];
    schema
}

fn config(activation: Activation, clip: Clip, reduction: Reduction, l2_normalise: bool) -> TrainConfig {
    let mut config = TrainConfig { clip, ..TrainConfig::reference() };
    for tower in [&mut config.query, &mut config.candidate] {
        (tower.activation, tower.layers, tower.l2_normalise) = (activation, vec![9, 7, 5], l2_normalise);
    }
    config.loss.reduction = reduction;
    config
}

/// Layers, tables in the order of ids, and what clipping looks at.
fn flat(Gradients { query, candidate, .. }: &Gradients) -> Vec<f32> {
    let tower = |tower: &TowerGradients| -> Vec<f32> {
        let layers = tower.dense.iter().flat_map(|layer| layer.kernel.iter().chain(&layer.bias));
        let mut all: Vec<f32> = layers.copied().collect();
        for table in &tower.embeddings {
            all.extend(table.to_dense(20).iter());
            all.push(table.unsummed_squares.sqrt() as f32);
        }
        all
    };
    [tower(query), tower(candidate)].concat()
}

#[tokio::test]
async fn equal_queries_have_the_loss_and_the_gradients_of_single_ones() {
    let clipped = Clip::PerVariable { norm: 1.0 };
    for (activation, clip, reduction, normalised) in [
        (Activation::Linear, clipped, Reduction::Sum, false),
        (Activation::Relu, clipped, Reduction::Sum, false),
        (Activation::Gelu, clipped, Reduction::Mean, true),
        (Activation::Relu, Clip::None, Reduction::Mean, false),
    ] {
        let config = config(activation, clip, reduction, normalised);
        let made = Made::new(&config, schema(), 6, 0.5).await;
        // All rows, and some of them again.
        let rows: Vec<u32> = (0..made.data.rows() as u32).chain([5, 7, 5, 0]).collect();
        // Members of a batch that drops numbers, if ever so few, are computed one by one.
        let mut single = config.clone();
        single.dropout.query.hidden = 1e-10;
        let [once, one_by_one] = [&config, &single].map(|config| {
            let mut backend = made.backend(config, made.weights.clone());
            let (loss, gradients) = backend.gradients(Batch::rows(&rows)).unwrap();
            (loss.retrieval, flat(&gradients))
        });
        assert!((once.0 - one_by_one.0).abs() < 1e-5 * one_by_one.0, "{} {}", once.0, one_by_one.0);
        let distance = relative(&once.1, &one_by_one.1);
        assert!(distance < 1e-5, "{activation:?}, {clip:?}: {distance}");
    }
}

/// What a step needs of the queries of another batch is not left over.
#[tokio::test]
async fn batches_of_other_sizes_do_not_show() {
    let config = config(Activation::Relu, Clip::PerVariable { norm: 1.0 }, Reduction::Sum, false);
    let made = Made::new(&config, schema(), 6, 0.5).await;
    let all: Vec<u32> = (0..made.data.rows() as u32).collect();
    let mut used = made.backend(&config, made.weights.clone());
    for batch in [&all[..], &[3; 50], &all[10..11], &all[..40]] {
        let mut fresh = made.backend(&config, made.weights.clone());
        let [one, other] = [&mut used, &mut fresh].map(|backend| {
            let (loss, gradients) = backend.gradients(Batch::rows(batch)).unwrap();
            (loss, flat(&gradients))
        });
        assert_eq!(one, other);
        assert_eq!(used.step(Batch::rows(batch), 0.0).unwrap(), fresh.step(Batch::rows(batch), 0.0).unwrap());
    }
}
