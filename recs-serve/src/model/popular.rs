//! What everybody and each segment bought most, as it is served.

use super::customers::Buyers;
use super::sections::Sections;
use crate::error::Result;
use recs_core::artifact::{segment_share, sold_by_segment};
use recs_core::kernel::Hit;
use recs_core::slab::{Slab, Texts};
use std::collections::HashMap;

/// Products with their shares, the highest first, ties by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked<'a> {
    index: &'a [u32],
    score: &'a [f32],
}

impl<'a> Ranked<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Hit> + 'a {
        self.index.iter().zip(self.score).map(|(&index, &score)| Hit { index, score })
    }
}

/// What a segment bought, see [`segment_share`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) ranked: Ranked<'a>,
    /// The same products, ascending.
    products: &'a [u32],
    /// What the shares of all other products are multiplied with.
    pub(crate) rest: f32,
}

impl Segment<'_> {
    pub(crate) fn has(&self, product: u32) -> bool {
        self.products.binary_search(&product).is_ok()
    }
}

/// Bestsellers of everybody, and of each segment. Memory: 8 bytes a product, and 12 bytes for each distinct product of each
/// segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Popular {
    index: Slab<u32>,
    score: Slab<f32>,
    /// Ascending; without those that bought nothing.
    segments: Texts,
    /// Where each segment's lists begin; one more than there are segments.
    starts: Slab<u64>,
    of_index: Slab<u32>,
    of_score: Slab<f32>,
    of_products: Slab<u32>,
    rest: Slab<f32>,
}

impl Popular {
    /// Counts purchases.
    pub(super) fn new(popularity: &[u64], customers: &Buyers) -> Self {
        let total = popularity.iter().sum::<u64>().max(1) as f64;
        let share = |product: u32| popularity[product as usize] as f64 / total;
        let all = (0..popularity.len() as u32).map(|index| Hit { index, score: share(index) as f32 });
        let (index, score) = ranked(all);
        let of_customer = |position| {
            let (products, bought) = customers.purchases(position);
            (customers.segment(position), products.iter().copied().zip(bought.iter().copied()))
        };
        let mut sold: Vec<(&str, HashMap<u32, u64>)> =
            sold_by_segment((0..customers.len()).map(of_customer)).into_iter().collect();
        sold.sort_unstable_by_key(|(segment, _)| *segment);
        let (mut starts, mut rest) = (vec![0u64], Vec::new());
        let (mut of_index, mut of_score, mut of_products) = (Vec::new(), Vec::new(), Vec::new());
        for (_, counts) in &sold {
            let all = counts.values().sum();
            let hit =
                |(&index, &rows): (&u32, &u64)| Hit { index, score: segment_share(rows, all, share(index)) };
            let (index, score) = ranked(counts.iter().map(hit));
            let mut products = index.clone();
            products.sort_unstable();
            of_index.extend(index);
            of_score.extend(score);
            of_products.extend(products);
            starts.push(of_index.len() as u64);
            rest.push(segment_share(0, all, 1.0));
        }
        Self {
            index: index.into(),
            score: score.into(),
            segments: sold.iter().map(|(segment, _)| segment).collect(),
            starts: starts.into(),
            of_index: of_index.into(),
            of_score: of_score.into(),
            of_products: of_products.into(),
            rest: rest.into(),
        }
    }

    pub(crate) fn everybody(&self) -> Ranked<'_> {
        Ranked { index: &self.index, score: &self.score }
    }

    /// Of a segment, if anything was bought in it.
    pub(crate) fn segment(&self, name: &str) -> Option<Segment<'_>> {
        let at = self.segments.position(name)?;
        let range = *self.starts.get(at)? as usize..*self.starts.get(at + 1)? as usize;
        Some(Segment {
            ranked: Ranked { index: &self.of_index[range.clone()], score: &self.of_score[range.clone()] },
            products: &self.of_products[range],
            rest: self.rest[at],
        })
    }

    /// True when everybody's list has every product once, and the two lists of a segment the same products, each once.
    fn has_each_once(&self, products: usize) -> bool {
        let mut seen = vec![0u64; products];
        // Marks a product that had another mark.
        let mut mark = |product: u32, from: u64, to: u64| match seen.get_mut(product as usize) {
            Some(mark) if (from == u64::MAX && *mark < to) || *mark == from => {
                *mark = to;
                true
            }
            _ => false,
        };
        self.index.iter().all(|&product| mark(product, 0, 1))
            && self.starts.windows(2).zip(1u64..).all(|(ends, segment)| {
                let range = ends[0] as usize..ends[1] as usize;
                let (ranked, ascending) = (&self.of_index[range.clone()], &self.of_products[range]);
                ascending.is_sorted_by(|a, b| a < b)
                    && ascending.iter().all(|&product| mark(product, u64::MAX, 2 * segment))
                    && ranked.iter().all(|&product| mark(product, 2 * segment, 2 * segment + 1))
            })
    }

    pub(super) fn put(&self, sections: &mut Sections) {
        sections.put("popular.index", &self.index);
        sections.put("popular.score", &self.score);
        sections.put_texts("segments.names", &self.segments);
        sections.put("segments.starts", &self.starts);
        sections.put("segments.index", &self.of_index);
        sections.put("segments.score", &self.of_score);
        sections.put("segments.products", &self.of_products);
        sections.put("segments.rest", &self.rest);
    }

    /// # Errors
    /// `Corrupt` for lists that do not belong together.
    pub(super) fn read(sections: &Sections, products: usize) -> Result<Self> {
        let of_index: Slab<u32> = sections.slab("segments.index")?;
        let (all, segments) = (of_index.len(), sections.texts("segments.names")?);
        let popular = Self {
            index: sections.slab_of("popular.index", products)?,
            score: sections.slab_of("popular.score", products)?,
            starts: sections.slab_of("segments.starts", segments.len() + 1)?,
            of_score: sections.slab_of("segments.score", all)?,
            of_products: sections.slab_of("segments.products", all)?,
            rest: sections.slab_of("segments.rest", segments.len())?,
            of_index,
            segments,
        };
        let is_finite = |of: &Slab<f32>| of.iter().all(|score| score.is_finite());
        let is_sound = popular.starts.first() == Some(&0)
            && popular.starts.last() == Some(&(all as u64))
            && popular.starts.is_sorted()
            && [&popular.score, &popular.of_score, &popular.rest].into_iter().all(is_finite)
            && popular.has_each_once(products);
        match is_sound {
            true => Ok(popular),
            false => Err(sections.refuse("its lists of bestsellers contradict each other")),
        }
    }
}

/// The highest first, ties by number.
fn ranked(hits: impl Iterator<Item = Hit>) -> (Vec<u32>, Vec<f32>) {
    let mut hits: Vec<Hit> = hits.collect();
    hits.sort_unstable_by(|a, b| b.before(a).cmp(&a.before(b)));
    hits.into_iter().map(|hit| (hit.index, hit.score)).unzip()
}
