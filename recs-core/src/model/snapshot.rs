//! What the inputs of the query tower looked like in training, to see later whether they still do.

use super::TowerColumns;
use crate::error::{Error, Result};
use crate::metrics::stability_index;
use crate::schema::{Encoding, Role, Schema, Tower};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Values of an encoding by id that have a bin of their own.
const OWN_BINS: usize = 20;
/// Bins of an encoding of numbers, as even as the values allow.
const RANGES: usize = 10;

/// Distributions of what the query tower reads, over bins that the training rows gave.
///
/// Embeddings have a bin for values out of vocabulary, one for each of the 20 most frequent values, and one for all others; buckets
/// and normalised numbers have ten, with as equal shares as the values allow. Times, customers, crosses, histories and n-grams have
/// none: times always move on, new customers are no drift, and the others follow from the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSnapshot {
    /// Rows looked at.
    pub rows: u64,
    /// One for each encoding that has bins.
    pub inputs: Vec<InputShares>,
}

/// The distribution of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputShares {
    /// Name of the encoding.
    pub name: String,
    /// Which values share a bin.
    pub bins: InputBins,
    /// Rows in each bin.
    pub counts: Vec<u64>,
}

/// Which values share a bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputBins {
    /// Bin 0: id 0, out of vocabulary. Bin i + 1: the i-th id here. The last: all others.
    Ids(Vec<u32>),
    /// Bin i: ids below the i-th bound and not below the one before.
    IdRanges(Vec<u32>),
    /// The same of numbers.
    NumberRanges(Vec<f32>),
}

impl InputBins {
    fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len() + 2,
            Self::IdRanges(bounds) => bounds.len() + 1,
            Self::NumberRanges(bounds) => bounds.len() + 1,
        }
    }
}

/// Where an encoding's value stands in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Id(usize),
    Number(usize),
}

/// The encodings that have bins, with their places.
fn places(schema: &Schema) -> Vec<(&Encoding, Place)> {
    let (mut ids, mut numbers, mut places) = (0, 0, Vec::new());
    // Hours and days always move on; a customer who is new is one among many values, and told of by other means.
    let is_still = |encoding: &Encoding| {
        let is_still = |name: &str| {
            schema.field(name).is_ok_and(|field| !matches!(field.role, Role::Timestamp | Role::Customer))
        };
        encoding.fields().into_iter().all(is_still)
    };
    for encoding in schema.encodings(Tower::Query) {
        match encoding {
            encoding if !is_still(encoding) => {}
            Encoding::Embedding { .. } | Encoding::Buckets { .. } => places.push((encoding, Place::Id(ids))),
            Encoding::Normalised { .. } => places.push((encoding, Place::Number(numbers))),
            _ => {}
        }
        match encoding.has_id() {
            true => ids += 1,
            false if !encoding.has_table() => numbers += encoding.width(),
            false => {}
        }
    }
    places
}

impl InputSnapshot {
    /// Its name in `training_stats.json`.
    pub const KEY: &str = "inputs";

    /// That of a training; None for a model that has none.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document) for one of another shape.
    pub fn of_stats(training_stats: &serde_json::Value, file: &str) -> Result<Option<Self>> {
        let found = training_stats.get(Self::KEY).filter(|found| !found.is_null());
        let read = |found: &serde_json::Value| Self::deserialize(found);
        found.map(read).transpose().map_err(|e| Error::document(file, format!("{}: {e}", Self::KEY)))
    }

    /// Looks at encoded rows: `ids` and `numbers` as in [`TowerColumns`], of `all` rows, of which `rows` are taken.
    ///
    /// O(rows log(rows)) for each encoding.
    pub fn of(schema: &Schema, all: usize, ids: &[u32], numbers: &[f32], rows: &[u32]) -> Self {
        let (id_width, number_width) = (ids.len() / all.max(1), numbers.len() / all.max(1));
        let id = |row: &u32, at: usize| ids.get(*row as usize * id_width + at).copied();
        let number = |row: &u32, at: usize| numbers.get(*row as usize * number_width + at).copied();
        let shares = places(schema).into_iter().filter_map(|(encoding, place)| {
            let bins = match (encoding, place) {
                (Encoding::Embedding { .. }, Place::Id(at)) => {
                    InputBins::Ids(most_frequent(rows.iter().filter_map(|row| id(row, at))))
                }
                (_, Place::Id(at)) => {
                    InputBins::IdRanges(bounds(rows.iter().filter_map(|row| id(row, at)).collect()))
                }
                (_, Place::Number(at)) => {
                    InputBins::NumberRanges(bounds(rows.iter().filter_map(|row| number(row, at)).collect()))
                }
            };
            let mut shares =
                InputShares { name: encoding.name().to_owned(), counts: vec![0; bins.len()], bins };
            for row in rows {
                let bin = match place {
                    Place::Id(at) => shares.bin_of_id(id(row, at)?),
                    Place::Number(at) => shares.bin_of_number(number(row, at)?),
                };
                shares.counts[bin] += 1;
            }
            Some(shares)
        });
        Self { rows: rows.len() as u64, inputs: shares.collect() }
    }

