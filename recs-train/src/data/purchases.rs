//! Who bought what when: the rows of each customer.

use super::columns::{NO_PRODUCT, TrainData};
use recs_core::model::Histories;

pub(crate) const DAY_SECONDS: i64 = 86_400;

/// Day of a time, days since 1970-01-01.
pub(crate) fn day(timestamp: i64) -> i64 {
    timestamp.div_euclid(DAY_SECONDS)
}

/// Rows by customer, and of each customer by time. Memory: 4 bytes a row and a customer.
#[derive(Debug, Clone, Default)]
pub struct Purchases {
    /// Rows of vocabulary id i are `rows[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Purchases {
    /// Of some rows; those of unknown customers and products are left out.
    pub fn new(data: &TrainData, rows: &[u32]) -> Self {
        let customer = |row: u32| data.customer[row as usize] as usize;
        let counts = |row: u32| customer(row) != 0 && data.product[row as usize] != NO_PRODUCT;
        let kept = || rows.iter().copied().filter(|&row| counts(row));
        let highest = kept().map(customer).max().unwrap_or(0);
        let mut starts = vec![0u32; highest + 2];
        kept().for_each(|row| starts[customer(row) + 1] += 1);
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let (mut next, mut sorted) = (starts.clone(), vec![0u32; starts[highest + 1] as usize]);
        for row in kept() {
            let at = &mut next[customer(row)];
            sorted[*at as usize] = row;
            *at += 1;
        }
        for range in starts.windows(2) {
            let of_customer = &mut sorted[range[0] as usize..range[1] as usize];
            of_customer.sort_unstable_by_key(|&row| (data.timestamp[row as usize], row));
        }
        Self { starts, rows: sorted }
    }

    /// Vocabulary ids of customers are below this.
    pub fn customers(&self) -> u32 {
        self.starts.len().saturating_sub(1) as u32
    }

