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

    /// Appends what a customer bought before: everything but what was bought on `except`, the query's own day.
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
