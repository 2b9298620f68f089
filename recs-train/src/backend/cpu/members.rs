//! The way back for single members of a batch, where a row stands for several: what clipping by variable asks for.

use super::chunk::Chunk;
use super::clock::Clock;
use super::matrix;
use super::pass::{Pass, Through};
use super::tower_backward::sum;
use super::tower_step::TowerStep;
use super::walk::{Trace, walk_back};
use pulp::Arch;
use rayon::prelude::*;
use recs_core::model::TowerWeights;

impl TowerStep {
    /// Where the rows of the batch stand for several members each: `write(i, d)` writes the gradient of the embedding of
    /// each of `n` members.
    pub(super) fn set_members(&mut self, n: usize, write: impl Fn(usize, &mut [f32]) + Sync) {
        let dim = self.chunks[0].output().view().ncols();
        let run = n.div_ceil(self.members.len()).max(1);
        self.members.par_iter_mut().enumerate().for_each(|(i, out)| {
            let from = (i * run).min(n);
            out.d.reshape(run.min(n - from), dim);
            Arch::new().dispatch(
                #[inline(always)]
                || (0..out.d.rows()).for_each(|i| write(from + i, out.d.row_mut(i))),
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
        self.tables_backward(weights, true, clock);
    }
}

impl Chunk {
    /// Carries `d` back to the first layer's output, and leaves its gram matrix; `of` gives the chunk and the row there
    /// that has the activations of a row.
    fn carry_members<'a>(
        &mut self,
        pass: Pass<'_>,
        rows: &[u32],
        of: impl Fn(u32) -> (&'a Chunk, usize),
        clock: &Clock,
    ) {
        let Self { d, below, gram, .. } = self;
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
        walk_back(pass, [&mut *d, below], trace, |_, _| {}, clock);
        matrix::gram(d, gram, clock);
    }
}
