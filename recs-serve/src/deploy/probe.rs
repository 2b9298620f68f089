//! Whether a version names what customers went on to buy.

use crate::error::Result;
use crate::retriever::{DEFAULT_K, Request, Retriever};
use recs_core::artifact::{MAX_PROBES, Probe};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Purchases that say nothing: so few come out by luck.
const MIN_PURCHASES: usize = 100;
/// In a catalogue of fewer times the products of a list, lists drawn by lot are right too often to be compared with.
const MIN_CATALOGUE: usize = 10;

/// Of a version's probe set, the share of purchases whose product was in the customer's list. Counted are products that both
/// versions have: another range of products is no fault of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Of the version's lists.
    pub(super) recall: f64,
    /// Of production's, for the same requests.
    pub(super) production: Option<f64>,
    /// What lists drawn by lot would find; None where that is much.
    pub(super) by_lot: Option<f64>,
}

/// Asks a version, and production, for each customer of the version's probe set. None for too few purchases.
///
/// Cost: a request a customer and version; the calling thread is busy meanwhile.
///
/// # Errors
/// Those of [`Retriever::recommend`]; production's failures count as finding nothing.
pub(super) fn found(version: &Retriever, production: Option<&Retriever>) -> Result<Option<Found>> {
    let has = |product: &str| {
        version.number(product).is_some() && production.is_none_or(|p| p.number(product).is_some())
    };
    let (mut purchases, mut here, mut there) = (0, 0, 0);
    for probe in version.probe().iter().take(MAX_PROBES) {
        let bought: HashSet<&str> = probe.product_ids.iter().map(String::as_str).filter(|p| has(p)).collect();
        if bought.is_empty() {
            continue;
        }
        let request = request(probe);
        purchases += bought.len();
        here += named(version, &request, &bought)?;
        let answered = production.map(|p| catch_unwind(AssertUnwindSafe(|| named(p, &request, &bought))));
        there += answered.and_then(|answered| answered.ok()?.ok()).unwrap_or(0);
    }
    if purchases < MIN_PURCHASES {
        return Ok(None);
    }
    let share = |found: usize| found as f64 / purchases as f64;
    let products = version.products();
    Ok(Some(Found {
        recall: share(here),
        production: production.map(|_| share(there)),
        by_lot: (products >= MIN_CATALOGUE * DEFAULT_K).then(|| DEFAULT_K as f64 / products as f64),
    }))
}

fn request(probe: &Probe) -> Request {
    Request {
        customer_id: probe.customer_id.clone(),
        city: Some(probe.city.clone()).filter(|city| !city.is_empty()),
        timestamp: Some(probe.timestamp),
        k: DEFAULT_K,
        ..Request::default()
    }
}

fn named(version: &Retriever, request: &Request, bought: &HashSet<&str>) -> Result<usize> {
    let answer = version.recommend(request)?;
    Ok(answer.items.iter().filter(|item| bought.contains(item.product_id)).count())
}
