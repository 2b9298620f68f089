//! `vocabularies.json`: one flat object keyed by field name, plus `metadata`.
//!
//! ```json
//! { "customer_id": ["1", "2"], "revenue_buckets": [2.89, 5493.41], "timestamp_buckets": [1506988800.0],
//!   "metadata": { "total_examples": 2, "vocab_sizes": {"customers": 2}, "revenue_stats": {"min": 0, "max": 1,
//!     "mean": 0.5, "std": 0.5}, "timestamp_stats": {"min": 0, "max": 0, "range_days": 0,
//!     "approach": "tensorflow_linear_buckets"}, "features_version": "1", "features_count": 8, "recs": {} } }
//! ```
//! What only we need stands under `metadata.recs`.

use super::{Buckets, NumberStats, StringLookup, Vocabulary};
use crate::error::{Error, Result};
use crate::schema::{Role, Schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Name of the file.
pub const VOCABULARY_FILE: &str = "vocabularies.json";
/// Largest file read.
pub const MAX_VOCABULARY_BYTES: u64 = 16 << 30;
const FEATURES_VERSION: &str = "1";
const BUCKETS: &str = "_buckets";

impl Vocabulary {
    /// The file's JSON, ending in a newline. Equal vocabularies give equal bytes.
    ///
    /// # Errors
    /// [`Error::Document`] for numbers that JSON cannot hold.
    pub fn to_json(&self, schema: &Schema) -> Result<Vec<u8>> {
        let mut root = Map::new();
        for field in &schema.fields {
            if let Some(lookup) = self.lookups.get(&field.name) {
                root.insert(field.name.clone(), lookup.values().collect());
            }
            if let Some(buckets) = self.buckets.get(&field.name) {
                root.insert(format!("{}{BUCKETS}", field.name), buckets.boundaries().into());
            }
        }
        root.insert("metadata".into(), self.metadata(schema));
        let mut json =
            serde_json::to_vec(&root).map_err(|e| Error::document(VOCABULARY_FILE, e.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// `metadata.vocab_sizes`: number of values or boundaries by the field's role, without out-of-vocabulary.
    pub fn sizes(&self, schema: &Schema) -> BTreeMap<String, usize> {
        let mut sizes = BTreeMap::new();
        for field in &schema.fields {
            let key = match field.role {
                Role::Customer => "customers".into(),
                Role::City => "cities".into(),
                Role::Revenue => "revenue_buckets".into(),
                Role::Timestamp => "timestamp_buckets".into(),
                Role::Product => "products".into(),
                Role::ProductName => "product_names".into(),
                Role::Category => "product_categories".into(),
                Role::Subcategory => "product_subcategories".into(),
                Role::Other => field.name.clone(),
            };
            let lookup = self.lookups.get(&field.name).map(StringLookup::len);
            let size = lookup.or_else(|| self.buckets.get(&field.name).map(|b| b.boundaries().len()));
            sizes.extend(size.map(|n| (key, n)));
        }
        sizes
    }

    fn metadata(&self, schema: &Schema) -> Value {
        let mut metadata = Map::new();
        metadata.insert("total_examples".into(), self.total_examples.into());
        metadata.insert("vocab_sizes".into(), json!(self.sizes(schema)));
        let mut ours = Map::new();
        for field in &schema.fields {
            let Some(s) = self.stats.get(&field.name) else { continue };
            let spread = json!({"min": s.min, "max": s.max, "mean": s.mean, "std": s.std()});
            match field.role {
                Role::Revenue => drop(metadata.insert("revenue_stats".into(), spread.clone())),
                Role::Timestamp => drop(metadata.insert(
                    "timestamp_stats".into(),
                    json!({
                    "min": s.min as i64, "max": s.max as i64, "range_days": (s.max - s.min) / 86400.0,
                    "approach": "tensorflow_linear_buckets"}),
                )),
                _ => {}
            }
            ours.insert(field.name.clone(), spread);
        }
        metadata.insert("features_version".into(), FEATURES_VERSION.into());
        metadata.insert("features_count".into(), schema.fields.len().into());
        metadata.insert("recs".into(), json!({"stats": ours, "schema_digest": schema.record_digest()}));
        Value::Object(metadata)
    }

    /// Reads the file for a schema; keys that the schema does not name are ignored. `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Document`] for JSON of another shape (with line or key), [`Error::MissingVocabulary`] naming the key.
    pub fn parse(json: &[u8], schema: &Schema, file: &str) -> Result<Self> {
        let fault = |reason: String| Error::document(file, reason);
        let root: Map<String, Value> = serde_json::from_slice(json).map_err(|e| fault(e.to_string()))?;
        let metadata = root
            .get("metadata")
            .and_then(Value::as_object)
            .ok_or_else(|| fault("`metadata` is missing or no object".into()))?;
        let total_examples = metadata
            .get("total_examples")
            .and_then(Value::as_u64)
            .filter(|&rows| rows > 0)
            .ok_or_else(|| fault("`metadata.total_examples` is missing or no count above 0".into()))?;
        let mut vocabulary = Self {
            lookups: BTreeMap::new(),
            buckets: BTreeMap::new(),
            stats: BTreeMap::new(),
            total_examples,
        };
        for field in &schema.fields {
            if field.has_vocabulary() {
                let Some(list) = root.get(&field.name) else {
                    return Err(named(super::missing(&field.name, &field.name), file));
                };
                let texts =
                    texts(list).map_err(|i| fault(format!("`{}`: value {i} is no string", field.name)))?;
                let lookup = StringLookup::from_sorted(&field.name, texts).map_err(|e| named(e, file))?;
                vocabulary.lookups.insert(field.name.clone(), lookup);
                continue;
            }
            let key = format!("{}{BUCKETS}", field.name);
            if let Some(list) = root.get(&key) {
                let numbers = numbers(list).map_err(|i| fault(format!("`{key}`: value {i} is no number")))?;
                let buckets = Buckets::new(&key, numbers).map_err(|e| named(e, file))?;
                vocabulary.buckets.insert(field.name.clone(), buckets);
            }
            if let Some(stats) = stats(metadata, &field.name, field.role, total_examples) {
                vocabulary.stats.insert(field.name.clone(), stats);
            }
        }
        vocabulary.check(schema).map_err(|e| named(e, file))?;
        Ok(vocabulary)
    }
}

fn named(error: Error, path: &str) -> Error {
    match error {
        Error::MissingVocabulary { key, field, .. } => {
            Error::MissingVocabulary { file: path.into(), key, field }
        }
        Error::Document { reason, .. } => Error::document(path, reason),
        other => other,
    }
}

fn texts(list: &Value) -> Result<Vec<&str>, usize> {
    let list = list.as_array().ok_or(0usize)?;
    list.iter().enumerate().map(|(i, v)| v.as_str().ok_or(i)).collect()
}

fn numbers(list: &Value) -> Result<Vec<f64>, usize> {
    let list = list.as_array().ok_or(0usize)?;
    list.iter().enumerate().map(|(i, v)| v.as_f64().ok_or(i)).collect()
}

/// From `metadata.recs.stats.{field}`, or from TensorFlow-style keys that lack ours.
fn stats(metadata: &Map<String, Value>, field: &str, role: Role, count: u64) -> Option<NumberStats> {
    let ours = metadata.get("recs").and_then(|r| r.get("stats")).and_then(|s| s.get(field));
    let stated = ours.or_else(|| match role {
        Role::Revenue => metadata.get("revenue_stats"),
        _ => metadata.get(&format!("{field}_stats")),
    })?;
    let number = |key: &str| stated.get(key).and_then(Value::as_f64).filter(|x| x.is_finite());
    let stats = NumberStats::stated(count, number("min")?, number("max")?, number("mean")?, number("std")?);
    // A standard deviation whose square is beyond f64 is none.
    stats.std().is_finite().then_some(stats)
}
