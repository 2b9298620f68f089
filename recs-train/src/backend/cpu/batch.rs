//! The candidates of a batch, each once, as the loss reads them.

use super::distinct::Distinct;
use super::sampling::Sampling;
use super::tower_step::TowerStep;
use crate::backend::Batch;
use crate::data::TrainData;
use crate::loss::{Columns, NO_COLUMN, Negatives};
use crate::matrix::Matrix;
use rayon::prelude::*;
use recs_core::kernel::dot;
use std::collections::HashMap;

/// Embeddings that a thread copies at a time.
const EMBED_RUN: usize = 256;
/// Lines of the transposed embeddings that a thread writes at a time: a line of the cache is read for them.
const TRANSPOSED_BAND: usize = 16;

/// Distinct candidates of a batch, then those of earlier ones. Rooms are kept from step to step.
///
/// Products with equal features are one candidate. Where a loss looks at products, to correct or to mask, each of them has a
/// column of its own, as in a softmax over the whole catalogue.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Rows of [`TrainData::candidates`], one for each column; the slots are those of the targets, then of uniform draws.
    pub(super) distinct: Distinct,
    products: Distinct,
    /// Targets of the batch.
    targets: usize,
    /// How many of them have each of `products`.
    counts: Vec<f32>,
    /// Place in `products` of each column's, [`NO_COLUMN`] for one that only an earlier step had.
    product: Vec<u32>,
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

    /// Takes the candidates of a batch: those of its targets and of uniform draws, or all.
    pub(super) fn fill(&mut self, data: &TrainData, batch: Batch<'_>, sampling: &mut Sampling) {
        self.products.fill_from(batch, |row| data.product[row as usize], |product| product);
        self.targets = self.products.slots.len();
        let of = |product: u32| data.catalogue.candidate[product as usize];
        if sampling.config.negatives == Negatives::Full {
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
        let draws = sampling.draw_uniform();
        self.products.extend(draws.iter().copied());
        self.distinct.extend(draws.iter().map(|&product| of(product)));
        if sampling.wants_products() {
            self.split();
        }
        self.count(sampling);
        self.add_cached(sampling);
        if sampling.wants_links() {
            self.link();
        }
    }

    /// Gives each product of a column with several one of its own, behind the others.
    fn split(&mut self) {
        let Distinct { ids, slots, .. } = &mut self.distinct;
        self.product.clear();
        self.product.resize(ids.len(), NO_COLUMN);
        let mut further = HashMap::new();
        for (slot, &product) in slots.iter_mut().zip(&self.products.slots) {
            let first = &mut self.product[*slot as usize];
            if *first == NO_COLUMN {
                *first = product;
            } else if *first != product {
                let id = ids[*slot as usize];
                *slot = *further.entry((*slot, product)).or_insert_with(|| {
                    ids.push(id);
                    ids.len() as u32 - 1
                });
            }
        }
    }

    /// Copies and biases of the columns.
    fn count(&mut self, sampling: &Sampling) {
        self.counts.clear();
        self.counts.resize(self.products.ids.len(), 0.0);
        self.products.slots[..self.targets].iter().for_each(|&slot| self.counts[slot as usize] += 1.0);
        let n = self.distinct.ids.len();
        self.copies.clear();
        self.copies.resize(n, 0.0);
        self.product.clear();
        self.product.resize(n, NO_COLUMN);
        let first = if sampling.config.negatives == Negatives::Uniform { self.targets } else { 0 };
        for (i, (&slot, &product)) in self.distinct.slots.iter().zip(&self.products.slots).enumerate() {
            self.product[slot as usize] = product;
            if i >= first {
                self.copies[slot as usize] += 1.0;
            }
        }
        self.bias.clear();
        self.bias.extend(self.product.iter().zip(&self.copies).map(|(&slot, copies)| {
            let slot = slot as usize;
            sampling.correction(self.products.ids[slot], self.counts[slot], self.targets) + copies.ln()
        }));
    }

    /// Columns of earlier steps, behind the others.
    fn add_cached(&mut self, sampling: &Sampling) {
        let Some(cached) = sampling.cached() else { return };
        for (&product, &copies) in cached.products.iter().zip(cached.copies) {
            let slot = self.products.find(product);
            let count = slot.map_or(0.0, |slot| self.counts[slot as usize]);
            self.product.push(slot.unwrap_or(NO_COLUMN));
            self.copies.push(copies);
            self.bias.push(sampling.correction(product, count, self.targets) + copies.ln());
        }
    }

    /// Links the columns of each product of the batch to a ring.
    fn link(&mut self) {
        self.same_product.clear();
        // A column has one product here, and each product has a column.
        if self.products.ids.len() == self.copies.len() {
            return;
        }
        self.same_product.resize(self.copies.len(), NO_COLUMN);
        let mut first = vec![NO_COLUMN; self.products.ids.len()];
        for (column, &product) in (0..).zip(&self.product) {
            let Some(head) = first.get_mut(product as usize) else { continue };
            if *head == NO_COLUMN {
                (*head, self.same_product[column as usize]) = (column, column);
            } else {
                self.same_product[column as usize] = self.same_product[*head as usize];
                self.same_product[*head as usize] = column;
            }
        }
    }

    /// Takes their embeddings.
    pub(super) fn embed(&mut self, tower: &TowerStep, dim: usize, sampling: &Sampling) {
        let (n, all) = (self.distinct.ids.len(), self.copies.len());
        let cached = sampling.cached().map_or(&[][..], |cached| cached.embeddings);
        let embedding = |i: usize| match i.checked_sub(n) {
            None => tower.embedding(i),
            Some(i) => &cached[i * dim..(i + 1) * dim],
        };
        self.embeddings.reshape(all, dim);
        let runs = self.embeddings.as_mut_slice().par_chunks_mut(EMBED_RUN * dim).enumerate();
        let longest = runs.map(|(run, rows)| {
            let mut longest = 0.0f32;
            for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
                let embedding = embedding(run * EMBED_RUN + i);
                longest = longest.max(dot(embedding, embedding));
                row.copy_from_slice(embedding);
            }
            longest
        });
        self.longest = longest.reduce(|| 0.0, f32::max).sqrt();
        self.transpose(dim);
    }

    fn transpose(&mut self, dim: usize) {
        let (from, n) = (&self.embeddings, self.embeddings.rows());
        self.transposed.reshape(dim, n);
        let bands = self.transposed.as_mut_slice().par_chunks_mut(TRANSPOSED_BAND * n.max(1)).enumerate();
        bands.for_each(|(band, lines)| {
            for i in 0..n {
                let numbers = &from.row(i)[band * TRANSPOSED_BAND..];
                lines.chunks_exact_mut(n).zip(numbers).for_each(|(line, number)| line[i] = *number);
            }
        });
    }

    /// Columns whose embeddings get a gradient: the first ones.
    pub(super) fn trained(&self) -> usize {
        self.distinct.ids.len()
    }

    /// Columns of the batch's targets.
    pub(super) fn slots(&self) -> &[u32] {
        &self.distinct.slots[..self.targets]
    }

    /// Tells what the step had, once it is over.
    pub(super) fn close(&self, sampling: &mut Sampling) {
        let Self { products, counts, product, copies, embeddings, .. } = self;
        let seen = products.ids.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0.0);
        let (n, dim) = (self.trained(), embeddings.view().ncols());
        sampling.close(seen, |cache| {
            let products: Vec<u32> = product[..n].iter().map(|&slot| products.ids[slot as usize]).collect();
            cache.push(&embeddings.as_slice()[..n * dim], &products, &copies[..n]);
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
}
