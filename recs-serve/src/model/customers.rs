//! What customers bought, as it is served.

use super::sections::Sections;
use crate::error::Result;
use recs_core::artifact::{CUSTOMERS_FILE, Candidates, Customers};
use recs_core::slab::{Slab, Texts};

/// Purchases of customers, end to end: those of customer `c` are `offsets[c]..offsets[c + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buyers {
    /// Ascending by code point.
    pub(crate) ids: Texts,
    offsets: Slab<u64>,
    /// Ascending for each customer.
    products: Slab<u32>,
    counts: Slab<u32>,
    /// What is added to the scores; empty for a model without such a term.
    repeat: Slab<f32>,
    /// Each customer's segment by its place in `segments`.
    segment_of: Slab<u32>,
    /// Distinct segments, ascending.
    pub(crate) segments: Texts,
}

impl Buyers {
    /// Takes the customers of a model.
    ///
    /// # Errors
    /// Those of [`Customers::validate`].
    pub(super) fn new(customers: Customers, candidates: &Candidates) -> Result<Self> {
        customers.validate(candidates, CUSTOMERS_FILE)?;
        let mut distinct: Vec<&str> = customers.segment.iter().map(String::as_str).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let place = |s: &String| distinct.binary_search(&s.as_str()).map_or(0, |place| place as u32);
        let segment_of: Vec<u32> = customers.segment.iter().map(place).collect();
        let mut offsets: Vec<u64> = customers.offsets.iter().map(|&at| at as u64).collect();
        if offsets.is_empty() {
            offsets.push(0);
        }
        Ok(Self {
            segments: distinct.iter().collect(),
            ids: customers.ids.iter().collect(),
            offsets: offsets.into(),
            products: customers.products.into(),
            counts: customers.counts.into(),
            repeat: customers.repeat.into(),
            segment_of: segment_of.into(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Place of a customer. O(log n).
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.ids.position(id)
    }

    /// The customer's segment.
    pub(crate) fn segment(&self, position: usize) -> &str {
        let segment = self.segment_of.get(position).and_then(|&at| self.segments.get(at as usize));
        segment.unwrap_or_default()
    }

    fn range(&self, position: usize) -> std::ops::Range<usize> {
        match self.offsets.get(position..).unwrap_or_default() {
            [from, to, ..] => *from as usize..*to as usize,
            _ => 0..0,
        }
    }

    /// Products and counts of a customer.
    pub(crate) fn purchases(&self, position: usize) -> (&[u32], &[u32]) {
        let range = self.range(position);
        (&self.products[range.clone()], &self.counts[range])
    }

    /// Products of a customer whose score has something added, ascending, with that.
    pub(crate) fn repeats(&self, position: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = if self.repeat.is_empty() { 0..0 } else { self.range(position) };
        let pairs = self.products[range.clone()].iter().zip(&self.repeat[range]);
        pairs.map(|(&product, &value)| (product, value)).filter(|(_, value)| *value != 0.0)
    }

    pub(super) fn put(&self, sections: &mut Sections) {
        sections.put_texts("customers.ids", &self.ids);
        sections.put("customers.offsets", &self.offsets);
        sections.put("customers.products", &self.products);
        sections.put("customers.counts", &self.counts);
        sections.put("customers.repeat", &self.repeat);
        sections.put("customers.segment_of", &self.segment_of);
        sections.put_texts("customers.segments", &self.segments);
    }

    /// # Errors
    /// `Corrupt` for lists that do not belong together.
    pub(super) fn read(sections: &Sections, products: usize) -> Result<Self> {
        let ids = sections.texts("customers.ids")?;
        let offsets: Slab<u64> = sections.slab_of("customers.offsets", ids.len() + 1)?;
        let buyers = Self {
            products: sections.slab("customers.products")?,
            counts: sections.slab("customers.counts")?,
            repeat: sections.slab("customers.repeat")?,
            segment_of: sections.slab_of("customers.segment_of", ids.len())?,
            segments: sections.texts("customers.segments")?,
            offsets,
            ids,
        };
        let (all, segments) = (buyers.products.len(), buyers.segments.len() as u32);
        let is_sound = buyers.counts.len() == all
            && (buyers.repeat.is_empty() || buyers.repeat.len() == all)
            && buyers.offsets.first() == Some(&0)
            && buyers.offsets.last() == Some(&(all as u64))
            && buyers.offsets.is_sorted()
            && buyers.products.iter().all(|&product| (product as usize) < products)
            && (0..buyers.len()).all(|customer| buyers.purchases(customer).0.is_sorted_by(|a, b| a < b))
            && buyers.repeat.iter().all(|value| value.is_finite())
            && buyers.segment_of.iter().all(|&segment| segment < segments);
        match is_sound {
            true => Ok(buyers),
            false => Err(sections.refuse("its lists of customers contradict each other")),
        }
    }
}
