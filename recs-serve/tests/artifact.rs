//! A small model whose numbers follow from hashes: no file, the same on every machine.

use ndarray::Array2;
use recs_core::artifact::{
    Candidates, Customers, Metrics, ModelArtifact, ModelMetadata, Probe, TestMetrics, VocabularySizes,
};
use recs_core::hash::fingerprint64;
use recs_core::model::{FeatureEncoder, ModelConfig, TowerColumns, TowerModel, Weights};
use recs_core::schema::{Schema, Tower, Value};
use recs_core::vocab::{Vocabulary, VocabularyBuilder, VocabularyConfig};
use recs_serve::clock::FixedClock;
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use std::sync::Arc;

pub(crate) const PRODUCTS: usize = 60;
pub(crate) const CUSTOMERS: usize = 20;
pub(crate) const NOW: i64 = 1_514_764_800;
/// In the customers' table with purchases and a segment of its own, but not in the vocabulary.
pub(crate) const FORGOTTEN: &str = "z_forgotten";
/// The segment of `FORGOTTEN`; no city of the vocabulary.
pub(crate) const OLD_TOWN: &str = "old_town";
const CITIES: [&str; 3] = ["alpha", "beta", "gamma"];
const CATEGORIES: [&str; 4] = ["", "DAIRY", "FRUIT", "MEAT"];

/// Category of product `i`; every fourth has none.
pub(crate) fn category(i: usize) -> &'static str {
    CATEGORIES[i % 4]
}

/// Id of product `i`; ids are not in catalogue order.
pub(crate) fn product_id(i: usize) -> String {
    (1000 + (i * 37) % PRODUCTS).to_string()
}

pub(crate) fn is_available(i: usize) -> bool {
    i % 5 != 3
}

/// Products that customer `c` bought, by number.
pub(crate) fn purchases(c: usize) -> Vec<usize> {
    (0..PRODUCTS).filter(|p| fingerprint64(format!("{c}-{p}").as_bytes()).is_multiple_of(7)).collect()
}

fn rows() -> Vec<(usize, usize)> {
    (0..CUSTOMERS)
        .flat_map(|c| purchases(c).into_iter().map(move |p| (c, p)))
        .chain((0..PRODUCTS).map(|p| (p % CUSTOMERS, p)))
        .collect()
}

fn vocabulary(schema: &Schema) -> Vocabulary {
    let config =
        VocabularyConfig { revenue_buckets: 20, timestamp_buckets: 10, ..VocabularyConfig::default() };
    let mut builder = VocabularyBuilder::new(schema, &config).unwrap();
    for (c, p) in rows() {
        let customer = format!("c{c}");
        let row = [
            Value::Text(&customer),
            Value::Text(CITIES[c % 3]),
            Value::Float(10.0 + c as f32 * 13.0),
            Value::Int64(NOW - 86_400 * (p as i64 % 80)),
            Value::Int64(product_id(p).parse().unwrap()),
            Value::Text("NAME"),
            Value::Text(category(p)),
            Value::Text("SUB"),
        ];
        builder.push(&row).unwrap();
    }
    builder.finish().unwrap()
}