    /// Rows of a customer, by time.
    pub fn of(&self, customer: u32) -> &[u32] {
        match (self.starts.get(customer as usize), self.starts.get(customer as usize + 1)) {
            (Some(&from), Some(&to)) => &self.rows[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Vocabulary id of the city in which a customer bought most often, of equally frequent ones the first; 0 without rows.
    pub(crate) fn home(&self, data: &TrainData, customer: u32) -> u32 {
        let cities = counted(self.of(customer).iter().map(|&row| data.city[row as usize]).collect());
        let most = cities.into_iter().max_by_key(|(city, n)| (*n, std::cmp::Reverse(*city)));
        most.map_or(0, |(city, _)| city)
    }

    /// Products of some rows, as positions in the catalogue, each once, ascending, with their numbers of rows.
    pub fn counted(data: &TrainData, rows: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
        counted(rows.map(|row| data.product[row as usize]).collect())
    }

    /// Appends what a customer bought: all but what was bought on `except`, the query's own day.
    pub fn push_history(&self, data: &TrainData, customer: u32, except: Option<i64>, into: &mut Histories) {
        let kept = |row: &u32| except != Some(day(data.timestamp[*row as usize]));
        push(data, self.of(customer).iter().copied().filter(kept), into);
    }

    /// The histories of rows: each without its own day.
    pub fn histories(&self, data: &TrainData, rows: &[u32]) -> Histories {
        let mut histories = Histories::default();
        for &row in rows {
            let (customer, own) = (data.customer[row as usize], day(data.timestamp[row as usize]));
            self.push_history(data, customer, Some(own), &mut histories);
        }
        histories
    }
}

/// Appends a history of rows.
pub(super) fn push(data: &TrainData, rows: impl Iterator<Item = u32>, into: &mut Histories) {
    let products = Purchases::counted(data, rows);
    into.push(products.into_iter().map(|(product, n)| (data.catalogue.ids[product as usize], n as f32)));
}

/// Each value once, ascending, with its count.
pub(crate) fn counted(mut values: Vec<u32>) -> Vec<(u32, u32)> {
    values.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match counts.last_mut() {
            Some((last, n)) if *last == value => *n += 1,
            _ => counts.push((value, 1)),
        }
    }
    counts
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{Catalogue, EncodedRows, EncodedWith};
    use proptest::prelude::*;
    use recs_core::model::TowerColumns;
    use std::collections::BTreeMap;

    /// Known customers have the vocabulary ids from 1 to this.
    const CUSTOMERS: u32 = 4;
    const PRODUCTS: u32 = 6;

    /// One purchase; the customer as vocabulary id (0 unknown), the product as place of the catalogue.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::data) struct Row {
        pub(in crate::data) customer: u32,
        pub(in crate::data) product: u32,
        pub(in crate::data) day: i64,
        /// Of the day.
        pub(in crate::data) second: i64,
        /// Whether it is among the rows that purchases are made of.
        pub(in crate::data) is_known: bool,
    }

    /// Few days and products, so that one is bought on several days and a day has several rows.
    pub(in crate::data) fn rows() -> impl Strategy<Value = Vec<Row>> {
        let product = prop_oneof![9 => 0..PRODUCTS, 1 => Just(NO_PRODUCT)];
        // The first and the last second of a day, on both sides of 1970, are of that day.
        let second = prop_oneof![Just(0i64), Just(86_399i64), 0i64..86_400];
        let row = (0..=CUSTOMERS, product, -2i64..4, second, proptest::bool::weighted(0.8));
        let row = row.prop_map(|(customer, product, day, second, is_known)| Row {
            customer,
            product,
            day,
            second,
            is_known,
        });
        proptest::collection::vec(row, 0..60)
    }

    /// Vocabulary id of a product: not its place.
    pub(in crate::data) fn id(product: u32) -> u32 {
        10 * product + 3
    }

    pub(in crate::data) fn data(rows: &[Row]) -> TrainData {
        let of = |value: fn(&Row) -> u32| rows.iter().map(value).collect::<Vec<u32>>();
        let timestamp: Vec<i64> = rows.iter().map(|row| row.day * 86_400 + row.second).collect();
        TrainData {
            query: EncodedRows::default(),
            candidates: TowerColumns::default(),
            candidate: of(|_| 0).into(),
            product: of(|row| row.product).into(),
            customer: of(|row| row.customer).into(),
            city: of(|_| 0).into(),
            timestamp: timestamp.into(),
            catalogue: Catalogue { ids: (0..PRODUCTS).map(id).collect(), ..Catalogue::default() },
            encoded_with: EncodedWith::default(),
        }
    }

    pub(in crate::data) fn purchases(data: &TrainData, rows: &[Row]) -> Purchases {
        let known: Vec<u32> = (0..rows.len() as u32).filter(|&row| rows[row as usize].is_known).collect();
        Purchases::new(data, &known)
    }

    /// The definition of a customer's purchases: known rows of a known customer and a known product, by time.
    pub(in crate::data) fn bought(rows: &[Row], customer: u32) -> Vec<u32> {
        let counts = |row: &Row| row.is_known && row.product != NO_PRODUCT && row.customer == customer;
        let all = 0..rows.len() as u32;
        let mut all: Vec<u32> = all.filter(|&row| customer != 0 && counts(&rows[row as usize])).collect();
        all.sort_by_key(|&row| (rows[row as usize].day, rows[row as usize].second));
        all
    }

    /// The definition of a history of some rows: ids of products with log(1 + rows), scaled to length 1.
    pub(in crate::data) fn history(rows: &[Row], of: impl Iterator<Item = u32>) -> BTreeMap<u32, f64> {
        let mut weights: BTreeMap<u32, f64> = BTreeMap::new();
        of.for_each(|row| *weights.entry(id(rows[row as usize].product)).or_default() += 1.0);
        weights.values_mut().for_each(|n| *n = (1.0 + *n).ln());
        let length = weights.values().map(|w| w * w).sum::<f64>().sqrt();
        weights.values_mut().for_each(|w| *w /= length);
        weights
    }

    pub(in crate::data) fn is_history(got: (&[u32], &[f32]), expected: &BTreeMap<u32, f64>) -> bool {
        let near = |(got, expected): (&f32, &f64)| (f64::from(*got) - expected).abs() < 1e-5;
        got.0.iter().eq(expected.keys()) && got.1.iter().zip(expected.values()).all(near)
    }

    proptest! {
        #[test]
        fn known_rows_of_a_customer_stand_by_time_and_are_counted_by_product(rows in rows()) {
            let data = data(&rows);
            let purchases = purchases(&data, &rows);
            for customer in 0..CUSTOMERS + 2 {
                let bought = bought(&rows, customer);
                prop_assert_eq!(purchases.of(customer), &bought[..]);
                let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
                bought.iter().for_each(|&row| *counts.entry(rows[row as usize].product).or_default() += 1);
                let counts: Vec<(u32, u32)> = counts.into_iter().collect();
                prop_assert_eq!(Purchases::counted(&data, bought.into_iter()), counts);
            }
        }

        /// Of rows to be judged, too, which are not known.
        #[test]
        fn the_history_of_a_row_is_all_but_what_its_customer_bought_on_its_day(rows in rows()) {
            let data = data(&rows);
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            let histories = purchases(&data, &rows).histories(&data, &all);
            prop_assert_eq!(histories.rows(), rows.len());
            for (at, row) in rows.iter().enumerate() {
                let others = bought(&rows, row.customer).into_iter();
                let expected = history(&rows, others.filter(|&other| rows[other as usize].day != row.day));
                let got = histories.row(at);
                prop_assert!(is_history(got, &expected), "{row:?}: {got:?} beside {expected:?}");
            }
        }

        /// Each is appended to those before it, also an empty one.
        #[test]
        fn a_history_leaves_out_the_day_it_is_told_to_and_without_one_nothing(
            rows in rows(),
            except in proptest::option::of(-3i64..5),
        ) {
            let data = data(&rows);
            let (purchases, mut histories) = (purchases(&data, &rows), Histories::default());
            for customer in 0..CUSTOMERS + 2 {
                purchases.push_history(&data, customer, except, &mut histories);
                prop_assert_eq!(histories.rows(), customer as usize + 1);
            }
            for customer in 0..CUSTOMERS + 2 {
                let others = bought(&rows, customer).into_iter();
                let kept = others.filter(|&row| Some(rows[row as usize].day) != except);
                let (got, expected) = (histories.row(customer as usize), history(&rows, kept));
                prop_assert!(is_history(got, &expected), "{customer}: {got:?} beside {expected:?}");
            }
        }
    }
}
