//! The products that can be recommended, and what each customer has bought.

use ndarray::Array2;

/// The catalogue, one entry a product, in the order of the index.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// Product ids as text.
    pub ids: Vec<String>,
    /// Names for people; empty text where unknown.
    pub names: Vec<String>,
    /// Categories; empty text where unknown.
    pub categories: Vec<String>,
    /// Whether it may be recommended when only available products are asked for.
    pub available: Vec<bool>,
    /// Training rows.
    pub popularity: Vec<u64>,
    /// Embeddings `[products, dim]`.
    pub vectors: Array2<f32>,
}

impl Candidates {
    /// Number of products.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True for an empty catalogue.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Indexes of the products by popularity, the most popular first, ties in index order.
    pub fn by_popularity(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.popularity.get(i as usize).copied().unwrap_or(0)));
        order
    }
}

/// What each customer bought in the training rows: for fallbacks and for leaving out purchases.
///
/// Purchases are stored end to end: those of customer `c` are `offsets[c]..offsets[c + 1]` of `products` and `counts`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Customers {
    /// Customer ids, sorted by code point.
    pub ids: Vec<String>,
    /// `[ids.len() + 1]`, beginning with 0.
    pub offsets: Vec<usize>,
    /// Index of each distinct product in the catalogue, ascending for each customer.
    pub products: Vec<u32>,
    /// Training rows of that customer and product.
    pub counts: Vec<u32>,
    /// Last day of purchase, days since 1970-01-01.
    pub last_day: Vec<i32>,
    /// Group whose popular products stand in for an unknown history; the city bought in most often.
    pub segment: Vec<String>,
}

impl Customers {
    /// Number of customers.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Position of a customer. O(log n).
    pub fn position(&self, id: &str) -> Option<usize> {
        self.ids.binary_search_by(|probe| probe.as_str().cmp(id)).ok()
    }

    /// Products and counts of the customer at `position`; empty when out of range.
    pub fn purchases(&self, position: usize) -> (&[u32], &[u32]) {
        match (self.offsets.get(position), self.offsets.get(position + 1)) {
            (Some(&from), Some(&to))
                if from <= to && to <= self.products.len() && to <= self.counts.len() =>
            {
                (&self.products[from..to], &self.counts[from..to])
            }
            _ => (&[], &[]),
        }
    }
}