fn noise(name: &str, i: usize) -> f32 {
    let bits = fingerprint64(format!("{name}{i}").as_bytes());
    (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

pub(crate) fn candidates(
    config: &ModelConfig,
    weights: &Weights,
    vocabulary: &Arc<Vocabulary>,
) -> Candidates {
    let encoder = FeatureEncoder::new(&config.schema, vocabulary.clone()).unwrap().candidate;
    let tower = TowerModel::new(config, Tower::Candidate, Arc::clone(&weights.candidate)).unwrap();
    let mut columns = TowerColumns::default();
    for p in 0..PRODUCTS {
        let (id, none) = (product_id(p), Value::Text(""));
        let row =
            [none, none, none, none, Value::Text(&id), none, Value::Text(category(p)), Value::Text("SUB")];
        encoder.encode(&row, &mut columns).unwrap();
    }
    let vectors: Array2<f32> = tower.embed(&columns).unwrap();
    let bought = |p: &usize| rows().iter().filter(|(_, q)| q == p).count() as u64;
    Candidates {
        ids: (0..PRODUCTS).map(product_id).collect(),
        names: (0..PRODUCTS).map(|p| format!("product {p}")).collect(),
        categories: (0..PRODUCTS).map(|p| category(p).to_owned()).collect(),
        available: (0..PRODUCTS).map(is_available).collect(),
        popularity: (0..PRODUCTS).map(|p| bought(&p)).collect(),
        vectors,
    }
}

fn customers() -> Customers {
    let mut order: Vec<usize> = (0..CUSTOMERS).collect();
    order.sort_by_key(|c| format!("c{c}"));
    let mut customers = Customers { offsets: vec![0], ..Customers::default() };
    let mut push = |id: String, segment: &str, products: Vec<usize>| {
        customers.ids.push(id);
        customers.segment.push(segment.to_owned());
        customers.last_day.push(17_500);
        customers.counts.extend(products.iter().map(|p| 1 + *p as u32 % 3));
        customers.products.extend(products.into_iter().map(|p| p as u32));
        customers.offsets.push(customers.products.len());
    };
    order.into_iter().for_each(|c| push(format!("c{c}"), CITIES[c % 3], purchases(c)));
    push(FORGOTTEN.to_owned(), OLD_TOWN, vec![7, 11, 50]);
    customers
}

fn probe() -> Arc<[Probe]> {
    let probe = |c: usize| Probe {
        customer_id: format!("c{c}"),
        city: CITIES[c % 3].to_owned(),
        timestamp: NOW,
        product_ids: purchases(c).into_iter().map(product_id).collect(),
    };
    (0..CUSTOMERS).map(probe).collect()
}

pub(crate) fn artifact(version: &str) -> ModelArtifact {
    let mut config = ModelConfig::reference(Schema::retail());
    config.temperature = 0.5;
    artifact_of(config, version)
}

/// A model that looks at histories, with biases and something added for what was bought before.
pub(crate) fn repeating_artifact() -> ModelArtifact {
    repeating(repeating_config())
}

fn repeating_config() -> ModelConfig {
    let mut config = ModelConfig::reference(Schema::retail().with_recommended_encodings().unwrap());
    for tower in [&mut config.query, &mut config.candidate] {
        (tower.layers, tower.l2_normalise) = (Vec::new(), true);
    }
    config.temperature = 0.125;
    config
}

/// Both kinds of models in a few KiB: narrow tables, few bins.
pub(crate) fn thin_artifacts() -> [(&'static str, ModelArtifact); 2] {
    let reference = thin(ModelConfig::reference(Schema::retail()));
    [("reference", artifact_of(reference, "v1")), ("histories", repeating(thin(repeating_config())))]
}

fn thin(mut config: ModelConfig) -> ModelConfig {
    fn narrow(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, few) in [("dim", 4), ("bins", 8)] {
                    if let Some(value) = members.get_mut(name) {
                        *value = few.into();
                    }
                }
                members.values_mut().for_each(narrow);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(narrow),
            _ => {}
        }
    }
    let mut schema = serde_json::to_value(&config.schema).unwrap();
    narrow(&mut schema);
    config.schema = serde_json::from_value(schema).unwrap();
    for tower in [&mut config.query, &mut config.candidate] {
        tower.layers.iter_mut().for_each(|width| *width = 4);
    }
    config
}

fn repeating(config: ModelConfig) -> ModelArtifact {
    let mut artifact = artifact_of(config, "v1");
    let mut customers = Arc::unwrap_or_clone(artifact.customers);
    customers.repeat = (0..customers.products.len()).map(|i| 3.0 * noise("repeat", i).max(-0.5)).collect();
    artifact.customers = Arc::new(customers);
    artifact
}

fn artifact_of(config: ModelConfig, version: &str) -> ModelArtifact {
    let vocabulary = Arc::new(vocabulary(&config.schema));
    let scale = |shape: &[usize]| if shape.len() == 2 { 1.0 / (shape[1] as f32).sqrt() } else { 0.1 };
    let fill = |name: &str, shape: &[usize]| {
        Ok((0..shape.iter().product()).map(|i| noise(name, i) * scale(shape)).collect())
    };
    let weights = Weights::build(&config, &vocabulary, fill).unwrap();
    let tests =
        TestMetrics { test_recall_5: 0.1, test_recall_10: 0.2, test_recall_50: 0.3, test_recall_100: 0.4 };
    let metadata = ModelMetadata {
        model_version: version.to_owned(),
        vocabularies: VocabularySizes::of(&vocabulary, &config.schema),
        hyperparameters: serde_json::json!({"epochs": 3}).as_object().unwrap().clone(),
        metrics: Metrics { test_metrics: Some(tests), ..Metrics::default() },
    };
    let candidates = Arc::new(candidates(&config, &weights, &vocabulary));
    let (weights, customers) = (Arc::new(weights), Arc::new(customers()));
    ModelArtifact {
        metadata,
        config,
        weights,
        vocabulary,
        candidates,
        customers,
        probe: probe(),
        training_stats: serde_json::json!({}),
    }
}

pub(crate) fn host() -> Host {
    Host { clock: Arc::new(FixedClock(NOW)), ..Host::new(Workers::new(2).unwrap()) }
}

pub(crate) fn retriever() -> Retriever {
    Retriever::new(Arc::new(artifact("v1")), host()).unwrap()
}

/// One for all tests of a process that only read it.
pub(crate) fn shared() -> &'static Retriever {
    static SHARED: std::sync::OnceLock<Retriever> = std::sync::OnceLock::new();
    SHARED.get_or_init(retriever)
}
