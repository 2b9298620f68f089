//! Candidate towers that do not read the product: what products with equal features are to the loss.

use super::finite_differences::loss;
use super::losses::relative;
use super::shards::{Purchase, dataset, groups, load};
use ndarray::Array2;
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::{Encoding, Schema, Tower};
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::cpu::Gradients;
use recs_train::backend::{Batch, CpuBackend};
use recs_train::optim::Clip;
use recs_train::trainer::{Popularity, initial_weights};
use recs_train::{TrainConfig, TrainData};
use serde_json::{Value, json};
use std::sync::Arc;

struct Made {
    config: TrainConfig,
    model: ModelConfig,
    data: Arc<TrainData>,
    weights: Weights,
    log_q: Vec<f32>,
}

/// The candidate tower reads the category alone, which four products each have.
async fn made(purchases: &[Purchase]) -> Made {
    let mut schema = Schema::retail();
    schema.candidate =
        vec![Encoding::Embedding { name: "category".into(), field: "category".into(), dim: 5, table: None }];
    let mut config = TrainConfig { clip: Clip::None, l1: 0.0, ..TrainConfig::reference() };
    (config.query.layers, config.candidate.layers) = (vec![6], vec![6]);
    let dataset = dataset(purchases, 2).await;
    let cancel = CancelToken::new();
    let settings = VocabularyConfig::default();
    let built = Vocabulary::build(&dataset, &schema, &settings, 1, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let (query, candidate) = (config.query.clone(), config.candidate.clone());
    let model = ModelConfig { schema, query, candidate, temperature: 0.5 };
    let data = load(&dataset, &model.schema, &vocabulary).await;
    let weights = initial_weights(&model, &vocabulary, 3, 0.5).unwrap();
    let log_q = Popularity::fit(&data, &(0..data.rows() as u32).collect::<Vec<_>>()).log_q();
    Made { config, model, data, weights, log_q }
}

impl Made {
    fn gradients(&self, changes: &Value, rows: &[u32]) -> (f64, Gradients) {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        let config = TrainConfig { loss: loss(changes), ..self.config.clone() };
        let (data, weights) = (Arc::clone(&self.data), self.weights.clone());
        let mut backend =
            CpuBackend::new(data, self.model.clone(), config, weights, self.log_q.clone(), pool).unwrap();
        let (loss, gradients) = backend.gradients(Batch::rows(rows)).unwrap();
        (loss.retrieval, gradients)
    }

    /// The definition, over the members of the batch.
    fn by_members(&self, rows: &[u32], corrects: bool, masks: bool) -> f64 {
        let embed = |tower, columns| -> Array2<f32> {
            let weights = Arc::clone(self.weights.tower(tower));
            TowerModel::new(&self.model, tower, weights).unwrap().embed(&columns).unwrap()
        };
        let queries = embed(Tower::Query, self.data.query_columns(rows));
        let candidates = embed(Tower::Candidate, self.data.candidates.clone());
        let product = |j: usize| self.data.product[rows[j] as usize];
        let of_row = |i: usize| {
            let logit = |j: usize| {
                let candidate = candidates.row(self.data.candidate[rows[j] as usize] as usize);
                let log_q = if corrects { self.log_q[product(j) as usize] } else { 0.0 };
                f64::from(queries.row(i).dot(&candidate)) / 0.5 - f64::from(log_q)
            };
            let kept = (0..rows.len()).filter(|&j| j == i || !masks || product(j) != product(i));
            kept.map(|j| logit(j).exp()).sum::<f64>().ln() - logit(i)
        };
        (0..rows.len()).map(of_row).sum::<f64>() / rows.len() as f64
    }
}

/// As many copies of each product as its share says: the corrected sum is that over the catalogue.
#[tokio::test]
async fn each_product_is_corrected_by_its_own_share() {
    let made = made(&groups(12, 16, 4)).await;
    assert_eq!((made.data.candidates.rows, made.data.catalogue.len()), (4, 16));
    let rows: Vec<u32> = (0..made.data.rows() as u32).collect();
    let flat = |gradients: &Gradients| -> Vec<f32> {
        let table = &gradients.candidate.embeddings[0];
        let query = gradients.query.dense[0].kernel.iter().copied();
        table.to_dense(5).iter().copied().chain(query).collect()
    };
    let full = flat(&made.gradients(&json!({"negatives": "full"}), &rows).1);
    let corrected = flat(&made.gradients(&json!({"log_q": "exact"}), &rows).1);
    assert!(relative(&corrected, &full) < 1e-4, "{}", relative(&corrected, &full));
}

/// Products that share a candidate, and one that has two: the category of product 5 changes on the third day.
#[tokio::test]
async fn hits_are_those_of_products() {
    let mut purchases = groups(12, 16, 6);
    for purchase in &mut purchases {
        if purchase.product == 5 && purchase.timestamp >= 1_500_000_000 + 2 * 86_400 {
            purchase.category = "group3".into();
        }
    }
    let made = made(&purchases).await;
    let data = &made.data;
    let changed: Vec<u32> = (0..data.rows() as u32)
        .filter(|&row| {
            let same = |other: &u32| data.product[*other as usize] == data.product[row as usize];
            let mut rows = (0..data.rows() as u32).filter(same);
            rows.any(|other| data.candidate[other as usize] != data.candidate[row as usize])
        })
        .collect();
    let twice: Vec<u32> = {
        let first = changed[0];
        let other = changed.iter().find(|&&r| data.candidate[r as usize] != data.candidate[first as usize]);
        vec![first, *other.unwrap()]
    };
    // A product twice, and two others with one candidate: as many products as candidates.
    let others: Vec<u32> = (0..data.rows() as u32).filter(|row| !changed.contains(row)).collect();
    let (one, two) = others
        .iter()
        .flat_map(|&a| others.iter().map(move |&b| (a, b)))
        .find(|&(a, b)| {
            let columns = twice.iter().map(|&row| data.candidate[row as usize]);
            let [c, d] = [a, b].map(|row| data.candidate[row as usize]);
            c == d
                && data.product[a as usize] != data.product[b as usize]
                && columns.into_iter().all(|t| t != c)
        })
        .unwrap();
    let small = [twice, vec![one, two]].concat();
    let all: Vec<u32> = (0..data.rows() as u32).collect();
    for (log_q, corrects) in [("none", false), ("exact", true)] {
        for masks in [false, true] {
            for rows in [&small, &all] {
                let changes = json!({"log_q": log_q, "mask_accidental_hits": masks});
                let (ours, expected) =
                    (made.gradients(&changes, rows).0, made.by_members(rows, corrects, masks));
                assert!((ours - expected).abs() < 1e-5 * expected.abs(), "{changes}: {ours}, not {expected}");
            }
        }
    }
}
