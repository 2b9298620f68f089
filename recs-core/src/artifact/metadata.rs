//! `model_metadata.json`: what people and servers want to know about a model without loading it.

use crate::metrics::RankSums;
use crate::schema::Schema;
use crate::vocab::Vocabulary;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Sizes, settings and results of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// The model's version.
    pub model_version: String,
    /// Sizes of the vocabularies.
    pub vocabularies: VocabularySizes,
    /// Settings of model and training.
    pub hyperparameters: Map<String, Value>,
    /// Results.
    pub metrics: Metrics,
}

/// Results of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// On the test rows; absent when nothing was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_metrics: Option<TestMetrics>,
    /// Anything else, by name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Distinct values, without out-of-vocabulary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VocabularySizes {
    /// Customers.
    pub num_users: usize,
    /// Products.
    pub num_products: usize,
    /// Cities.
    pub num_cities: usize,
    /// Categories.
    pub num_categories: usize,
    /// Subcategories.
    pub num_subcategories: usize,
}

impl VocabularySizes {
    /// The sizes of a vocabulary; 0 for a role that no field has.
    pub fn of(vocabulary: &Vocabulary, schema: &Schema) -> Self {
        let sizes = vocabulary.sizes(schema);
        let size = |key: &str| sizes.get(key).copied().unwrap_or(0);
        Self {
            num_users: size("customers"),
            num_products: size("products"),
            num_cities: size("cities"),
            num_categories: size("product_categories"),
            num_subcategories: size("product_subcategories"),
        }
    }
}

/// Share of test rows whose product is among the first K.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TestMetrics {
    /// Recall@5.
    pub test_recall_5: f64,
    /// Recall@10.
    pub test_recall_10: f64,
    /// Recall@50.
    pub test_recall_50: f64,
    /// Recall@100.
    pub test_recall_100: f64,
}

impl TestMetrics {
    /// From the sums over test rows; None when there were none.
    pub fn of(sums: &RankSums) -> Option<Self> {
        Some(Self {
            test_recall_5: sums.recall_at(5)?,
            test_recall_10: sums.recall_at(10)?,
            test_recall_50: sums.recall_at(50)?,
            test_recall_100: sums.recall_at(100)?,
        })
    }
}
