//! What must be equal for a run to go on.

use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use recs_core::artifact::Digest;
use recs_core::hash::fingerprint64;
use recs_core::model::ModelConfig;
use recs_core::vocab::Vocabulary;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Settings that change nothing of what is trained. The threads that they lead to are compared apart.
const FREE: [&str; 4] = ["threads", "max_loss_ratio", "evaluation", "test_rows"];

/// Of a run. Equal ones give equal bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    recs_train: String,
    /// Sums over threads are made in their order.
    threads: usize,
    train: Value,
    model: Value,
    /// SHA-256.
    vocabulary: String,
    data: String,
    /// Version and digest of what the training started from; none for random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warm_start: Option<String>,
}

impl Fingerprint {
    /// Reads all of `data` once.
    ///
    /// # Errors
    /// [`Error::Core`] when vocabulary and schema do not fit.
    pub(crate) fn new(
        config: &TrainConfig,
        model: &ModelConfig,
        vocabulary: &Vocabulary,
        data: &TrainData,
        threads: usize,
    ) -> Result<Self> {
        let fingerprint = Self {
            recs_train: env!("CARGO_PKG_VERSION").into(),
            threads,
            train: json("train", config)?,
            model: json("model", model)?,
            vocabulary: Digest::of(&vocabulary.to_json(&model.schema)?).sha256,
            data: format!("{:016x}", digest(data)),
            warm_start: None,
        };
        Ok(fingerprint.without(&FREE))
    }

    /// Of a run that starts from an earlier version.
    pub(crate) fn started_from(self, warm_start: Option<String>) -> Self {
        Self { warm_start, ..self }
    }

    /// Without the settings `free`, which change nothing here.
    pub(crate) fn without(mut self, free: &[&str]) -> Self {
        if let Value::Object(settings) = &mut self.train {
            settings.retain(|key, _| !free.contains(&&**key));
        }
        self
    }

    /// What `saved` has otherwise, for people.
    pub(crate) fn differences(&self, saved: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let pairs = [
            ("recs-train", Value::from(&*self.recs_train), Value::from(&*saved.recs_train)),
            ("threads", Value::from(self.threads), Value::from(saved.threads)),
            ("train", self.train.clone(), saved.train.clone()),
            ("model", self.model.clone(), saved.model.clone()),
            ("vocabulary", Value::from(&*self.vocabulary), Value::from(&*saved.vocabulary)),
            ("data", Value::from(&*self.data), Value::from(&*saved.data)),
            ("warm_start", Value::from(self.warm_start.clone()), Value::from(saved.warm_start.clone())),
        ];
        pairs.iter().for_each(|(name, ours, theirs)| compare(name, ours, theirs, &mut all));
        all
    }
}

/// As text and back: a 32-bit float is then as short as it was written, 0.01.
fn json(what: &str, value: &impl Serialize) -> Result<Value> {
    let value = serde_json::to_string(value).and_then(|text| serde_json::from_str(&text));
    value.map_err(|e| Error::config(what, e.to_string()))
}

fn compare(name: &str, ours: &Value, theirs: &Value, all: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let none = Value::Null;
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let of = |object: &serde_json::Map<String, Value>| object.get(key).unwrap_or(&none).clone();
                compare(&format!("{name}.{key}"), &of(a), &of(b), all);
            }
        }
        (a, b) if a == b => {}
        (Value::Array(_), _) | (_, Value::Array(_)) => all.push(format!("{name} is another")),
        (a, b) => all.push(format!("{name} is {a}, there {b}")),
    }
}

/// Of everything that a run reads of the data.
fn digest(data: &TrainData) -> u64 {
    let (query, candidates, catalogue) = (&data.query, &data.candidates, &data.catalogue);
    let columns: [&[u8]; 14] = [
        bytemuck::cast_slice(&query.ids),
        bytemuck::cast_slice(&query.numbers),
        bytemuck::cast_slice(&candidates.ids),
        bytemuck::cast_slice(&candidates.numbers),
        bytemuck::cast_slice(&data.candidate),
        bytemuck::cast_slice(&data.product),
        bytemuck::cast_slice(&data.customer),
        bytemuck::cast_slice(&data.city),
        bytemuck::cast_slice(&data.timestamp),
        bytemuck::cast_slice(&catalogue.ids),
        bytemuck::cast_slice(&catalogue.candidate),
        bytemuck::cast_slice(&catalogue.name),
        bytemuck::cast_slice(&catalogue.category),
        bytemuck::cast_slice(&catalogue.subcategory),
    ];
    let mut all = Vec::with_capacity(columns.len() * 16);
    for bytes in columns {
        all.extend((bytes.len() as u64).to_le_bytes());
        all.extend(fingerprint64(bytes).to_le_bytes());
    }
    fingerprint64(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_settings() {
        let of = |config: &TrainConfig| Fingerprint {
            recs_train: "0".into(),
            threads: 2,
            train: json("train", config).unwrap(),
            model: Value::Null,
            vocabulary: "v".into(),
            data: "d".into(),
            warm_start: None,
        };
        let config = TrainConfig::recommended();
        let (ours, mut theirs) = (of(&config), of(&config));
        assert!(ours.differences(&theirs).is_empty());
        let other = TrainConfig { learning_rate: 0.02, early_stopping: None, ..config };
        (theirs, theirs.data) = (of(&other), "e".into());
        let differences = ours.differences(&theirs);
        assert_eq!(differences, ["train.learning_rate is 0.01, there 0.02", "data is \"d\", there \"e\""]);
        let fewer = Fingerprint { train: serde_json::json!({"learning_rate": 0.01}), ..of(&other) };
        assert!(ours.differences(&fewer).iter().any(|d| d == "train.epochs is 30, there null"));
    }
}
