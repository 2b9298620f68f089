//! The way back for single members of a batch, where a row stands for several: what clipping by variable asks for.

use super::chunk::Chunk;
use super::clock::Clock;
use super::matrix::{add_gram, complete_gram};
use super::pass::{Pass, Through};
use super::tower_backward::sum;
use super::tower_step::TowerStep;
use super::walk::{Trace, walk_back};
use ndarray::ArrayView2;
use pulp::Arch;
use rayon::prelude::*;
use recs_core::model::TowerWeights;
use std::ops::Range;

impl TowerStep {
    /// Where the rows of the batch stand for several members each: `write(i, d)` writes the gradient of the embedding of
    /// each of `n` members.
    pub(super) fn set_members(&mut self, n: usize, write: impl Fn(usize, &mut [f32]) + Sync) {
        let dim = self.chunks[0].output().view().ncols();
        let run = n.div_ceil(self.members.len()).max(1);
        self.members.par_iter_mut().enumerate().for_each(|(i, out)| {
            let from = (i * run).min(n);
            let d = &mut out.way.d;
            d.reshape(run.min(n - from), dim);
            Arch::new().dispatch(
                #[inline(always)]
                || (0..d.rows()).for_each(|i| write(from + i, d.row_mut(i))),
            );
        });
    }

    /// As [`TowerStep::backward`] with unsummed squares, where a row stands for several members of the batch, whose
    /// gradients are set: member i's row is `rows[i]`.
    pub(super) fn backward_with_members(&mut self, weights: &TowerWeights, rows: &[u32], clock: &Clock) {
        let Self { config, folded, dropout, chunks, run, members, numbers, .. } = self;
        let pass = Pass { config, folded, dropout: *dropout };
        let (run, numbers) = (*run, numbers.at.len());
        let members_run = rows.len().div_ceil(members.len()).max(1);
        {
            let of = |row: u32| (&chunks[row as usize / run], row as usize % run);
            let each = members.par_iter_mut().zip(rows.par_chunks(members_run));
            each.for_each(|(out, rows)| out.carry_members(pass, rows, of, clock));
        }
        chunks.par_iter_mut().for_each(|chunk| chunk.backward(pass, numbers, false, clock));
        let used = rows.len().div_ceil(members_run);
        sum(&mut self.gram, self.members[..used].iter().map(|c| &c.gram));
        complete_gram(&mut self.gram);
        self.tables_backward(weights, true, clock);
    }
}

impl Chunk {
    /// Carries gradients back to the first layer's output, and leaves the gram matrix of those; `of` gives the chunk and the row there
    /// that has the activations of a row.
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
            |range: Range<usize>, d: ArrayView2<'_, f32>| add_gram(&d, gram, range.start == 0, clock);
        walk_back(pass, way, false, trace, |_, _, _| {}, at_end, clock);
    }
}
