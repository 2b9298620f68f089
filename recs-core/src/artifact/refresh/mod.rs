//! Another list of products for a model, without training it.
//!
//! | file | what |
//! |---|---|
//! | `product.rs` | [`Product`]: what is known of a product; a row of the candidate tower |
//! | `table.rs` | products from Arrow and Parquet |
//! | `options.rs` | [`RefreshOptions`] |
//! | `grow.rs` | vocabulary and weights with rows for the new products |
//! | `catalogue.rs` | the new catalogue, and purchases of products that are gone |

mod catalogue;
mod grow;
mod options;
mod product;
mod table;

pub use options::{Missing, RefreshOptions};
pub use product::{Product, ProductValue};

use super::{ModelArtifact, VocabularySizes};
use crate::error::{Error, Result};
use crate::growth::Level;
use crate::schema::Role;
use grow::Grown;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A model with another list of products.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The model, not yet published.
    pub artifact: ModelArtifact,
    /// What changed.
    pub changes: Changes,
}

/// What a refresh changed, in numbers of products.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// New ones.
    pub added: usize,
    /// Of these, those whose rows are the mean of their subcategory's.
    pub from_subcategory: usize,
    /// Of their category's.
    pub from_category: usize,
    /// Of all products'.
    pub from_all: usize,
    /// Of these, those that the vocabulary knew: they have their own rows.
    pub returned: usize,
    /// Known ones whose name, category or availability is another.
    pub updated: usize,
    /// Those that are no longer listed, as [`Missing`] says.
    pub missing: usize,
}

/// Gives a model the products of a list, under the name `version`: new ones get vectors, known ones keep theirs bit for bit
/// and take name, category and availability from the list, and [`RefreshOptions::missing`] says what becomes of those that
/// are not listed. Nothing is trained.
///
/// A new product has no rows of its own in the tables by product (its id, histories). It gets the mean of the rows of the
/// products that were trained on (with training rows) and share its category and subcategory; where there is none its
/// category, then all; its other features are its own, and the candidate tower embeds them as any product's, normalised
/// where the model normalises. A bias is [`RefreshOptions::bias_quantile`] of the group's biases. Subcategories of known
/// products are those of the list, so list them too. The vocabulary grows by the new products: a purchase of one in
/// later data counts, and a warm start finds its rows.
///
/// Scores of known products do not change, unless products that customers bought are removed. The metrics of the artifact
/// stay those of its training.
///
/// Cost: one pass over the tables by product and the new products through the candidate tower; memory for a copy of these
/// tables.
///
/// # Errors
/// [`Error::Config`] for options out of range, [`Error::InvalidValue`] naming the product for one that is listed twice or
/// cannot be encoded, [`Error::Shape`] when parts of the artifact do not fit.
pub fn refresh_candidates(
    artifact: &ModelArtifact,
    products: &[Product],
    version: &str,
    options: &RefreshOptions,
) -> Result<Refreshed> {
    options.validate()?;
    let schema = &artifact.config.schema;
    check(products, schema.role(Role::Product)?)?;
    let known: HashMap<&str, usize> = artifact.candidates.ids.iter().map(String::as_str).zip(0..).collect();
    let mut new: Vec<&Product> = products.iter().filter(|p| !known.contains_key(p.id.as_str())).collect();
    new.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut changes = Changes { added: new.len(), ..Changes::default() };
    let grown = Grown::new(artifact, products, &new, options)?;
    for level in &grown.levels {
        *match level {
            Some(Level::Subcategory) => &mut changes.from_subcategory,
            Some(Level::Category) => &mut changes.from_category,
            Some(Level::All) => &mut changes.from_all,
            None => &mut changes.returned,
        } += 1;
    }
    let vectors = grown.embed(&artifact.config, &new)?;
    let listed = catalogue::update(artifact, products, options.missing, &mut changes);
    let candidates = catalogue::append(&listed.candidates, schema, &new, &vectors)?;
    let mut metadata = artifact.metadata.clone();
    let from = std::mem::replace(&mut metadata.model_version, version.into());
    metadata.vocabularies = VocabularySizes::of(&grown.vocabulary, schema);
    let mut record = serde_json::to_value(&changes).map_err(|e| Error::document("refresh", e.to_string()))?;
    record["from"] = from.into();
    metadata.hyperparameters.insert("refresh".into(), record.clone());
    let mut training_stats = artifact.training_stats.clone();
    if let Some(stats) = training_stats.as_object_mut() {
        stats.insert("refresh".into(), record);
    }
    let artifact = ModelArtifact {
        metadata,
        config: artifact.config.clone(),
        weights: grown.weights,
        vocabulary: grown.vocabulary,
        candidates: Arc::new(candidates),
        customers: listed.customers,
        probe: Arc::clone(&artifact.probe),
        training_stats,
    };
    Ok(Refreshed { artifact, changes })
}

/// Refuses products that no request could name, and those that are listed twice.
fn check(products: &[Product], field: &crate::schema::Field) -> Result<()> {
    let mut seen = HashSet::with_capacity(products.len());
    for (record, product) in products.iter().enumerate() {
        if !seen.insert(product.id.as_str()) {
            let reason = format!("{:?} is listed twice; list each product once", product.id);
            return Err(product::invalid(record, &field.name, reason));
        }
        product.check_id(record, field)?;
    }
    Ok(())
}
