//! The products, ready to be looked up and filtered.

use crate::error::Result;
use crate::index::{BitSet, Labels};
use recs_core::artifact::{CANDIDATES_FILE, Candidates};
use std::sync::Arc;

/// Lookups over the candidates. Memory: 12 bytes a product, the names of categories once.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) candidates: Arc<Candidates>,
    /// Products ordered by id.
    by_id: Vec<u32>,
    /// Distinct categories, sorted.
    categories: Vec<String>,
    /// Each product's category by its position in `categories`.
    pub(super) category_of: Arc<Labels>,
    /// None when everything is available.
    pub(super) available: Option<Arc<BitSet>>,
    /// Length of the longest vector.
    longest: f64,
}

impl Catalogue {
    /// Checks the candidates and builds the lookups.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) naming the record.
    pub(super) fn new(candidates: Arc<Candidates>) -> Result<Self> {
        let candidates = row_major(candidates);
        candidates.validate(CANDIDATES_FILE)?;
        let mut by_id: Vec<u32> = (0..candidates.len() as u32).collect();
        by_id.sort_unstable_by_key(|&i| candidates.ids[i as usize].as_str());
        let mut categories = candidates.categories.clone();
        categories.sort_unstable();
        categories.dedup();
        // Every category is in the list that was made of them.
        let position = |c: &String| categories.binary_search(c).map_or(0, |p| p as u32);
        let category_of =
            Arc::new(Labels::new(candidates.categories.iter().map(position).collect::<Vec<_>>()));
        let is_available = |i: usize| candidates.available[i];
        let available = candidates
            .available
            .contains(&false)
            .then(|| Arc::new(BitSet::from_fn(candidates.len(), is_available)));
        let square =
            |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let longest = candidates.vectors.rows().into_iter().map(square).fold(0.0, f64::max).sqrt();
        Ok(Self { candidates, by_id, categories, category_of, available, longest })
    }

    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Number of a product. O(log n).
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        let at = self.by_id.binary_search_by(|&i| self.candidates.ids[i as usize].as_str().cmp(id)).ok()?;
        Some(self.by_id[at])
    }

    /// Number of a category.
    pub(super) fn find_category(&self, name: &str) -> Option<u32> {
        self.categories.binary_search_by(|c| c.as_str().cmp(name)).ok().map(|p| p as u32)
    }

    /// The category that a cap counts; None for a product without one.
    pub(super) fn capped_category(&self, product: u32) -> Option<u32> {
        let category = self.category_of.of(product)?;
        (!self.categories[category as usize].is_empty()).then_some(category)
    }

    pub(super) fn id(&self, product: u32) -> &str {
        &self.candidates.ids[product as usize]
    }

    /// The vector of a product.
    pub(super) fn vector(&self, product: u32) -> &[f32] {
        let dim = self.candidates.vectors.ncols();
        &self.flat()[product as usize * dim..][..dim]
    }

    /// All vectors end to end.
    pub(super) fn flat(&self) -> &[f32] {
        self.candidates.vectors.as_slice().unwrap_or_default()
    }

    /// True when the dot product with every product is sure to be finite: the lengths bound it (Cauchy and Schwarz), and
    /// every partial sum of it.
    pub(super) fn can_score(&self, query: &[f32]) -> bool {
        let square: f64 = query.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        square.sqrt() * self.longest < f64::from(f32::MAX) / 4.0
    }
}

fn row_major(candidates: Arc<Candidates>) -> Arc<Candidates> {
    if candidates.vectors.is_standard_layout() {
        return candidates;
    }
    let mut copy = Arc::unwrap_or_clone(candidates);
    copy.vectors = copy.vectors.as_standard_layout().into_owned();
    Arc::new(copy)
}
