//! The candidates of a batch, each once, as the loss reads them.

use super::distinct::Distinct;
use super::matrix::Matrix;
use super::tower_step::TowerStep;
use crate::backend::Batch;
use crate::data::TrainData;
use crate::loss::{Columns, LossConfig, NO_COLUMN, Negatives};
use pulp::Arch;
use rayon::prelude::*;
use recs_core::kernel::{add_scaled, dot};

/// Embeddings that a thread copies at a time.
const EMBED_RUN: usize = 256;
/// Lines of the transposed embeddings that a thread writes at a time: a line of the cache is read for them.
const TRANSPOSED_BAND: usize = 16;

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
    transposed: Matrix,
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
        let runs = self.embeddings.as_mut_slice().par_chunks_mut(EMBED_RUN * dim).enumerate();
        let longest = runs.map(|(run, rows)| {
            let mut longest = 0.0f32;
            for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
                let embedding = tower.embedding(run * EMBED_RUN + i);
                longest = longest.max(dot(embedding, embedding));
                row.copy_from_slice(embedding);
            }
            longest
        });
        self.longest = longest.reduce(|| 0.0, f32::max).sqrt();
        self.transposed.reshape(dim, n);
        let from = &self.embeddings;
        let bands = self.transposed.as_mut_slice().par_chunks_mut(TRANSPOSED_BAND * n.max(1)).enumerate();
        bands.for_each(|(band, lines)| {
            for i in 0..n {
                let numbers = &from.row(i)[band * TRANSPOSED_BAND..];
                lines.chunks_exact_mut(n).zip(numbers).for_each(|(line, number)| line[i] = *number);
            }
        });
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            embeddings: self.embeddings.view(),
            transposed: self.transposed.view(),
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
        Arch::new().dispatch(
            #[inline(always)]
            || {
                (0..n).for_each(|i| into.row_mut(i).copy_from_slice(d(i)));
                for (i, &slot) in self.distinct.slots.iter().enumerate() {
                    let (q, factor) = share(i);
                    add_scaled(into.row_mut(slot as usize), -factor, q);
                }
                for (i, copies) in self.copies.iter().enumerate() {
                    into.row_mut(i).iter_mut().for_each(|x| *x /= copies);
                }
            },
        );
    }
}
