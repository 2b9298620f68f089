//! Numbers -> buckets, and the statistics that normalisation needs.

use crate::error::{Error, Result};

/// `n` evenly spaced numbers from `min` to `max` in f64, the last exactly `max`, as numpy's `linspace` computes them.
pub fn linspace(min: f64, max: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { (max - min) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i == n - 1 { max } else { i as f64 * step + min }).collect()
}

/// Boundaries of buckets: kept in f64 as written, compared in f32 as TensorFlow does.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    boundaries: Vec<f64>,
    rounded: Vec<f32>,
}

impl Buckets {
    /// Wraps ascending finite boundaries; equal neighbours are allowed.
    ///
    /// # Errors
    /// [`Error::Document`] otherwise; `key` is named.
    pub fn new(key: &str, boundaries: Vec<f64>) -> Result<Self> {
        if boundaries.is_empty() || boundaries.len() > 1 << 24 {
            return Err(Error::document(
                super::VOCABULARY_FILE,
                format!("{key}: needs 1 to 16,777,216 boundaries"),
            ));
        }
        let fault = boundaries
            .iter()
            .position(|b| !b.is_finite())
            .or_else(|| boundaries.windows(2).position(|w| w[0] > w[1]).map(|i| i + 1));
        if let Some(i) = fault {
            return Err(Error::document(
                super::VOCABULARY_FILE,
                format!("{key}: boundary {i} is {}; boundaries are finite and ascending", boundaries[i]),
            ));
        }
        let rounded = boundaries.iter().map(|&b| b as f32).collect();
        Ok(Self { boundaries, rounded })
    }

    /// Number of boundaries <= `x`, compared in f32. O(log n).
    #[inline]
    pub fn bucket(&self, x: f32) -> u32 {
        self.rounded.partition_point(|&b| b <= x) as u32
    }

    /// The boundaries as written.
    pub fn boundaries(&self) -> &[f64] {
        &self.boundaries
    }
}

/// Streaming count, minimum, maximum, mean and population variance of a column.
///
/// Mean and variance by Welford's update and Chan's merge
/// (<https://en.wikipedia.org/wiki/Algorithms_for_calculating_variance>): no cancellation, any order of magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberStats {
    /// Rows.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean over rows.
    pub mean: f64,
    /// Sum of squared distances from the mean.
    pub(crate) squares: f64,
}

impl Default for NumberStats {
    fn default() -> Self {
        Self { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, squares: 0.0 }
    }
}

impl NumberStats {
    /// Adds one finite value.
    pub fn push(&mut self, x: f64) {
        self.count += 1;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        let before = x - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (x - self.mean);
    }

    /// Adds the rows of another part. Deterministic for a fixed order of parts.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.mean += apart * b / (a + b);
        self.squares += other.squares + apart * apart * a * b / (a + b);
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Population standard deviation over rows.
    pub fn std(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.squares / self.count as f64).max(0.0).sqrt() }
    }

    /// Count, smallest, largest, mean, and sum of squared distances from the mean: all there is to know, bit for bit.
    pub fn to_parts(&self) -> (u64, [f64; 4]) {
        (self.count, [self.min, self.max, self.mean, self.squares])
    }

    /// Joins what [`NumberStats::to_parts`] gave.
    pub fn of_parts(count: u64, [min, max, mean, squares]: [f64; 4]) -> Self {
        Self { count, min, max, mean, squares }
    }

    /// Statistics as a file states them.
    pub(crate) fn stated(count: u64, min: f64, max: f64, mean: f64, std: f64) -> Self {
        Self { count, min, max, mean, squares: std * std * count as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn stats_equal_two_passes_however_split(xs in proptest::collection::vec(-1e6f64..1e6, 1..200), cut in 0usize..200) {
            let cut = cut.min(xs.len());
            let part = |xs: &[f64]| { let mut s = NumberStats::default(); xs.iter().for_each(|&x| s.push(x)); s };
            let mut whole = part(&xs[..cut]);
            whole.merge(&part(&xs[cut..]));
            let mean = xs.iter().sum::<f64>() / xs.len() as f64;
            let std = (xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64).sqrt();
            assert!((whole.mean - mean).abs() < 1e-6 && (whole.std() - std).abs() < 1e-6);
            assert_eq!(whole.count, xs.len() as u64);
            assert_eq!(whole.min, xs.iter().copied().fold(f64::INFINITY, f64::min));
        }

        #[test]
        fn bucket_counts_boundaries_not_above(mut bs in proptest::collection::vec(-1e4f64..1e4, 1..50), x in -2e4f32..2e4) {
            bs.sort_by(f64::total_cmp);
            let expected = bs.iter().filter(|&&b| b as f32 <= x).count() as u32;
            assert_eq!(Buckets::new("k", bs).unwrap().bucket(x), expected);
        }
    }
}
