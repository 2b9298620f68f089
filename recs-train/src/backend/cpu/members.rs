//! The way back for single members of a batch, where a row stands for several: what clipping by variable asks for.
//!
//! Keras takes the norm of an embedding's gradient over the members of the batch. It follows from the sum over them of
//! `delta delta^T`, delta being the gradient of the first layer's output. Members of one row have the same activations, so that
//! delta is a linear map of the gradient d of their embedding; and for n vectors with the sum s,
//! `sum of d d^T = s s^T / n + sum of h h^T`, with the n - 1 contrasts `h_k = sqrt((k - 1) / k) (d_k - mean of d_1 … d_(k-1))` (Helmert
//! 1876). s is carried back anyway; only contrasts are carried beside it, in which what members have in common is gone.

use super::chunk::Chunk;
use super::clock::Clock;
use super::gram::{add_gram, complete_gram};
use super::pass::{Pass, Through};
use super::tower_step::TowerStep;
use super::walk::{Trace, walk_back};
use crate::matrix::Matrix;
use ndarray::ArrayView2;
use pulp::Arch;
use rayon::prelude::*;
use recs_core::kernel::{add, add_scaled};
use recs_core::model::TowerWeights;
use std::ops::Range;

/// Contrasts of the members of each row.
#[derive(Debug, Default)]
pub(super) struct Contrasts {
    /// `[contrasts, dim]`
    d: Matrix,
    /// Whose they are.
    rows: Vec<u32>,
    /// Means of the members so far, and their number. `[rows, dim]`
    means: Matrix,
    members: Vec<f32>,
}

impl Contrasts {
    /// Of members of the rows `slots`; `own(i)` is what tells the gradient of member i's embedding from those of others, as
    /// a vector and a factor. O(members x dim).
    pub(super) fn fill<'a>(
        &mut self,
        (rows, dim): (usize, usize),
        slots: &[u32],
        own: impl Fn(usize) -> (&'a [f32], f32),
    ) {
        self.means.reshape(rows, dim);
        self.d.reshape(slots.len(), dim);
        self.members.clear();
        self.members.resize(rows, 0.0);
        self.rows.clear();
        let Self { d, rows, means, members } = self;
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, &slot) in slots.iter().enumerate() {
                    let ((x, factor), mean) = (own(i), means.row_mut(slot as usize));
                    let n = &mut members[slot as usize];
                    *n += 1.0;
                    if *n == 1.0 {
                        mean.iter_mut().zip(x).for_each(|(mean, x)| *mean = factor * x);
                        continue;
                    }
                    let scale = ((*n - 1.0) / *n).sqrt();
                    let contrast = d.row_mut(rows.len());
                    rows.push(slot);
                    for ((contrast, mean), x) in contrast.iter_mut().zip(&*mean).zip(x) {
                        *contrast = scale * (factor * x - mean);
                    }
                    add_scaled(mean, 1.0 / (scale * *n), contrast);
                }
            },
        );
        self.d.truncate(self.rows.len());
    }
}

impl TowerStep {
    /// As [`TowerStep::backward`], with the tables' unsummed squares: those of the members of the batch that rows stand for, which
    /// have `contrasts`.
    pub(super) fn backward_with_members(
        &mut self,
        weights: &TowerWeights,
        contrasts: &Contrasts,
        clock: &Clock,
    ) {
        let Self { config, folded, dropout, chunks, run, members, numbers, .. } = self;
        let pass = Pass { config, folded, dropout: *dropout };
        let (run, numbers) = (*run, numbers.at.len());
        let n = contrasts.rows.len();
        let share = n.div_ceil(members.len());
        {
            let of = |row: u32| (&chunks[row as usize / run], row as usize % run);
            members.par_iter_mut().enumerate().for_each(|(i, out)| {
                let range = (i * share).min(n)..((i + 1) * share).min(n);
                out.way.d.reshape(range.len(), contrasts.d.cols());
                out.way.d.as_mut_slice().copy_from_slice(contrasts.d.run(range.clone()));
                out.carry_members(pass, &contrasts.rows[range], of, clock);
            });
        }
        chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let from = (i * run).min(contrasts.members.len());
            chunk.backward(pass, numbers, Some(&contrasts.members[from..]), clock);
        });
        sum(&mut self.gram, self.chunks.iter().chain(&self.members).map(|c| &c.gram));
        complete_gram(&mut self.gram);
        self.tables_backward(weights, true, clock);
    }
}

impl Chunk {
    /// Carries gradients back to the first layer's output, and leaves the gram matrix of those; `of` gives the chunk and the row
    /// there that has the activations of a row.
    fn carry_members<'a>(
        &mut self,
        pass: Pass<'_>,
        rows: &[u32],
        of: impl Fn(u32) -> (&'a Chunk, usize),
        clock: &Clock,
    ) {
        let Self { way, gram, .. } = self;
        let trace = Trace {
            normalised: |i: usize| {
                let (chunk, row) = of(rows[i]);
                (chunk.output().row(row), chunk.inverse_norm(row))
            },
            of_level: |through: Through, level: usize, i: usize| {
                let (chunk, row) = of(rows[i]);
                chunk.level_row(through, level, row)
            },
        };
        let at_end =
            |range: Range<usize>, d: ArrayView2<'_, f32>| add_gram([&d, &d], gram, range.start == 0, clock);
        walk_back(pass, way, false, trace, |_, _, _| {}, at_end, clock);
    }
}

/// Adds matrices of one shape, in their order.
fn sum<'a>(into: &mut Matrix, parts: impl Iterator<Item = &'a Matrix>) {
    for (i, part) in parts.enumerate() {
        if i == 0 {
            into.clone_from(part);
        } else {
            add(into.as_mut_slice(), part.as_slice());
        }
    }
}
