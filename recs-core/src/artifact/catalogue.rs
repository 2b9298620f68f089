//! The products that can be recommended, and what each customer has bought.

use crate::error::{Error, Result};
use ndarray::Array2;
use std::collections::HashMap;

/// Name of the file of [`Candidates`].
pub const CANDIDATES_FILE: &str = "candidates.parquet";
/// Name of the file of [`Customers`].
pub const CUSTOMERS_FILE: &str = "customers.parquet";

pub(super) fn invalid(file: &str, record: usize, column: &str, reason: String) -> Error {
    Error::InvalidValue { file: file.into(), record: Some(record as u64), column: column.into(), reason }
}

fn same_length(file: &str, rows: usize, columns: &[(&str, usize)]) -> Result<()> {
    match columns.iter().find(|(_, len)| *len != rows) {
        None => Ok(()),
        Some((name, len)) => {
            Err(Error::corrupt(file, format!("{rows} ids but {len} {name}; publish the model again")))
        }
    }
}

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

    /// Checks what searches rely on: columns of one length, each product once, fewer than 2^32 of them, finite
    /// vectors. `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::InvalidValue`] naming the record.
    pub fn validate(&self, file: &str) -> Result<()> {
        let lengths = [
            ("names", self.names.len()),
            ("categories", self.categories.len()),
            ("available", self.available.len()),
            ("popularity", self.popularity.len()),
            ("vectors", self.vectors.nrows()),
        ];
        same_length(file, self.len(), &lengths)?;
        if u32::try_from(self.len()).is_err() {
            return Err(Error::corrupt(
                file,
                format!("{} products, allowed are fewer than 2^32", self.len()),
            ));
        }
        for (record, vector) in self.vectors.rows().into_iter().enumerate() {
            if let Some(i) = vector.iter().position(|x| !x.is_finite()) {
                return Err(invalid(file, record, "vector", format!("number {i} is {}", vector[i])));
            }
        }
        let mut seen = HashMap::with_capacity(self.len());
        for (record, id) in self.ids.iter().enumerate() {
            if let Some(first) = seen.insert(id.as_str(), record) {
                return Err(invalid(file, record, "product_id", format!("{id:?} is in record {first} too")));
            }
        }
        Ok(())
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
    /// What is added to the score of each of `products` because the customer bought it before, 0 for nothing; empty for a
    /// model without such a term.
    pub repeat: Vec<f32>,
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

    /// Checks what searches rely on: customers and each one's products ascend, all products are `candidates`. `file` is
    /// named in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::InvalidValue`] naming the record.
    pub fn validate(&self, candidates: &Candidates, file: &str) -> Result<()> {
        let lengths = [
            ("last days", self.last_day.len()),
            ("segments", self.segment.len()),
            ("lists", self.offsets.len().saturating_sub(1)),
        ];
        same_length(file, self.len(), &lengths)?;
        let end = self.offsets.last().copied().unwrap_or(0);
        if self.offsets.first().is_some_and(|&first| first != 0)
            || self.offsets.windows(2).any(|w| w[0] > w[1])
            || [self.products.len(), self.counts.len()] != [end; 2]
            || !(self.repeat.is_empty() || self.repeat.len() == end)
        {
            return Err(Error::corrupt(file, "lists that do not lie end to end; publish the model again"));
        }
        if let Some(i) = self.ids.windows(2).position(|w| w[0] >= w[1]) {
            let reason = format!("{:?} must not come after {:?}; ids ascend", self.ids[i + 1], self.ids[i]);
            return Err(invalid(file, i + 1, "customer_id", reason));
        }
        for record in 0..self.len() {
            let (products, _) = self.purchases(record);
            let beyond = products.last().is_some_and(|&last| last as usize >= candidates.len());
            if beyond || products.windows(2).any(|w| w[0] >= w[1]) {
                let reason = format!("are not ascending numbers of the {} candidates", candidates.len());
                return Err(invalid(file, record, "product_ids", reason));
            }
            if let Some((_, value)) = self.repeats(record).find(|(_, value)| !value.is_finite()) {
                return Err(invalid(file, record, "repeat", format!("{value} is not finite")));
            }
        }
        Ok(())
    }

    /// Position of a customer. O(log n).
    pub fn position(&self, id: &str) -> Option<usize> {
        self.ids.binary_search_by(|probe| probe.as_str().cmp(id)).ok()
    }

    /// Products of the customer at `position` whose score has something added, ascending, with that.
    pub fn repeats(&self, position: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = match (self.offsets.get(position), self.offsets.get(position + 1)) {
            (Some(&from), Some(&to)) if from <= to && to <= self.repeat.len() => from..to,
            _ => 0..0,
        };
        let pairs = self.products[range.clone()].iter().zip(&self.repeat[range]);
        pairs.map(|(&product, &value)| (product, value)).filter(|(_, value)| *value != 0.0)
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
