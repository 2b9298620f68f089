//! Whether a version is fit to serve.

use super::probe::{Found, found};
use crate::background;
use crate::error::{Error, Result};
use crate::retriever::{Request, Retriever};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a version must fulfil before it serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Share of the true best products that its index finds.
    pub min_recall: f64,
    /// Milliseconds of work that the median of its answers may take, after a first round that nobody counts.
    pub max_median_ms: f64,
    /// Products that it must have, as a share of those of the version in production: a catalogue that broke down is an accident
    /// of the data.
    pub min_products: f64,
    /// What it must find of the purchases of its probe set (customers of its test rows, in lists of 100), as a share of what
    /// production finds of them.
    pub min_of_production: f64,
    /// The same, in times of what lists drawn by lot would find, for 1,000 products and more: a model that came out useless is
    /// an accident of its training.
    pub min_lift: f64,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            min_recall: 0.95,
            max_median_ms: 100.0,
            min_products: 0.5,
            min_of_production: 0.8,
            min_lift: 2.0,
        }
    }
}

/// What the gate found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Health {
    /// Requests asked.
    pub probes: usize,
    /// See [`GateConfig::min_recall`].
    pub recall: f64,
    /// See [`GateConfig::max_median_ms`].
    pub median_ms: f64,
    /// Products.
    pub products: usize,
    /// Share of its probe set's purchases that it finds; None for a version without one, or with fewer than 100 purchases.
    pub probe_recall: Option<f64>,
    /// What production finds of them.
    pub production_probe_recall: Option<f64>,
}

/// Fewer remembered requests than this are filled up with some of the model's own customers.
const MIN_PROBES: usize = 32;
/// Probes that the index is compared with an exact search on.
const RECALL_PROBES: usize = 16;
const RECALL_AT: usize = 100;

/// Asks `version` what its tenant asked lately (`recorded`) and what its own customers could ask, twice: the first round warms
/// it up.
///
/// Cost: 32 to 64 requests twice, 16 exact searches, and a request a customer of its probe set to it and to production (at most
/// 1,024, of a training 256); the calling thread is busy meanwhile.
///
/// # Errors
/// [`Error::Unfit`] saying what it failed at.
pub fn examine(
    version: &Retriever,
    recorded: Vec<Request>,
    production: Option<&Retriever>,
    config: &GateConfig,
) -> Result<Health> {
    let name = &version.metadata().model_version;
    let unfit = |reason: String| Error::Unfit { version: name.clone(), reason };
    let enough = |least: f64| version.products() as f64 >= least;
    match production.map(Retriever::products) {
        Some(products) if !enough(products as f64 * config.min_products) => {
            let reason = format!("it has {} products, production has {products}", version.products());
            return Err(unfit(reason));
        }
        _ if !enough(1.0) => return Err(unfit("it has no product".into())),
        _ => {}
    }
    let mut probes = recorded;
    if probes.len() < MIN_PROBES {
        probes.extend(version.example_requests(MIN_PROBES - probes.len()));
    }
    let asked = catch_unwind(AssertUnwindSafe(|| {
        let recall = version.recall(&probes[..probes.len().min(RECALL_PROBES)], RECALL_AT)?;
        ask(version, &probes)?;
        let median_ms = median(ask(version, &probes)?);
        Ok((recall, median_ms, found(version, production)?))
    }));
    let asked: Result<(f64, f64, Option<Found>)> =
        asked.map_err(|_| unfit("it panicked over a request".into()))?;
    let (recall, median_ms, found) =
        asked.map_err(|error| unfit(format!("it failed at a request: {error}")))?;
    if recall < config.min_recall {
        let reason =
            format!("its index finds {recall:.3} of the best products, {} are asked for", config.min_recall);
        return Err(unfit(reason));
    }
    if median_ms > config.max_median_ms {
        return Err(unfit(format!(
            "half of its answers take {median_ms:.1} ms or more, {} are allowed",
            config.max_median_ms
        )));
    }
    if let Some(reason) = found.and_then(|found| too_little(found, config)) {
        return Err(unfit(reason));
    }
    Ok(Health {
        probes: probes.len(),
        recall,
        median_ms,
        products: version.products(),
        probe_recall: found.map(|found| found.recall),
        production_probe_recall: found.and_then(|found| found.production),
    })
}

/// Why a version that finds so much of its probe set is not to serve.
fn too_little(found: Found, config: &GateConfig) -> Option<String> {
    let Found { recall, production, by_lot } = found;
    let finds = format!("it finds {recall:.4} of what the customers of its probe set bought");
    if let Some(production) = production.filter(|there| recall < there * config.min_of_production) {
        let share = config.min_of_production;
        return Some(format!(
            "{finds}, production {production:.4}; min_of_production = {share} of that is asked for"
        ));
    }
    let by_lot = by_lot.filter(|by_lot| recall < by_lot * config.min_lift)?;
    Some(format!(
        "{finds}, lists drawn by lot {by_lot:.4}; min_lift = {} times that is asked for",
        config.min_lift
    ))
}

/// Milliseconds of each answer.
fn ask(version: &Retriever, probes: &[Request]) -> Result<Vec<f64>> {
    let mut took = Vec::with_capacity(probes.len());
    for probe in probes {
        let before = background::worked();
        let answer = version.recommend(probe)?;
        took.push((background::worked() - before).as_secs_f64() * 1e3);
        if let Some(item) = answer.items.iter().find(|item| !item.score.is_finite()) {
            return Err(Error::model(format!("product {:?} has the score {}", item.product_id, item.score)));
        }
        if answer.items.is_empty() && answer.shortfall.is_none() {
            return Err(Error::model("a list is empty without a reason"));
        }
    }
    Ok(took)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
