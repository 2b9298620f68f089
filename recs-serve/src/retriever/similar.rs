//! Products like a product.

use super::Retriever;
use crate::error::{Error, Result};
use recs_core::kernel::{TopK, dot_rows};
use serde::Serialize;

/// Products scored at once.
const BLOCK: usize = 1024;

/// A product like another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Similar<'r> {
    /// Product id.
    pub product_id: &'r str,
    /// Cosine of the two embeddings, from -1 to 1.
    pub score: f32,
    /// From 1.
    pub rank: usize,
}

impl Retriever {
    /// The `k` products whose embeddings point in the most similar direction, without the product itself; ties in
    /// catalogue order. Lengths of embeddings do not count, nor does a bias: they hold how popular a product is.
    ///
    /// Cost: two dot products a product, on the calling thread.
    ///
    /// # Errors
    /// [`Error::UnknownProduct`].
    pub fn similar(&self, product_id: &str, k: usize) -> Result<Vec<Similar<'_>>> {
        let unknown = || Error::UnknownProduct { product_id: product_id.to_owned() };
        let product = self.catalogue.find(product_id).ok_or_else(unknown)?;
        let (flat, dim, n) = (self.catalogue.flat(), self.index.dim(), self.products());
        let own = dim - usize::from(self.has_bias);
        let mut query = unit(&self.catalogue.vector(product)[..own]);
        query.resize(dim, 0.0);
        let mut best = TopK::new(k.saturating_add(1).min(n));
        self.scratch.with(|scratch| {
            scratch.scores.resize(BLOCK, 0.0);
            for start in (0..n).step_by(BLOCK) {
                let rows = &flat[start * dim..n.min(start + BLOCK) * dim];
                let scores = &mut scratch.scores[..rows.len() / dim];
                dot_rows(&query, rows, scores);
                scores
                    .iter_mut()
                    .zip(rows.chunks_exact(dim))
                    .for_each(|(score, row)| *score = cosine(*score, &row[..own]));
                best.push_scores(start as u32, scores);
            }
        });
        let hits = best.take_sorted().into_iter().filter(|hit| hit.index != product).take(k);
        let item = |(i, hit): (usize, recs_core::kernel::Hit)| Similar {
            product_id: self.catalogue.id(hit.index),
            score: hit.score,
            rank: i + 1,
        };
        Ok(hits.enumerate().map(item).collect())
    }
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// The vector at length 1; zeros stay zeros.
fn unit(vector: &[f32]) -> Vec<f32> {
    let length = length(vector);
    vector.iter().map(|&x| if length > 0.0 { (f64::from(x) / length) as f32 } else { 0.0 }).collect()
}

fn cosine(dot: f32, row: &[f32]) -> f32 {
    let length = length(row);
    if length > 0.0 && dot.is_finite() { ((f64::from(dot) / length) as f32).clamp(-1.0, 1.0) } else { 0.0 }
}
