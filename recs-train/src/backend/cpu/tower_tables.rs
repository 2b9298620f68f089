//! What a step reads of the tables of a tower.

use super::clock::Clock;
use super::part::{Lookup, Sharing, TablePart};
use super::tower_step::{Rows, TowerStep};
use crate::optim::{Optimiser, Step};
use rayon::prelude::*;
use recs_core::kernel::prefetch;
use recs_core::model::{Histories, Table, TowerWeights};
use std::sync::LazyLock;

/// Rows between the one that is read and the one that memory is asked for.
pub(super) const AHEAD: usize = 16;

/// Those of a batch that has none.
static NO_HISTORIES: LazyLock<Histories> = LazyLock::new(Histories::default);

impl TowerStep {
    /// Reads what the batch wants of each table.
    pub(super) fn read_tables(
        &self,
        parts: &mut [TablePart],
        weights: &mut TowerWeights,
        states: &mut [Box<dyn Optimiser>],
        steps: [&Step; 2],
        rows: Rows<'_>,
        clock: &Clock,
    ) {
        let kernel = self.table_kernel();
        let each = parts.par_iter_mut().zip(&mut weights.embeddings).zip(states).enumerate();
        each.for_each(|(i, ((part, table), state))| {
            let is_bias = self.bias_at == Some(i);
            let (step, kernel) = if is_bias { (steps[1], None) } else { (steps[0], kernel.as_ref()) };
            // A shared table was read before.
            if matches!(part.sharing, Sharing::Own) {
                part.read(self.lookup(part.column, rows), table, (state.as_mut(), step));
            }
            part.multiply(kernel, clock);
        });
    }

    /// What a part looks up.
    fn lookup<'a>(&'a self, column: Option<usize>, rows: Rows<'a>) -> Lookup<'a> {
        let n = rows.batch.len();
        match column {
            Some(at) => Lookup::Ids(&self.ids[at * n..(at + 1) * n]),
            None => Lookup::Histories(rows.histories.unwrap_or(&NO_HISTORIES), self.dropout.history()),
        }
    }

    /// Reads what the batch wants of a shared table for part `at`; ids are gathered.
    pub(super) fn read_shared(
        &mut self,
        at: usize,
        rows: Rows<'_>,
        table: &mut Table,
        optimiser: (&mut dyn Optimiser, &Step),
    ) {
        let mut parts = std::mem::take(&mut self.parts);
        let part = &mut parts[at];
        part.read(self.lookup(part.column, rows), table, optimiser);
        self.parts = parts;
    }

    pub(super) fn gather_ids(&mut self, Rows { ids, batch, .. }: Rows<'_>) {
        let width = self.parts.iter().filter(|part| part.column.is_some()).count();
        let (n, of) = (batch.len(), |row: u32| &ids[row as usize * width..(row as usize + 1) * width]);
        self.ids.resize(n * width, 0);
        for (i, &row) in batch.iter().enumerate() {
            if let Some(&next) = batch.get(i + AHEAD) {
                prefetch(of(next));
            }
            of(row).iter().enumerate().for_each(|(at, &id)| self.ids[at * n + i] = id);
        }
    }
}
