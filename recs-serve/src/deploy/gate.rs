//! Whether a version is fit to serve.

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
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { min_recall: 0.95, max_median_ms: 100.0, min_products: 0.5 }
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
}

/// Fewer remembered requests than this are filled up with some of the model's own customers.
const MIN_PROBES: usize = 32;
/// Probes that the index is compared with an exact search on.
const RECALL_PROBES: usize = 16;
const RECALL_AT: usize = 100;

/// Asks `version` what its tenant asked lately (`recorded`) and what its own customers could ask, twice: the first round warms
/// it up.
///
/// Cost: 32 to 64 requests twice, and 16 exact searches; the calling thread is busy meanwhile.
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
        Ok((recall, median(ask(version, &probes)?)))
    }));
    let asked: Result<(f64, f64)> = asked.map_err(|_| unfit("it panicked over a request".into()))?;
    let (recall, median_ms) = asked.map_err(|error| unfit(format!("it failed at a request: {error}")))?;
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
    Ok(Health { probes: probes.len(), recall, median_ms, products: version.products() })
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
