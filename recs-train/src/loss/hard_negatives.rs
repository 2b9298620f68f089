//! Hard negatives: a row's highest negatives count for more.
//!
//! The `count` columns that a row scores highest, its targets and their products apart, enter its sum as if the step had
//! each of them `weight` times: log(weight) is added to their logits. Huang et al. 2020, *Embedding-based Retrieval in
//! Facebook Search* (<https://arxiv.org/abs/2006.11632>), take the highest of a batch as its hard negatives, and find at
//! most two a row best; weighting them up rather than leaving the others out is the importance weighting of Robinson et
//! al. 2021 (<https://arxiv.org/abs/2010.04592>) with two levels. Which columns are chosen is a constant of the gradient.

use super::accidental_hits::others;
use super::{Columns, Targets};
use crate::error::{Error, Result};
use crate::range::within;
use serde::{Deserialize, Serialize};

/// How many, and how much more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HardNegatives {
    /// Columns a row.
    pub count: usize,
    /// What each counts for.
    pub weight: f32,
}

impl Default for HardNegatives {
    fn default() -> Self {
        Self { count: 2, weight: 4.0 }
    }
}

impl HardNegatives {
    pub(super) fn validate(&self) -> Result<()> {
        within("train.loss.hard_negatives.count", self.count, 1..=1024)?;
        if self.weight > 1.0 && self.weight <= 1e6 {
            return Ok(());
        }
        let reason = format!("is {}, must be above 1 and at most 1,000,000", self.weight);
        Err(Error::config("train.loss.hard_negatives.weight", reason))
    }
}

/// Finds and raises them, with room for one row.
#[derive(Debug, Clone, Default)]
pub(super) struct Raise {
    /// The highest so far, the lowest of them first.
    highest: Vec<(f32, usize)>,
    kept: Vec<(usize, f32)>,
}

impl Raise {
    /// Raises the logits of row `row`'s hardest negatives. O(columns + count x replacements).
    pub(super) fn raise(
        &mut self,
        logits: &mut [f32],
        config: HardNegatives,
        (targets, row): (Targets<'_>, usize),
        columns: Columns<'_>,
    ) {
        self.kept.clear();
        for &own in targets.row(row).0 {
            let own = own as usize;
            for at in others(own, columns).chain([own]) {
                self.kept.push((at, logits[at]));
                logits[at] = f32::NEG_INFINITY;
            }
        }
        self.highest.clear();
        let mut lowest = f32::NEG_INFINITY;
        for (at, &logit) in logits.iter().enumerate() {
            if logit > lowest {
                if self.highest.len() == config.count {
                    self.highest.remove(0);
                }
                let place = self.highest.partition_point(|(other, _)| *other < logit);
                self.highest.insert(place, (logit, at));
                if self.highest.len() == config.count {
                    lowest = self.highest[0].0;
                }
            }
        }
        let more = config.weight.ln();
        self.highest.iter().for_each(|&(_, at)| logits[at] += more);
        // Backwards: a column that was kept twice was itself the first time.
        self.kept.iter().rev().for_each(|&(at, logit)| logits[at] = logit);
    }
}
