//! Recall, NDCG and MRR over test rows.

use serde::{Deserialize, Serialize};

/// The cut-offs that reports show.
pub const RECALL_CUTS: [u32; 4] = [5, 10, 50, 100];

/// Sums over test rows. A row is one purchase with one relevant product, so NDCG@K of a row is 1 / log2(rank + 2) when
/// the product is among the K and 0 otherwise, and MRR is over the whole catalogue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RankSums {
    rows: u64,
    hits: [u64; 4],
    ndcg: [f64; 4],
    reciprocal: f64,
}

impl RankSums {
    /// Adds a row whose product has `rank` (0 = best); None for a product that cannot be recommended, a miss.
    pub fn push(&mut self, rank: Option<u32>) {
        self.rows += 1;
        let Some(rank) = rank else { return };
        self.reciprocal += 1.0 / (f64::from(rank) + 1.0);
        for (i, &k) in RECALL_CUTS.iter().enumerate() {
            if rank < k {
                self.hits[i] += 1;
                self.ndcg[i] += 1.0 / (f64::from(rank) + 2.0).log2();
            }
        }
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.reciprocal += other.reciprocal;
        for i in 0..RECALL_CUTS.len() {
            self.hits[i] += other.hits[i];
            self.ndcg[i] += other.ndcg[i];
        }
    }

    /// Rows added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Share of rows whose product is among the first `k`; None when nothing was counted or `k` is not one of
    /// [`RECALL_CUTS`].
    pub fn recall_at(&self, k: u32) -> Option<f64> {
        let i = RECALL_CUTS.iter().position(|&c| c == k)?;
        (self.rows > 0).then(|| self.hits[i] as f64 / self.rows as f64)
    }

    /// Mean NDCG@k; None as [`RankSums::recall_at`].
    pub fn ndcg_at(&self, k: u32) -> Option<f64> {
        let i = RECALL_CUTS.iter().position(|&c| c == k)?;
        (self.rows > 0).then(|| self.ndcg[i] / self.rows as f64)
    }

    /// Mean reciprocal rank over the whole catalogue; None when nothing was counted.
    pub fn mrr(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.reciprocal / self.rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definitions_by_hand() {
        let mut sums = RankSums::default();
        assert_eq!(sums.recall_at(100), None, "nothing counted is not zero");
        for rank in [Some(0), Some(9), Some(99), Some(100), None] {
            sums.push(rank);
        }
        assert_eq!(sums.recall_at(5), Some(0.2));
        assert_eq!(sums.recall_at(10), Some(0.4));
        assert_eq!(sums.recall_at(100), Some(0.6));
        assert_eq!(sums.recall_at(7), None);
        let mrr = (1.0 + 0.1 + 0.01 + 1.0 / 101.0) / 5.0;
        assert!((sums.mrr().unwrap() - mrr).abs() < 1e-12);
        let ndcg = (1.0 + 1.0 / 11f64.log2()) / 5.0;
        assert!((sums.ndcg_at(10).unwrap() - ndcg).abs() < 1e-12);
    }
}