    /// Counts of other rows over the same bins.
    pub fn counter(&self, schema: &Schema) -> InputCounter {
        let places: HashMap<&str, Place> =
            places(schema).into_iter().map(|(e, place)| (e.name(), place)).collect();
        let known = self
            .inputs
            .iter()
            .filter_map(|shares| Some((shares.clone(), *places.get(shares.name.as_str())?)));
        let known: Vec<_> = known.filter(|(shares, place)| shares.fits(*place)).collect();
        let counts = known.iter().map(|(shares, _)| vec![0.0; shares.counts.len()]).collect();
        InputCounter { known, counts, rows: 0 }
    }
}

impl InputShares {
    /// False for a snapshot that was not made by [`InputSnapshot::of`] for this encoding.
    fn fits(&self, place: Place) -> bool {
        let is_number = matches!(self.bins, InputBins::NumberRanges(_));
        self.counts.len() == self.bins.len() && is_number == matches!(place, Place::Number(_))
    }

    fn bin_of_id(&self, id: u32) -> usize {
        match &self.bins {
            InputBins::Ids(_) if id == 0 => 0,
            InputBins::Ids(ids) => ids.iter().position(|&own| own == id).unwrap_or(ids.len()) + 1,
            InputBins::IdRanges(bounds) => bounds.partition_point(|&bound| bound <= id),
            InputBins::NumberRanges(_) => 0,
        }
    }

    fn bin_of_number(&self, number: f32) -> usize {
        match &self.bins {
            InputBins::NumberRanges(bounds) => bounds.partition_point(|&bound| bound <= number),
            _ => 0,
        }
    }
}

fn most_frequent(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut counts: HashMap<u32, u64> = HashMap::new();
    ids.filter(|&id| id != 0).for_each(|id| *counts.entry(id).or_default() += 1);
    let mut counts: Vec<(u32, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
    counts.into_iter().take(OWN_BINS).map(|(id, _)| id).collect()
}

/// Bounds between bins of as equal numbers of values as possible.
fn bounds<T: PartialOrd + Copy>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let cut = |i: usize| values.get(i * values.len() / RANGES).copied();
    let mut bounds: Vec<T> = (1..RANGES).filter_map(cut).collect();
    bounds.dedup_by(|a, b| a == b);
    // Nothing is below the least value.
    if bounds.first().is_some_and(|first| values.first().is_some_and(|least| first <= least)) {
        bounds.remove(0);
    }
    bounds
}

/// Counts inputs over the bins of a snapshot. Memory: some hundred bytes an input.
#[derive(Debug, Clone)]
pub struct InputCounter {
    known: Vec<(InputShares, Place)>,
    counts: Vec<Vec<f64>>,
    rows: u64,
}

impl InputCounter {
    /// Counts encoded rows.
    pub fn push(&mut self, columns: &TowerColumns) {
        if columns.rows == 0 {
            return;
        }
        let (id_width, number_width) =
            (columns.ids.len() / columns.rows, columns.numbers.len() / columns.rows);
        for row in 0..columns.rows {
            for ((shares, place), counts) in self.known.iter().zip(&mut self.counts) {
                let bin = match *place {
                    Place::Id(at) => columns.ids.get(row * id_width + at).map(|&id| shares.bin_of_id(id)),
                    Place::Number(at) => columns
                        .numbers
                        .get(row * number_width + at)
                        .map(|&number| shares.bin_of_number(number)),
                };
                if let Some(count) = bin.and_then(|bin| counts.get_mut(bin)) {
                    *count += 1.0;
                }
            }
        }
        self.rows += columns.rows as u64;
    }

