//! What a customer bought before, as a feature of the query.
//!
//! A history is a set of products with weights; its encoding is the weighted sum of the products' rows of a table. The
//! weights are `log(1 + purchases)`, scaled so that the sum of their squares is 1: a long history is no longer vector than
//! a short one. The sum of rows as the model of a customer goes back to the shallow autoencoders of collaborative filtering
//! (Steck 2019, <https://arxiv.org/abs/1905.03375>; Liang et al. 2018, <https://arxiv.org/abs/1802.05814>).

use super::bags::offset;

/// Products of rows, end to end: those of row r are `offsets[r]..offsets[r + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Histories {
    /// `[rows + 1]`, beginning with 0.
    pub offsets: Vec<u32>,
    /// Vocabulary ids of products, each once a row.
    pub ids: Vec<u32>,
    /// Their weights.
    pub weights: Vec<f32>,
}

impl Default for Histories {
    fn default() -> Self {
        Self { offsets: vec![0], ids: Vec::new(), weights: Vec::new() }
    }
}

impl Histories {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.ids.clear();
        self.weights.clear();
    }

    /// Appends a row: products (each once) with their numbers of purchases. Id 0, which is no product, is left out.
    ///
    /// # Panics
    /// When there are 2^32 products or more in all rows.
    pub fn push(&mut self, purchases: impl IntoIterator<Item = (u32, f32)>) {
        let from = self.ids.len();
        for (id, count) in purchases {
            if id != 0 && count > 0.0 {
                self.ids.push(id);
                self.weights.push(count.ln_1p());
            }
        }
        let squares: f32 = self.weights[from..].iter().map(|w| w * w).sum();
        if squares > 0.0 {
            let scale = 1.0 / squares.sqrt();
            self.weights[from..].iter_mut().for_each(|w| *w *= scale);
        }
        self.offsets.push(offset(self.ids.len()));
    }

    /// Products and weights of a row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        (&self.ids[range.clone()], &self.weights[range])
    }

    /// Appends the rows of another.
    ///
    /// # Panics
    /// As [`Histories::push`].
    pub fn append(&mut self, other: &Self) {
        let from = offset(self.ids.len());
        offset(self.ids.len() + other.ids.len());
        self.ids.extend_from_slice(&other.ids);
        self.weights.extend_from_slice(&other.weights);
        self.offsets.extend(other.offsets[1..].iter().map(|o| o + from));
    }

    /// Makes it `rows` rows long by appending empty ones.
    pub fn pad(&mut self, rows: usize) {
        let end = offset(self.ids.len());
        self.offsets.resize(self.offsets.len().max(rows + 1), end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_length_one_and_unknown_products_are_left_out() {
        let mut histories = Histories::default();
        histories.push([(4, 3.0), (0, 9.0), (2, 1.0)]);
        histories.push([]);
        histories.push([(7, 2.0)]);
        let (ids, weights) = histories.row(0);
        assert_eq!(
            (ids, histories.row(1).0, histories.row(2)),
            (&[4, 2][..], &[][..], (&[7][..], &[1.0][..]))
        );
        assert!((weights.iter().map(|w| w * w).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((weights[0] / weights[1] - 2.0).abs() < 1e-6, "ln 4 / ln 2");
        let mut twice = histories.clone();
        twice.append(&histories);
        twice.pad(8);
        assert_eq!((twice.rows(), twice.row(5), twice.row(7).0.len()), (8, histories.row(2), 0));
    }
}
