//! Coverage, personalisation and novelty of the lists that customers get.

/// Counts how often each product is in a list.
#[derive(Debug, Clone)]
pub struct ListStats {
    shown: Vec<u64>,
    lists: u64,
    entries: u64,
}

impl ListStats {
    /// Empty counts for a catalogue of `products`.
    pub fn new(products: usize) -> Self {
        Self { shown: vec![0; products], lists: 0, entries: 0 }
    }

    /// Adds one customer's list; indexes out of range are ignored.
    pub fn push(&mut self, list: impl IntoIterator<Item = u32>) {
        self.lists += 1;
        for index in list {
            if let Some(count) = self.shown.get_mut(index as usize) {
                *count += 1;
                self.entries += 1;
            }
        }
    }

    /// Adds the lists of another part.
    pub fn merge(&mut self, other: &Self) {
        self.lists += other.lists;
        self.entries += other.entries;
        self.shown.iter_mut().zip(&other.shown).for_each(|(a, b)| *a += b);
    }

    /// Lists added.
    pub fn lists(&self) -> u64 {
        self.lists
    }

    /// Share of the catalogue that is in at least one list; None without lists.
    pub fn coverage(&self) -> Option<f64> {
        let shown = self.shown.iter().filter(|&&c| c > 0).count();
        (self.lists > 0 && !self.shown.is_empty()).then(|| shown as f64 / self.shown.len() as f64)
    }

    /// 1 - mean share of entries that two different customers' lists have in common: 0 when everybody gets the same,
    /// 1 when no two lists share a product. O(products), not O(customers squared). None for fewer than two lists.
    pub fn personalisation(&self) -> Option<f64> {
        if self.lists < 2 || self.entries == 0 {
            return None;
        }
        let common: f64 = self.shown.iter().map(|&c| c as f64 * (c as f64 - 1.0)).sum();
        let length = self.entries as f64 / self.lists as f64;
        let pairs = self.lists as f64 * (self.lists as f64 - 1.0);
        Some((1.0 - common / (pairs * length)).clamp(0.0, 1.0))
    }

    /// Mean self-information of what is recommended, in bits: the mean over the entries of all lists of -log2(p), p being
    /// the share of `rows`, the training rows of each product of the catalogue, that are the product's. 0 when everybody gets
    /// the one product that was ever bought, high when lists go far into the long tail (Castells, Vargas and Wang 2011,
    /// "Novelty and Diversity Metrics for Recommender Systems"). A product without rows counts as one with a single row, or
    /// it would be infinitely novel. O(products). None without entries or rows.
    pub fn novelty(&self, rows: &[u64]) -> Option<f64> {
        let total = rows.iter().sum::<u64>() as f64;
        if self.entries == 0 || total == 0.0 {
            return None;
        }
        let bits = |(&shown, &rows): (&u64, &u64)| shown as f64 * (total / rows.max(1) as f64).log2();
        Some(self.shown.iter().zip(rows).map(bits).sum::<f64>() / self.entries as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_pairwise_definition(lists in proptest::collection::vec(proptest::collection::btree_set(0u32..12, 4), 2..12)) {
            let mut stats = ListStats::new(12);
            lists.iter().for_each(|l| stats.push(l.iter().copied()));
            let mut common = 0.0;
            for (i, a) in lists.iter().enumerate() {
                for (j, b) in lists.iter().enumerate() {
                    if i != j {
                        common += a.intersection(b).count() as f64 / 4.0;
                    }
                }
            }
            let pairs = (lists.len() * (lists.len() - 1)) as f64;
            prop_assert!((stats.personalisation().unwrap() - (1.0 - common / pairs)).abs() < 1e-9);
        }
    }

    #[test]
    fn novelty_is_the_mean_self_information() {
        let mut stats = ListStats::new(4);
        stats.push([0, 1]);
        stats.push([1, 3]);
        // Shares 1/2, 1/4, 1/4; the last product, without rows, counts as one of 8.
        let bits = (1.0 + 2.0 + 2.0 + 3.0) / 4.0;
        assert!((stats.novelty(&[4, 2, 2, 0]).unwrap() - bits).abs() < 1e-12);
        assert_eq!((stats.novelty(&[0; 4]), ListStats::new(4).novelty(&[1; 4])), (None, None));
    }

    #[test]
    fn same_list_for_everybody_is_zero() {
        let mut stats = ListStats::new(10);
        (0..5).for_each(|_| stats.push([1, 2]));
        assert_eq!((stats.personalisation(), stats.coverage()), (Some(0.0), Some(0.2)));
    }
}