    /// Adds what another counter of the same snapshot has.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (counts, others) in self.counts.iter_mut().zip(&other.counts) {
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
    }

    /// Rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The [stability index](stability_index) of each input against training; empty while nothing was counted.
    pub fn drift(&self) -> Vec<(&str, f64)> {
        let pairs = self.known.iter().zip(&self.counts);
        let index = |((shares, _), counts): (&'_ (InputShares, Place), &Vec<f64>)| {
            let expected: Vec<f64> = shares.counts.iter().map(|&count| count as f64).collect();
            stability_index(&expected, counts)
        };
        pairs.filter_map(|pair| Some((pair.0.0.name.as_str(), index(pair)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Customer, city, revenue bucket, crosses' ids; the normalised revenue and the phases.
    fn rows(schema: &Schema, of: impl Fn(usize) -> (u32, u32, f32)) -> TowerColumns {
        let widths = schema.widths(Tower::Query);
        let rows = 4000;
        let mut columns = TowerColumns { rows, ..TowerColumns::default() };
        for row in 0..rows {
            let (city, bucket, number) = of(row);
            let (mut ids, mut numbers) = (vec![1; widths.ids], vec![0.5; widths.numbers]);
            (ids[1], ids[2], numbers[0]) = (city, bucket, number);
            columns.ids.extend(ids);
            columns.numbers.extend(numbers);
        }
        columns
    }

    fn usual(row: usize) -> (u32, u32, f32) {
        ((row % 50) as u32, (row * row % 997) as u32, (row % 101) as f32)
    }

    #[test]
    fn what_drifts_is_seen_and_nothing_else() {
        let schema = Schema::retail();
        let training = rows(&schema, usual);
        let every: Vec<u32> = (0..training.rows as u32).collect();
        let snapshot = InputSnapshot::of(&schema, training.rows, &training.ids, &training.numbers, &every);
        let names: Vec<&str> = snapshot.inputs.iter().map(|shares| shares.name.as_str()).collect();
        assert_eq!(names.len(), 3, "neither customers nor times: {names:?}");
        assert!(names.iter().all(|name| name.contains("city") || name.contains("revenue")), "{names:?}");
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<InputSnapshot>(&text).unwrap(), snapshot);
        let drift = |columns: &TowerColumns| {
            let mut counter = snapshot.counter(&schema);
            counter.push(columns);
            counter
                .drift()
                .into_iter()
                .map(|(name, index)| (name.to_owned(), index))
                .collect::<HashMap<_, _>>()
        };
        assert!(drift(&training).values().all(|index| index.abs() < 1e-12));
        let names: Vec<&str> = schema.query[..4].iter().map(Encoding::name).collect();
        assert!(names[1].contains("city") && names[2].contains("revenue"), "{names:?}");
        let moved = drift(&rows(&schema, |row| (0, usual(row).1, usual(row).2)));
        assert!(moved[names[1]] > 1.0 && moved[names[2]] < 1e-9, "{moved:?}");
        let richer = drift(&rows(&schema, |row| (usual(row).0, usual(row).1, usual(row).2 + 40.0)));
        assert!(richer[names[3]] > 0.5 && richer[names[1]] < 1e-9, "{richer:?}");
    }

    #[test]
    fn bins_are_even_where_values_allow_it() {
        assert_eq!(bounds((0..100u32).collect()), (1..10).map(|i| i * 10).collect::<Vec<_>>());
        assert_eq!(bounds(vec![7u32; 50]), [] as [u32; 0]);
        assert_eq!(bounds([vec![0u32; 90], vec![5; 10]].concat()), [5]);
        assert_eq!(bounds(Vec::<f32>::new()), [] as [f32; 0]);
    }

    #[test]
    fn a_snapshot_of_another_model_counts_nothing() {
        let mut schema = Schema::retail();
        let training = rows(&schema, usual);
        let snapshot =
            InputSnapshot::of(&schema, training.rows, &training.ids, &training.numbers, &[0, 1, 2]);
        schema.query.clear();
        let mut counter = snapshot.counter(&schema);
        counter.push(&training);
        assert!(counter.drift().is_empty());
    }
}
