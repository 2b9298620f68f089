//! N-grams in a step: a value's rows are averaged once, however many rows of the batch have it, and the other way round.

use super::distinct::Distinct;
use crate::matrix::Matrix;
use pulp::Arch;
use recs_core::kernel::add_scaled;
use recs_core::model::Bags;
use std::sync::Arc;

/// The lists that ids of a table's column stand for, and what a batch has of them.
#[derive(Debug, Clone)]
pub(super) struct Grams {
    pub(super) bags: Arc<Bags>,
    /// Rows of the table; the slots are those of the values' lists, end to end.
    pub(super) distinct: Distinct,
    /// `[distinct, dim]`
    pub(super) gradient: Matrix,
}

impl Grams {
    pub(super) fn new(bags: Arc<Bags>, table_rows: usize) -> Self {
        Self { bags, distinct: Distinct::new(table_rows), gradient: Matrix::default() }
    }

    /// Takes the rows of some values.
    pub(super) fn fill(&mut self, values: &[u32]) {
        let bags = &self.bags;
        self.distinct.fill(std::iter::empty());
        values.iter().for_each(|&value| self.distinct.extend(bags.list(value as usize).iter().copied()));
    }

    /// Means of the values' rows of a table. `[values, dim]`
    pub(super) fn pool(&self, values: &[u32], table: &[f32], into: &mut Matrix) {
        let dim = into.cols();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, &value) in values.iter().enumerate() {
                    let (list, mean) = (self.bags.list(value as usize), into.row_mut(i));
                    mean.fill(0.0);
                    let weight = 1.0 / list.len().max(1) as f32;
                    for &row in list {
                        add_scaled(mean, weight, &table[row as usize * dim..(row as usize + 1) * dim]);
                    }
                }
            },
        );
    }

    /// Gradient of the table from that of the values' means. `[values, dim]`
    pub(super) fn spread(&mut self, values: &[u32], gradient: &Matrix) {
        let Self { bags, distinct, gradient: sums } = self;
        sums.reshape(distinct.ids.len(), gradient.cols());
        sums.as_mut_slice().fill(0.0);
        let mut slots = distinct.slots.iter();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, &value) in values.iter().enumerate() {
                    let rows = bags.list(value as usize).len();
                    let weight = 1.0 / rows.max(1) as f32;
                    for &slot in slots.by_ref().take(rows) {
                        add_scaled(sums.row_mut(slot as usize), weight, gradient.row(i));
                    }
                }
            },
        );
    }
}
