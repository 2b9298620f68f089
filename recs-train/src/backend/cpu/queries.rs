//! The queries of a batch, those with equal features once.

use super::tower_tables::AHEAD;
use crate::backend::Batch;
use crate::config::TrainConfig;
use crate::data::EncodedRows;
use crate::loss::{ObjectiveConfig, Targets};
use hashbrown::{DefaultHashBuilder, HashTable};
use recs_core::kernel::prefetch;
use std::hash::{BuildHasher, Hasher};

/// Queries of a batch. Those with equal features have one embedding, and logits that differ in nothing: they are one row with
/// the targets of all. Rooms are kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Queries {
    /// False where the members of a batch differ in more than their features.
    folds: bool,
    /// Places in `rows`, by features.
    seen: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Rows of the data, one for each query.
    pub(super) rows: Vec<u32>,
    /// The query of each member of the batch.
    pub(super) members: Vec<u32>,
    /// Members of each query in `order`. `[queries + 1]`
    offsets: Vec<u32>,
    order: Vec<u32>,
    /// Column of the target of each of `order`, and its weight.
    columns: Vec<u32>,
    weights: Vec<f32>,
}

impl Queries {
    pub(super) fn new(config: &TrainConfig) -> Self {
        let (loss, dropout) = (config.loss, config.dropout.query);
        let looks_at_members = loss.mask_accidental_hits
            || loss.hard_negatives.is_some()
            || loss.objective != ObjectiveConfig::Softmax;
        let drops = dropout.hidden > 0.0 || dropout.input > 0.0;
        Self { folds: !looks_at_members && !drops, ..Self::default() }
    }

    /// Takes the queries of a batch. O(members x features).
    pub(super) fn fill(&mut self, data: &EncodedRows, batch: Batch<'_>) {
        self.rows.clear();
        self.members.clear();
        if self.folds && batch.targets.is_none() && batch.histories.is_none() {
            self.find_equal(data, batch.rows);
        } else {
            self.rows.extend(batch.rows);
            self.members.extend(0..batch.rows.len() as u32);
        }
        if batch.targets.is_none() {
            self.sort();
        }
    }

    fn find_equal(&mut self, data: &EncodedRows, batch: &[u32]) {
        let Self { seen, hasher, rows, members, .. } = self;
        let ids = cells(&data.ids, data.rows);
        let numbers = cells(bytemuck::cast_slice(&data.numbers), data.rows);
        let hash = |row: u32| {
            let mut hasher = hasher.build_hasher();
            [ids(row), numbers(row)].into_iter().for_each(|cells| hasher.write(bytemuck::cast_slice(cells)));
            hasher.finish()
        };
        seen.clear();
        seen.reserve(batch.len(), |&query| hash(rows[query as usize]));
        for (i, &row) in batch.iter().enumerate() {
            if let Some(&next) = batch.get(i + AHEAD) {
                prefetch(ids(next));
                prefetch(numbers(next));
            }
            let is_equal = |query: &u32| {
                let other = rows[*query as usize];
                ids(other) == ids(row) && numbers(other) == numbers(row)
            };
            let entry = seen.entry(hash(row), is_equal, |&query| hash(rows[query as usize]));
            let query = *entry.or_insert(rows.len() as u32).get();
            if query as usize == rows.len() {
                rows.push(row);
            }
            members.push(query);
        }
    }

    /// Orders the members by their queries.
    fn sort(&mut self) {
        let Self { rows, members, offsets, order, .. } = self;
        offsets.clear();
        offsets.resize(rows.len() + 2, 0);
        members.iter().for_each(|&query| offsets[query as usize + 2] += 1);
        (1..offsets.len()).for_each(|i| offsets[i] += offsets[i - 1]);
        order.resize(members.len(), 0);
        for (member, &query) in (0..).zip(&*members) {
            let at = &mut offsets[query as usize + 1];
            order[*at as usize] = member;
            *at += 1;
        }
        offsets.pop();
    }

    /// The targets of the queries; `columns` are those of the batch's targets.
    pub(super) fn targets<'a>(&'a mut self, batch: Batch<'a>, columns: &'a [u32]) -> Targets<'a> {
        if let Some(targets) = batch.targets {
            return Targets { columns, ..targets };
        }
        self.columns.clear();
        self.columns.extend(self.order.iter().map(|&member| columns[member as usize]));
        self.weights.resize(self.order.len(), 1.0);
        Targets { offsets: &self.offsets, columns: &self.columns, weights: &self.weights }
    }
}

