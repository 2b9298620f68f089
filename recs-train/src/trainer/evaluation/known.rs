//! What customers are known to have bought when the rows to be judged were not.

use super::fallback::{Counts, Fallback};
use super::served::Served;
use crate::data::{Purchases, TrainData, day};
use crate::trainer::repeat::RepeatTerm;
use recs_core::model::Histories;
use std::sync::Arc;

/// Products with what is added to their scores, ascending.
pub(super) type Entries = Vec<(u32, f32)>;

/// Known purchases, and the repeat term over them. For a row those of its own customer and day never count.
#[derive(Debug)]
pub(in crate::trainer) enum Known<'a> {
    /// Rows of the data.
    Rows { purchases: Arc<Purchases>, repeat: Option<RepeatTerm> },
    /// What a published model holds.
    Served(Served<'a>),
}

impl Known<'_> {
    /// What the customer of each row bought before.
    pub(super) fn histories(&self, data: &TrainData, rows: &[u32]) -> Histories {
        match self {
            Self::Rows { purchases, .. } => purchases.histories(data, rows),
            Self::Served(served) => served.histories(data, rows),
        }
    }

    /// Products that the customer of a row bought, with their numbers of rows, ascending.
    pub(super) fn bought(&self, data: &TrainData, row: u32) -> Vec<(u32, u32)> {
        match self {
            Self::Rows { purchases, .. } => {
                let at = |row: u32| day(data.timestamp[row as usize]);
                let rows = purchases.of(data.customer[row as usize]).iter().copied();
                Purchases::counted(data, rows.filter(|&other| at(other) != at(row)))
            }
            Self::Served(served) => served.purchases(data, row),
        }
    }

    /// What serving gives to those of whom nothing is known.
    pub(super) fn fallback(&self, data: &TrainData) -> Fallback {
        match self {
            Self::Rows { purchases, .. } => {
                let bought = |customer| Purchases::counted(data, purchases.of(customer).iter().copied());
                let customers = || 0..purchases.customers();
                let mut counts = vec![0; data.catalogue.len()];
                for (product, rows) in customers().flat_map(bought) {
                    counts[product as usize] += u64::from(rows);
                }
                Fallback::new(counts, customers().map(|c| (purchases.home(data, c), bought(c))))
            }
            Self::Served(served) => served.fallback(),
        }
    }

    /// City and purchases of a row's customer, the own day's among them; products ascending.
    pub(super) fn home(&self, data: &TrainData, row: u32) -> (u32, Counts) {
        let customer = data.customer[row as usize];
        match self {
            Self::Rows { purchases, .. } => {
                let bought = Purchases::counted(data, purchases.of(customer).iter().copied());
                (purchases.home(data, customer), bought)
            }
            Self::Served(served) => served.home(customer),
        }
    }

    pub(super) fn has_repeats(&self) -> bool {
        match self {
            Self::Rows { repeat, .. } => repeat.is_some(),
            Self::Served(served) => served.has_repeats(),
        }
    }

    /// What the repeat term adds for a row; `score` gives the towers' score of a product.
    pub(super) fn repeats(&self, data: &TrainData, row: u32, score: impl Fn(u32) -> f32) -> Entries {
        match self {
            Self::Rows { repeat: None, .. } => Entries::new(),
            Self::Rows { repeat: Some(term), .. } => {
                let (customer, own) = (data.customer[row as usize], day(data.timestamp[row as usize]));
                term.entries(data, customer, Some(own), score)
            }
            Self::Served(served) => served.repeats(data, row),
        }
    }
}
