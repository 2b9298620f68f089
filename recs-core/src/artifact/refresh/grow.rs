//! Vocabulary and weights with rows for products that are new.

use super::{Product, RefreshOptions};
use crate::artifact::ModelArtifact;
use crate::error::Result;
use crate::growth::{Groups, Level, RowSources, has_row_by_value};
use crate::model::{FeatureEncoder, ModelConfig, TowerColumns, TowerModel, TowerWeights, Weights};
use crate::schema::{Encoding, Role, Tower};
use crate::vocab::Vocabulary;
use ndarray::{Array2, ArrayRef2};
use std::collections::HashMap;
use std::sync::Arc;

/// A model that has rows for its new products.
pub(super) struct Grown {
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) weights: Arc<Weights>,
    /// Of each new product, what its rows are the mean of; None for one that has its own.
    pub(super) levels: Vec<Option<Level>>,
}

/// A product's row under the new vocabulary, and the group whose mean it gets.
struct Newcomer {
    row: usize,
    group: usize,
}

impl Grown {
    /// `new` are the products of `products` that the catalogue does not have.
    pub(super) fn new(
        artifact: &ModelArtifact,
        products: &[Product],
        new: &[&Product],
        options: &RefreshOptions,
    ) -> Result<Self> {
        let (schema, before) = (&artifact.config.schema, &artifact.vocabulary);
        let field = &schema.role(Role::Product)?.name;
        let lookup = before.lookup(field)?;
        let unknown: Vec<&str> = new.iter().map(|p| p.id.as_str()).filter(|id| lookup.id(id) == 0).collect();
        if unknown.is_empty() {
            let (vocabulary, weights) = (Arc::clone(before), Arc::clone(&artifact.weights));
            return Ok(Self { vocabulary, weights, levels: vec![None; new.len()] });
        }
        let vocabulary = before.with_values(field, &unknown)?;
        let kinds: HashMap<&str, [String; 2]> =
            products.iter().map(|p| (p.id.as_str(), kind(artifact, p))).collect();
        let groups = groups(artifact, &kinds, field)?;
        let (mut newcomers, mut levels) = (Vec::new(), Vec::new());
        let lookup = vocabulary.lookup(field)?;
        for product in new {
            if before.lookup(field)?.id(&product.id) != 0 {
                levels.push(None);
                continue;
            }
            let [category, subcategory] = &kinds[product.id.as_str()];
            // Without any known product the mean is of nothing, which is zeros.
            let group = groups.find(category, subcategory).unwrap_or(0);
            newcomers.push(Newcomer { row: lookup.id(&product.id) as usize, group });
            levels.push(Some(groups.level(group)));
        }
        let grow = |tower: Tower| -> Result<Arc<TowerWeights>> {
            let mut weights = TowerWeights::clone(artifact.weights.tower(tower));
            let encodings = schema.encodings(tower).iter().filter(|e| e.has_table());
            for (encoding, table) in encodings.zip(&mut weights.embeddings) {
                if has_row_by_value(encoding, field) {
                    let sources = RowSources::new(encoding, &vocabulary, before)?;
                    let rows = vocabulary.table_rows(encoding)?;
                    *table =
                        grown(encoding, table, rows, &sources, &groups, &newcomers, options)?.into_shared();
                }
            }
            Ok(Arc::new(weights))
        };
        let mut weights = Weights { query: grow(Tower::Query)?, candidate: grow(Tower::Candidate)? };
        weights.tie(&artifact.config);
        Ok(Self { vocabulary: Arc::new(vocabulary), weights: Arc::new(weights), levels })
    }

    /// The vectors of products, by the candidate tower.
    ///
    /// # Shapes
    /// `[products, dim]`.
    pub(super) fn embed(&self, config: &ModelConfig, products: &[&Product]) -> Result<Array2<f32>> {
        let encoder = FeatureEncoder::new(&config.schema, Arc::clone(&self.vocabulary))?.candidate;
        let mut columns = TowerColumns::default();
        for (record, product) in products.iter().enumerate() {
            let row = product.row(&config.schema, &self.vocabulary);
            let encoded = encoder.encode(&row, &mut columns);
            encoded.map_err(|e| e.in_record(&format!("product {:?}", product.id), record as u64))?;
        }
        TowerModel::new(config, Tower::Candidate, Arc::clone(&self.weights.candidate))?.embed(&columns)
    }
}

/// Category and subcategory of a listed product, empty where the list has none.
fn kind(artifact: &ModelArtifact, product: &Product) -> [String; 2] {
    let schema = &artifact.config.schema;
    [Role::Category, Role::Subcategory].map(|role| product.text(schema, role).unwrap_or_default())
}

/// The products that the model was trained on, by what they are; all of its products where it says of none.
fn groups<'k>(
    artifact: &'k ModelArtifact,
    kinds: &'k HashMap<&str, [String; 2]>,
    field: &str,
) -> Result<Groups<&'k str>> {
    let (candidates, lookup) = (&artifact.candidates, artifact.vocabulary.lookup(field)?);
    let says = candidates.popularity.iter().any(|&n| n > 0);
    let mut known = Vec::with_capacity(candidates.len());
    for (at, id) in candidates.ids.iter().enumerate() {
        let row = lookup.id(id);
        if row == 0 || (says && candidates.popularity[at] == 0) {
            continue;
        }
        let ours = candidates.categories[at].as_str();
        let (category, subcategory) = match kinds.get(id.as_str()) {
            Some([category, subcategory]) if !category.is_empty() => {
                (category.as_str(), subcategory.as_str())
            }
            Some([_, subcategory]) => (ours, subcategory.as_str()),
            None => (ours, ""),
        };
        known.push((category, subcategory, row));
    }
    Ok(Groups::new(known))
}

fn grown(
    encoding: &Encoding,
    table: &ArrayRef2<f32>,
    rows: usize,
    sources: &RowSources,
    groups: &Groups<&str>,
    newcomers: &[Newcomer],
    options: &RefreshOptions,
) -> Result<Array2<f32>> {
    let mut to = Array2::zeros((rows, table.ncols()));
    sources.copy(table, &mut to, encoding.name())?;
    if encoding.is_bias() {
        let biases = groups.quantiles(table, options.bias_quantile);
        newcomers.iter().for_each(|new| to[[new.row, 0]] = biases[new.group]);
    } else {
        let means = groups.means(table);
        newcomers.iter().for_each(|new| to.row_mut(new.row).assign(&means.row(new.group)));
    }
    Ok(to)
}
