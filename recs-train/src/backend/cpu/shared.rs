//! Tables that several encodings read, of one tower or of both: read once before the towers, and their gradients added.

use super::distinct::Distinct;
use super::part::Sharing;
use super::tower_step::{Rows, TowerStep};
use super::update::Update;
use crate::matrix::Matrix;
use recs_core::kernel::add;
use recs_core::model::{ModelConfig, Weights};
use recs_core::schema::{TablePlace, Tower};
use std::sync::Arc;

/// The shared tables of a model.
#[derive(Debug, Default)]
pub(super) struct SharedTables {
    tables: Vec<SharedTable>,
}

#[derive(Debug)]
struct SharedTable {
    owner: TablePlace,
    /// The owner, then the others.
    readers: Vec<TablePlace>,
}

/// The gradients of all readers of a table, added.
#[derive(Debug, Clone, Default)]
pub(super) struct Summed {
    pub(super) distinct: Distinct,
    /// `[distinct, dim]`
    pub(super) values: Matrix,
    pub(super) unsummed_squares: f64,
}

/// Both towers.
#[derive(Debug)]
pub(super) struct Towers<'a> {
    pub(super) query: &'a mut TowerStep,
    pub(super) candidate: &'a mut TowerStep,
}

impl Towers<'_> {
    fn of(&mut self, tower: Tower) -> &mut TowerStep {
        match tower {
            Tower::Query => self.query,
            Tower::Candidate => self.candidate,
        }
    }
}

impl SharedTables {
    /// Finds them, and tells the parts of the towers.
    pub(super) fn new(model: &ModelConfig, mut towers: Towers<'_>) -> Self {
        let mut tables: Vec<SharedTable> = Vec::new();
        for tower in [Tower::Query, Tower::Candidate] {
            for (table, owner) in model.schema.table_places(tower).into_iter().enumerate() {
                let reader = TablePlace { tower, table };
                match tables.iter_mut().find(|shared| shared.owner == owner) {
                    Some(shared) => shared.readers.push(reader),
                    None => tables.push(SharedTable { owner, readers: vec![reader] }),
                }
            }
        }
        tables.retain(|shared| shared.readers.len() > 1);
        for SharedTable { owner, readers } in &tables {
            let rows = towers.of(owner.tower).parts[owner.table].table_rows();
            for reader in &readers[1..] {
                towers.of(reader.tower).parts[reader.table].sharing = Sharing::Borrows;
            }
            let summed = Summed { distinct: Distinct::new(rows), ..Summed::default() };
            towers.of(owner.tower).parts[owner.table].sharing = Sharing::Lends(Box::new(summed));
        }
        Self { tables }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Reads what the batch wants of each.
    pub(super) fn read(
        &self,
        mut towers: Towers<'_>,
        weights: &mut Weights,
        update: &mut Update,
        [queries, candidates]: [Rows<'_>; 2],
    ) {
        towers.query.gather_ids(queries);
        towers.candidate.gather_ids(candidates);
        for SharedTable { owner, readers } in &self.tables {
            let (weights, states) = match owner.tower {
                Tower::Query => (&mut weights.query, &mut update.query.embeddings),
                Tower::Candidate => (&mut weights.candidate, &mut update.candidate.embeddings),
            };
            let table = &mut Arc::make_mut(weights).embeddings[owner.table];
            let state = &mut states[owner.table];
            for reader in readers {
                let rows = if reader.tower == Tower::Query { queries } else { candidates };
                towers.of(reader.tower).read_shared(
                    reader.table,
                    rows,
                    table,
                    (state.as_mut(), &update.embeddings),
                );
            }
        }
    }

    /// Adds the gradients of the readers of each, in their order.
    pub(super) fn sum(&self, mut towers: Towers<'_>) {
        for SharedTable { owner, readers } in &self.tables {
            let sharing = &mut towers.of(owner.tower).parts[owner.table].sharing;
            let Sharing::Lends(mut summed) = std::mem::take(sharing) else { continue };
            summed.distinct.fill(std::iter::empty());
            summed.unsummed_squares = 0.0;
            for reader in readers {
                summed.add(towers.of(reader.tower).parts[reader.table].read_gradient());
            }
            towers.of(owner.tower).parts[owner.table].sharing = Sharing::Lends(summed);
        }
    }
}

impl Summed {
    fn add(&mut self, gradient: TableGradient<'_>) {
        let (from, known) = (self.distinct.slots.len(), self.distinct.ids.len());
        self.distinct.extend(gradient.ids.iter().copied());
        let dim = gradient.values.len() / gradient.ids.len().max(1);
        self.values.reshape(self.distinct.ids.len(), dim.max(self.values.cols()));
        for (&slot, values) in
            self.distinct.slots[from..].iter().zip(gradient.values.chunks_exact(dim.max(1)))
        {
            let sum = self.values.row_mut(slot as usize);
            // A reader has each row once.
            if slot as usize >= known { sum.copy_from_slice(values) } else { add(sum, values) }
        }
        self.unsummed_squares += gradient.unsummed_squares;
    }
}

/// Gradient of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableGradient<'a> {
    /// Rows, each once.
    pub(super) ids: &'a [u32],
    /// `[ids, dim]`
    pub(super) values: &'a [f32],
    /// Sum of squares of the batch's single gradients; 0 when nobody asked.
    pub(super) unsummed_squares: f64,
}