/// Rows of a matrix.
fn cells<'a>(numbers: &'a [u32], rows: usize) -> impl Fn(u32) -> &'a [u32] {
    let width = numbers.len() / rows.max(1);
    move |row| &numbers[row as usize * width..(row as usize + 1) * width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{BprConfig, HardNegatives, Negatives};
    use proptest::prelude::*;
    use recs_core::model::Histories;

    /// Rows of two ids and a number.
    fn data(cells: &[[u32; 3]]) -> EncodedRows {
        EncodedRows {
            rows: cells.len(),
            ids: cells.iter().flat_map(|cell| [cell[0], cell[1]]).collect::<Vec<_>>().into(),
            numbers: cells.iter().map(|cell| cell[2] as f32).collect::<Vec<_>>().into(),
            bags: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn rows_are_one_query_if_and_only_if_their_features_are_equal(
            cells in proptest::collection::vec([0u32..3, 0u32..3, 0u32..2], 1..40),
            batches in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..60), 1..4),
        ) {
            let (data, mut queries) = (data(&cells), Queries::new(&TrainConfig::reference()));
            for batch in batches {
                let batch: Vec<u32> = batch.iter().map(|row| row % cells.len() as u32).collect();
                queries.fill(&data, Batch::rows(&batch));
                let cell = |row: u32| cells[row as usize];
                for (&row, &query) in batch.iter().zip(&queries.members) {
                    prop_assert_eq!(cell(row), cell(queries.rows[query as usize]));
                }
                let distinct: std::collections::BTreeSet<_> = queries.rows.iter().map(|&row| cell(row)).collect();
                prop_assert_eq!(distinct.len(), queries.rows.len());
                // Targets are those of the members, in their order.
                let columns: Vec<u32> = (100..100 + batch.len() as u32).collect();
                let members = queries.members.clone();
                let targets = queries.targets(Batch::rows(&batch), &columns);
                prop_assert_eq!(targets.offsets.len(), distinct.len() + 1);
                for query in 0..distinct.len() {
                    let of_query = (0..).zip(&members).filter(|(_, of)| **of == query as u32);
                    let expected: Vec<u32> = of_query.map(|(member, _): (u32, _)| 100 + member).collect();
                    let range = targets.offsets[query] as usize..targets.offsets[query + 1] as usize;
                    prop_assert_eq!(&targets.columns[range.clone()], &expected[..]);
                    prop_assert_eq!(&targets.weights[range], &vec![1.0; expected.len()][..]);
                }
            }
        }
    }

    #[test]
    fn members_stay_apart_where_more_than_features_tells_them_apart() {
        let queries = |change: &dyn Fn(&mut TrainConfig), batch: Batch<'_>| {
            let mut config = TrainConfig::reference();
            change(&mut config);
            let mut queries = Queries::new(&config);
            queries.fill(&data(&[[1, 1, 1]; 3]), batch);
            queries.rows.len()
        };
        let rows = Batch::rows(&[0, 1, 2]);
        let one: [&dyn Fn(&mut TrainConfig); 4] = [
            &|_| (),
            &|config| config.dropout.candidate.hidden = 0.5,
            &|config| config.dropout.query.history = 0.5,
            &|config| config.loss.negatives = Negatives::Full,
        ];
        assert_eq!(one.map(|change| queries(change, rows)), [1; 4]);
        let three: [&dyn Fn(&mut TrainConfig); 5] = [
            &|config| config.dropout.query.hidden = 0.5,
            &|config| config.dropout.query.input = 0.5,
            &|config| config.loss.mask_accidental_hits = true,
            &|config| config.loss.hard_negatives = Some(HardNegatives { count: 1, weight: 2.0 }),
            &|config| config.loss.objective = ObjectiveConfig::Bpr(BprConfig::default()),
        ];
        assert_eq!(three.map(|change| queries(change, rows)), [3; 5]);
        let targets = Targets { offsets: &[0, 1, 2, 3], columns: &[0, 1, 2], weights: &[1.0; 3] };
        let histories = Histories::default();
        for batch in [Batch { targets: Some(targets), ..rows }, Batch { histories: Some(&histories), ..rows }]
        {
            assert_eq!(queries(&|_| (), batch), 3);
        }
    }
}
