//! The products, ready to be looked up and filtered.

use crate::index::{BitSet, Labels};
use crate::model::Products;
use std::sync::Arc;

/// Lookups over the products. Memory of its own: 8 bytes a product.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) products: Products,
    /// Each product's category by its place in the categories.
    pub(super) category_of: Arc<Labels>,
    /// None when everything is available.
    pub(super) available: Option<Arc<BitSet>>,
    /// Length of the longest vector.
    longest: f64,
}

impl Catalogue {
    /// Builds the lookups.
    pub(super) fn new(products: Products) -> Self {
        let category_of = Arc::new(Labels::new(products.category_of.to_vec()));
        let is_available = |i: usize| products.available[i] != 0;
        let available =
            products.available.contains(&0).then(|| Arc::new(BitSet::from_fn(products.len(), is_available)));
        let square = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let rows = products.vectors.chunks_exact(products.dim.max(1));
        let longest = rows.map(square).fold(0.0, f64::max).sqrt();
        Self { products, category_of, available, longest }
    }

    pub(super) fn len(&self) -> usize {
        self.products.len()
    }

    /// Number of a product. O(log n).
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.products.find(id)
    }

    /// Number of a category.
    pub(super) fn find_category(&self, name: &str) -> Option<u32> {
        self.products.categories.position(name).map(|place| place as u32)
    }

    /// The category that a cap counts; None for a product without one.
    pub(super) fn capped_category(&self, product: u32) -> Option<u32> {
        let category = self.category_of.of(product)?;
        let name = self.products.categories.get(category as usize);
        name.is_some_and(|name| !name.is_empty()).then_some(category)
    }

    pub(super) fn id(&self, product: u32) -> &str {
        self.products.ids.get(product as usize).unwrap_or_default()
    }

    /// The vector of a product.
    pub(super) fn vector(&self, product: u32) -> &[f32] {
        let dim = self.products.dim;
        &self.flat()[product as usize * dim..][..dim]
    }

    /// All vectors end to end.
    pub(super) fn flat(&self) -> &[f32] {
        &self.products.vectors
    }

    /// True when the dot product with every product is sure to be finite: the lengths bound it (Cauchy and Schwarz), and
    /// every partial sum of it.
    pub(super) fn can_score(&self, query: &[f32]) -> bool {
        let square: f64 = query.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        square.sqrt() * self.longest < f64::from(f32::MAX) / 4.0
    }
}
