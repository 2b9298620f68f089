//! Everybody gets what sells best.

use crate::data::TrainData;

/// Products by their number of training rows.
#[derive(Debug, Clone)]
pub struct Popularity {
    /// Training rows of each product of the catalogue.
    pub counts: Vec<u64>,
    /// Rank of each product of the catalogue; ties in catalogue order.
    ranks: Vec<u32>,
}

impl Popularity {
    /// Counts the products of `rows`.
    pub fn fit(data: &TrainData, rows: &[u32]) -> Self {
        let mut counts = vec![0u64; data.catalogue.len()];
        for &row in rows {
            if let Some(count) = counts.get_mut(data.product[row as usize] as usize) {
                *count += 1;
            }
        }
        Self::of_counts(counts)
    }

    /// From the rows of each product.
    pub fn of_counts(counts: Vec<u64>) -> Self {
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|&p| std::cmp::Reverse(counts[p as usize]));
        let mut ranks = vec![0; counts.len()];
        for (rank, &product) in (0..).zip(&order) {
            ranks[product as usize] = rank;
        }
        Self { counts, ranks }
    }

    /// Rank of a product of the catalogue, 0 the best; None for any other.
    pub fn rank(&self, product: u32) -> Option<u32> {
        self.ranks.get(product as usize).copied()
    }

    /// Of each product whether it is one of the most bought that together make `share` of the rows.
    pub fn head(&self, share: f64) -> Vec<bool> {
        let mut by_rank = vec![0u64; self.counts.len()];
        self.ranks.iter().zip(&self.counts).for_each(|(&rank, &count)| by_rank[rank as usize] = count);
        let limit = share * self.counts.iter().sum::<u64>() as f64;
        let before = by_rank.iter().scan(0, |sum, &count| Some(std::mem::replace(sum, *sum + count)));
        let is_head: Vec<bool> = before.map(|before| (before as f64) < limit).collect();
        self.ranks.iter().map(|&rank| is_head[rank as usize]).collect()
    }

    /// Natural log of each product's share of the rows, for logQ; a product without rows counts as half a row.
    pub fn log_q(&self) -> Vec<f32> {
        let total = self.counts.iter().sum::<u64>().max(1) as f64;
        self.counts.iter().map(|&c| ((c as f64).max(0.5) / total).ln() as f32).collect()
    }
}
