//! The `reference` preset against TensorFlow Recommenders, from TensorFlow's own weights: see
//! `tests/data/reference/README.md` for what the files hold and what rounding does to them.

use super::shards::{Purchase, dataset, load};
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::schema::{Schema, Tower};
use recs_core::vocab::Vocabulary;
use recs_train::backend::cpu::{Gradients, TowerGradients};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::{TrainConfig, TrainData};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

const BATCH: u32 = 256;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference").join(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn purchases() -> Vec<Purchase> {
    let rows = json("rows.json");
    let text = |key: &str, i: usize| rows[key][i].as_str().unwrap().to_owned();
    let n = rows["customer_id"].as_array().unwrap().len();
    assert_eq!(n, 3 * BATCH as usize);
    (0..n)
        .map(|i| Purchase {
            customer: text("customer_id", i),
            city: text("city", i),
            revenue: rows["revenue"][i].as_f64().unwrap() as f32,
            timestamp: rows["timestamp"][i].as_i64().unwrap(),
            product: text("product_id", i).parse().unwrap(),
            name: text("art_name", i),
            category: text("category", i),
            subcategory: text("subcategory", i),
        })
        .collect()
}

struct Reference {
    model: ModelConfig,
    vocabulary: Arc<Vocabulary>,
    data: Arc<TrainData>,
    weights: Weights,
}

async fn reference() -> Reference {
    let schema = Schema::retail();
    let vocabulary =
        Arc::new(Vocabulary::parse(&read("vocabularies.json"), &schema, "vocabularies.json").unwrap());
    let model = TrainConfig::reference().model(&schema).unwrap();
    let data = load(&dataset(&purchases(), 3).await, &model.schema, &vocabulary).await;
    let weights =
        Weights::from_safetensors(&read("initial.safetensors"), &model, &vocabulary, "initial").unwrap();
    Reference { model, vocabulary, data, weights }
}

impl Reference {
    fn backend(&self, threads: usize) -> CpuBackend {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        let config = TrainConfig::reference();
        CpuBackend::new(
            Arc::clone(&self.data),
            self.model.clone(),
            config,
            self.weights.clone(),
            Vec::new(),
            pool,
        )
        .unwrap()
    }

    fn tensors(&self, weights: &Weights) -> Vec<(String, Vec<f32>)> {
        let all = weights.tensors(&self.model, &self.vocabulary).unwrap();
        all.into_iter().map(|(name, _, data)| (name, data.to_vec())).collect()
    }

    fn gradient_tensors(&self, gradients: &Gradients) -> Vec<(String, Vec<f32>)> {
        let dense = |g: &TowerGradients, w: &recs_core::model::TowerWeights| {
            let tables = g.embeddings.iter().zip(&w.embeddings);
            let mut flat: Vec<Vec<f32>> =
                tables.map(|(e, table)| e.to_dense(table.nrows()).into_raw_vec_and_offset().0).collect();
            for layer in &g.dense {
                flat.push(layer.kernel.as_slice().unwrap().to_vec());
                flat.push(layer.bias.to_vec());
            }
            flat
        };
        let flat = [
            dense(&gradients.query, &self.weights.query),
            dense(&gradients.candidate, &self.weights.candidate),
        ]
        .concat();
        self.tensors(&self.weights).into_iter().map(|(name, _)| name).zip(flat).collect()
    }
}

