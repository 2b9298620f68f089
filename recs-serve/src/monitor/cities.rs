//! Where customers are, beside where they were in training: for models that do not read it themselves.

use crate::retriever::{Request, Retriever};
use recs_core::metrics::stability_index;
use std::collections::HashMap;
use std::sync::Arc;

/// Cities that have a bin of their own.
const OWN_BINS: usize = 20;

/// Shares of the purchases in the training rows, by the city where each customer bought most: a bin for each of the 20 largest, and
/// one for all others.
#[derive(Debug)]
struct Usual {
    bins: HashMap<String, usize>,
    counts: Vec<f64>,
}

/// Counts requests by city.
#[derive(Debug, Clone)]
pub(super) struct Cities {
    usual: Arc<Usual>,
    counts: Vec<f64>,
}

impl Cities {
    /// Nothing counted yet; None for a model that reads cities, whose snapshot knows more, or that has no customers.
    ///
    /// Cost: one pass over the customers' purchases.
    pub(super) fn of(retriever: &Retriever) -> Option<Self> {
        if retriever.reads_city() || retriever.customers() == 0 {
            return None;
        }
        let mut rows: HashMap<&str, f64> = HashMap::new();
        for (city, purchases) in retriever.purchases_by_city() {
            *rows.entry(city).or_default() += purchases as f64;
        }
        let mut rows: Vec<(&str, f64)> = rows.into_iter().collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        let mut counts: Vec<f64> = rows.iter().take(OWN_BINS).map(|(_, count)| *count).collect();
        counts.push(rows.iter().skip(OWN_BINS).map(|(_, count)| count).sum());
        let bins = rows.iter().take(OWN_BINS).enumerate().map(|(bin, (city, _))| ((*city).to_owned(), bin));
        let usual = Arc::new(Usual { bins: bins.collect(), counts });
        Some(Self { counts: vec![0.0; usual.counts.len()], usual })
    }

    /// The same without what was counted.
    pub(super) fn anew(&self) -> Self {
        Self { usual: Arc::clone(&self.usual), counts: vec![0.0; self.counts.len()] }
    }

    /// A request without a city is where the customer is at home.
    pub(super) fn push(&mut self, retriever: &Retriever, request: &Request) {
        let city = request.city.as_deref().or_else(|| retriever.home(&request.customer_id));
        let others = self.counts.len() - 1;
        if let Some(city) = city {
            self.counts[self.usual.bins.get(city).copied().unwrap_or(others)] += 1.0;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
    }

    /// The stability index against the training rows; None while nothing was counted.
    pub(super) fn drift(&self) -> Option<f64> {
        stability_index(&self.usual.counts, &self.counts)
    }
}
