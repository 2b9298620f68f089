//! The products, ready to be looked up and filtered; and the checks that a model must pass to be served.

use crate::error::{Error, Result};
use crate::index::BitSet;
use recs_core::artifact::{Candidates, Customers};
use std::sync::Arc;

/// Lookups over the candidates. Memory: 8 bytes a product, the names of categories once.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) candidates: Arc<Candidates>,
    /// Products ordered by id.
    by_id: Vec<u32>,
    /// Distinct categories, sorted.
    categories: Vec<String>,
    /// Position of each product's category in `categories`.
    pub(super) category_of: Arc<[u32]>,
    /// None when everything is available.
    pub(super) available: Option<Arc<BitSet>>,
    /// Length of the longest vector.
    longest: f64,
}

impl Catalogue {
    /// Checks the candidates and builds the lookups.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub(super) fn new(candidates: Arc<Candidates>) -> Result<Self> {
        let candidates = row_major(candidates);
        check(&candidates)?;
        let mut by_id: Vec<u32> = (0..candidates.len() as u32).collect();
        by_id.sort_unstable_by_key(|&i| candidates.ids[i as usize].as_str());
        if let Some(twice) =
            by_id.windows(2).find(|w| candidates.ids[w[0] as usize] == candidates.ids[w[1] as usize])
        {
            let id = &candidates.ids[twice[0] as usize];
            return Err(Error::model(format!("product `{id}` is in its catalogue twice")));
        }
        let mut categories = candidates.categories.clone();
        categories.sort_unstable();
        categories.dedup();
        // Every category is in the list that was made of them.
        let position = |c: &String| categories.binary_search(c).map_or(0, |p| p as u32);
        let category_of = candidates.categories.iter().map(position).collect();
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
        let category = self.category_of[product as usize];
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

fn check(candidates: &Candidates) -> Result<()> {
    let n = candidates.len();
    for (column, len) in [
        ("names", candidates.names.len()),
        ("categories", candidates.categories.len()),
        ("available", candidates.available.len()),
        ("popularity", candidates.popularity.len()),
        ("vectors", candidates.vectors.nrows()),
    ] {
        if len != n {
            return Err(Error::model(format!("its catalogue has {n} ids but {len} {column}")));
        }
    }
    if u32::try_from(n).is_err() {
        return Err(Error::model(format!("its catalogue has {n} products, allowed are fewer than 2^32")));
    }
    Ok(())
}

/// Checks the purchases against the catalogue.
///
/// # Errors
/// [`Error::Model`].
pub(super) fn check_customers(customers: &Customers, products: usize) -> Result<()> {
    let n = customers.len();
    let refuse =
        |reason: String| Err(Error::model(format!("its customers {reason}; publish the model again")));
    if n == 0 {
        return Ok(());
    }
    if customers.segment.len() != n
        || customers.offsets.len() != n + 1
        || customers.products.len() != customers.counts.len()
    {
        return refuse("have columns of different lengths".into());
    }
    if let Some(i) = customers.ids.windows(2).position(|w| w[0] >= w[1]) {
        return refuse(format!(
            "are not sorted: {:?} stands before {:?}",
            customers.ids[i],
            customers.ids[i + 1]
        ));
    }
    let ascends = |w: &[usize]| w[0] <= w[1];
    if !customers.offsets.windows(2).all(ascends)
        || customers.offsets.last().is_some_and(|&o| o > customers.products.len())
    {
        return refuse("have offsets that do not ascend".into());
    }
    for (position, id) in customers.ids.iter().enumerate() {
        let (bought, _) = customers.purchases(position);
        if bought.windows(2).any(|w| w[0] >= w[1]) || bought.last().is_some_and(|&p| p as usize >= products) {
            return refuse(format!(
                "include {id:?}, whose products are not ascending numbers of the catalogue"
            ));
        }
    }
    Ok(())
}