fn golden(file: &str, tensor: &str) -> Vec<f32> {
    let bytes = read(file);
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let data = parsed.tensor(tensor).unwrap().data().to_vec();
    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn norm(x: impl Iterator<Item = f32>) -> f64 {
    x.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// |ours - theirs| / |theirs|.
fn relative(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    norm(ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(theirs.iter().copied()).max(1e-30)
}

/// The softmax does not see the candidate tower's biases: their true gradient is 0.
fn is_noise(tensor: &str) -> bool {
    tensor.starts_with("candidate.") && tensor.ends_with(".bias")
}

fn batch(i: u32) -> Vec<u32> {
    (i * BATCH..(i + 1) * BATCH).collect()
}

#[tokio::test]
async fn embeddings_equal_tensorflows() {
    let r = reference().await;
    let names: Vec<String> = SafeTensors::deserialize(&read("embeddings.safetensors"))
        .unwrap()
        .names()
        .iter()
        .map(|n| n.to_string())
        .collect();
    let named = |tower: &str| {
        names
            .iter()
            .find(|n| n.contains(tower) && n.contains("initial"))
            .cloned()
            .unwrap_or_else(|| panic!("{names:?}"))
    };
    let query = TowerModel::new(&r.model, Tower::Query, Arc::clone(&r.weights.query)).unwrap();
    let ours = query.embed(&r.data.query_columns(&batch(0))).unwrap();
    let theirs = golden("embeddings.safetensors", &named("query"));
    assert!(relative(ours.as_slice().unwrap(), &theirs) < 1e-5);
    let candidate = TowerModel::new(&r.model, Tower::Candidate, Arc::clone(&r.weights.candidate)).unwrap();
    let all = candidate.embed(&r.data.candidates).unwrap();
    let rows: Vec<usize> = batch(0).iter().map(|&i| r.data.candidate[i as usize] as usize).collect();
    let ours = all.select(ndarray::Axis(0), &rows);
    let theirs = golden("embeddings.safetensors", &named("candidate"));
    assert!(relative(ours.as_slice().unwrap(), &theirs) < 1e-5);
}

#[tokio::test]
async fn gradients_equal_tensorflows_before_and_after_clipping() {
    let r = reference().await;
    for threads in [1, 2, 3] {
        let mut backend = r.backend(threads);
        let (_, gradients) = backend.gradients(Batch::rows(&batch(0))).unwrap();
        let clipped = backend.clipped_gradients(Batch::rows(&batch(0))).unwrap();
        for (file, ours) in
            [("gradients_step_1.safetensors", gradients), ("clipped_gradients_step_1.safetensors", clipped)]
        {
            for (name, ours) in r.gradient_tensors(&ours) {
                let theirs = golden(file, &name);
                if is_noise(&name) {
                    assert!(norm(ours.iter().copied()) < 1e-3, "{file} {name}");
                    continue;
                }
                let apart = relative(&ours, &theirs);
                assert!(apart < 1e-4, "{file} {name}: {apart}");
            }
        }
    }
}

#[tokio::test]
async fn three_optimiser_steps_equal_tensorflows() {
    let r = reference().await;
    let expected = json("expected.json");
    for threads in [1, 2] {
        let mut backend = r.backend(threads);
        for step in 0..3 {
            let loss = backend.step(Batch::rows(&batch(step)), 1e-3).unwrap();
            let golden = &expected["steps"][step as usize];
            for (ours, key) in [
                (loss.retrieval, "retrieval_loss"),
                (loss.regularisation, "l1_loss"),
                (loss.total(), "total_loss"),
            ] {
                let theirs = golden[key].as_f64().unwrap();
                assert!(
                    (ours - theirs).abs() < 1e-4 * theirs,
                    "step {step} {key}: {ours} instead of {theirs}"
                );
            }
            if step != 1 {
                compare_weights(&r, &backend.weights(), &format!("after_step_{}.safetensors", step + 1));
            }
        }
    }
}

fn compare_weights(r: &Reference, weights: &Weights, file: &str) {
    let before = r.tensors(&r.weights);
    for ((name, ours), (_, start)) in r.tensors(weights).into_iter().zip(&before) {
        let theirs = golden(file, &name);
        let furthest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if is_noise(&name) {
            assert!(furthest < 0.007, "{file} {name}: {furthest}");
            continue;
        }
        let apart = relative(&ours, &theirs);
        assert!(apart < 1e-4, "{file} {name}: {apart}");
        assert!(furthest < 1e-4, "{file} {name}: one weight is {furthest} apart");
        // The way the weights went is compared too: it is small beside the weights themselves.
        let way = |w: &[f32]| w.iter().zip(start).map(|(w, s)| w - s).collect::<Vec<f32>>();
        let apart = relative(&way(&ours), &way(&theirs));
        assert!(apart < 5e-3, "{file} {name}: the ways differ by {apart}");
    }
}
