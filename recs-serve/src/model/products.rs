//! The catalogue as it is served.

use super::sections::Sections;
use crate::error::Result;
use recs_core::artifact::{CANDIDATES_FILE, Candidates};
use recs_core::slab::{Slab, Texts};

/// The products, one entry each, in the order of the index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Products {
    pub(crate) ids: Texts,
    pub(crate) names: Texts,
    /// Distinct categories, ascending.
    pub(crate) categories: Texts,
    /// Each product's category by its place in `categories`.
    pub(crate) category_of: Slab<u32>,
    /// 1 for a product that is available, 0 otherwise.
    pub(crate) available: Slab<u8>,
    pub(crate) popularity: Slab<u64>,
    /// Embeddings `[products, dim]`.
    pub(crate) vectors: Slab<f32>,
    pub(crate) dim: usize,
    /// Products ordered by id.
    pub(crate) by_id: Slab<u32>,
}

impl Products {
    /// Takes the candidates of a model; their vectors are not copied when this is their only owner.
    ///
    /// # Errors
    /// Those of [`Candidates::validate`].
    pub(super) fn new(candidates: Candidates) -> Result<Self> {
        candidates.validate(CANDIDATES_FILE)?;
        let Candidates { ids, names, categories, available, popularity, vectors } = candidates;
        let mut by_id: Vec<u32> = (0..ids.len() as u32).collect();
        by_id.sort_unstable_by_key(|&i| ids[i as usize].as_str());
        let mut distinct: Vec<&str> = categories.iter().map(String::as_str).collect();
        distinct.sort_unstable();
        distinct.dedup();
        // Every category is in the list that was made of them.
        let place = |c: &String| distinct.binary_search(&c.as_str()).map_or(0, |place| place as u32);
        let category_of: Vec<u32> = categories.iter().map(place).collect();
        Ok(Self {
            categories: distinct.iter().collect(),
            category_of: category_of.into(),
            ids: ids.iter().collect(),
            names: names.iter().collect(),
            available: available.into_iter().map(u8::from).collect::<Vec<_>>().into(),
            popularity: popularity.into(),
            dim: vectors.ncols(),
            vectors: vectors.into_shared().into(),
            by_id: by_id.into(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Number of a product. O(log n).
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        let by_id = &self.by_id[..];
        let at = by_id.binary_search_by(|&i| self.ids.get(i as usize).unwrap_or_default().cmp(id)).ok()?;
        Some(by_id[at])
    }

    pub(super) fn put(&self, sections: &mut Sections) {
        sections.put_texts("products.ids", &self.ids);
        sections.put_texts("products.names", &self.names);
        sections.put_texts("products.categories", &self.categories);
        sections.put("products.category_of", &self.category_of);
        sections.put("products.available", &self.available);
        sections.put("products.popularity", &self.popularity);
        sections.put("products.vectors", &self.vectors);
        sections.put("products.by_id", &self.by_id);
    }

    /// # Errors
    /// `Corrupt` for lists that do not belong together.
    pub(super) fn read(sections: &Sections, dim: usize) -> Result<Self> {
        let ids = sections.texts("products.ids")?;
        let n = ids.len();
        let numbers = n.checked_mul(dim).ok_or_else(|| sections.refuse("too many products"))?;
        let products = Self {
            names: sections.texts("products.names")?,
            categories: sections.texts("products.categories")?,
            category_of: sections.slab_of("products.category_of", n)?,
            available: sections.slab_of("products.available", n)?,
            popularity: sections.slab_of("products.popularity", n)?,
            vectors: sections.slab_of("products.vectors", numbers)?,
            by_id: sections.slab_of("products.by_id", n)?,
            ids,
            dim,
        };
        let categories = products.categories.len() as u32;
        let is_sound = products.names.len() == n
            && products.category_of.iter().all(|&category| category < categories)
            && products.by_id.iter().all(|&product| (product as usize) < n)
            // Each once, under an id of its own.
            && products.by_id.is_sorted_by(|&a, &b| products.ids.get(a as usize) < products.ids.get(b as usize));
        match is_sound {
            true => Ok(products),
            false => Err(sections.refuse("its lists of products contradict each other")),
        }
    }
}
