//! The candidates of a batch, each once, as the loss reads them.

use super::distinct::Distinct;
use super::matrix::{Matrix, add_scaled};
use super::tower_step::TowerStep;
use crate::backend::Batch;
use crate::data::TrainData;
use crate::loss::{Columns, LossConfig, NO_COLUMN, Negatives};
use recs_core::kernel::dot;

/// Distinct candidates of a batch. Rooms are kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Rows of [`TrainData::candidates`].
    pub(super) distinct: Distinct,
    products: Distinct,
    copies: Vec<f32>,
    bias: Vec<f32>,
    same_product: Vec<u32>,
    embeddings: Matrix,
    longest: f32,
}

impl Candidates {
    pub(super) fn new(data: &TrainData) -> Self {
        Self {
            distinct: Distinct::new(data.candidates.rows),
            products: Distinct::new(data.catalogue.len()),
            ..Self::default()
        }
    }

    /// Takes the candidates of a batch: those of its targets, or all.
    pub(super) fn fill(&mut self, data: &TrainData, batch: Batch<'_>, loss: &LossConfig, log_q: &[f32]) {
        self.products.fill_from(batch, |row| data.product[row as usize], |product| product);
        let of = |product: u32| data.catalogue.candidate[product as usize];
        if loss.negatives == Negatives::Full {
            // Position in the catalogue is the column.
            self.distinct.ids.clone_from(&data.catalogue.candidate);
            let Distinct { ids, slots, .. } = &self.products;
            self.distinct.slots.clear();
            self.distinct.slots.extend(slots.iter().map(|&slot| ids[slot as usize]));
            self.copies.clear();
            self.copies.resize(data.catalogue.len(), 1.0);
            self.bias.clear();
            self.bias.resize(data.catalogue.len(), 0.0);
            return;
        }
        self.distinct.fill_from(batch, |row| data.candidate[row as usize], of);
        let n = self.distinct.ids.len();
        self.copies.clear();
        self.copies.resize(n, 0.0);
        self.bias.clear();
        self.bias.resize(n, 0.0);
        for (&slot, &product) in self.distinct.slots.iter().zip(&self.products.slots) {
            self.copies[slot as usize] += 1.0;
            if loss.log_q {
                self.bias[slot as usize] = -log_q[self.products.ids[product as usize] as usize];
            }
        }
        self.bias.iter_mut().zip(&self.copies).for_each(|(bias, copies)| *bias += copies.ln());
        if loss.mask_accidental_hits {
            self.link();
        }
    }

    /// Links the columns of each product to a ring.
    fn link(&mut self) {
        self.same_product.clear();
        if self.products.ids.len() == self.distinct.ids.len() {
            return;
        }
        self.same_product.resize(self.distinct.ids.len(), NO_COLUMN);
        let mut first = vec![NO_COLUMN; self.products.ids.len()];
        for (&column, &product) in self.distinct.slots.iter().zip(&self.products.slots) {
            let (at, head) = (column as usize, &mut first[product as usize]);
            if self.same_product[at] != NO_COLUMN {
                continue;
            }
            if *head == NO_COLUMN {
                (*head, self.same_product[at]) = (column, column);
            } else {
                self.same_product[at] = self.same_product[*head as usize];
                self.same_product[*head as usize] = column;
            }
        }
    }

    /// Takes their embeddings.
    pub(super) fn embed(&mut self, tower: &TowerStep, dim: usize) {
        let n = self.distinct.ids.len();
        self.embeddings.reshape(n, dim);
        let mut longest = 0.0f32;
        for i in 0..n {
            let embedding = tower.embedding(i);
            longest = longest.max(dot(embedding, embedding));
            self.embeddings.row_mut(i).copy_from_slice(embedding);
        }
        self.longest = longest.sqrt();
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            embeddings: self.embeddings.view(),
            copies: &self.copies,
            bias: &self.bias,
            same_product: &self.same_product,
            longest: self.longest,
        }
    }

    /// Mean gradient of the members of each column but for what is a member's own: `(d - sum of shares) / copies`.
    pub(super) fn common<'a, 'b>(
        &self,
        into: &mut Matrix,
        d: impl Fn(usize) -> &'a [f32],
        share: impl Fn(usize) -> (&'b [f32], f32),
    ) {
        let (n, dim) = self.embeddings.view().dim();
        into.reshape(n, dim);
        (0..n).for_each(|i| into.row_mut(i).copy_from_slice(d(i)));
        for (i, &slot) in self.distinct.slots.iter().enumerate() {
            let (q, factor) = share(i);
            add_scaled(into.row_mut(slot as usize), -factor, q);
        }
        for (i, copies) in self.copies.iter().enumerate() {
            into.row_mut(i).iter_mut().for_each(|x| *x /= copies);
        }
    }
}
