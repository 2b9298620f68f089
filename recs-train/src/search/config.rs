//! What is searched, and how.

use super::distribution::Distribution;
use super::space::Settings;
use recs_core::metrics::RankSums;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A search over settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// What each setting is drawn from, by its path in [`TrainConfig`](crate::TrainConfig): `learning_rate`,
    /// `loss.temperature`, `optimiser.embeddings.weight_decay`. All others are those of the search's own settings.
    #[serde(default)]
    pub space: BTreeMap<String, Distribution>,
    /// How trials get their epochs.
    #[serde(default)]
    pub algorithm: SearchAlgorithm,
    /// Seed of what is drawn; the trainings have their own.
    #[serde(default = "seed")]
    pub seed: u64,
    /// What trials are compared by.
    #[serde(default)]
    pub metric: SearchMetric,
    /// Weeks of validation rows before the test that each trial is judged by, a training for each; their mean counts. One
    /// week misleads more than three, and costs a third. A random split has one fold.
    #[serde(default = "folds")]
    pub folds: usize,
}

fn seed() -> u64 {
    7
}

fn folds() -> usize {
    1
}

impl SearchConfig {
    /// A random search over `space` with the defaults.
    pub fn new(space: impl IntoIterator<Item = (String, Distribution)>) -> Self {
        let space = space.into_iter().collect();
        let (algorithm, metric) = (SearchAlgorithm::default(), SearchMetric::default());
        Self { space, algorithm, seed: seed(), metric, folds: folds() }
    }
}

/// How trials get their epochs. Trial 0 is always the settings with nothing changed, and counts as one of the trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SearchAlgorithm {
    /// All the same: random search (Bergstra and Bengio 2012, <https://jmlr.org/papers/v13/bergstra12a.html>). `epochs` may be
    /// part of the space.
    Random {
        /// Trials.
        trials: u64,
    },
    /// The best get more: successive halving (Jamieson and Talwalkar 2016, <https://arxiv.org/abs/1502.07943>), the inner loop
    /// of Hyperband (Li et al. 2018, <https://arxiv.org/abs/1603.06560>). The last rung has the epochs of the settings, each
    /// rung before it 1/eta of the next one's; of each rung's trials the best 1/eta go on. A rung trains anew, with a whole
    /// schedule over its own epochs, so its trials are compared when their training is finished.
    Halving {
        /// Trials of the first rung.
        trials: u64,
        /// One in how many goes on to the next rung, which has this times the epochs.
        #[serde(default = "eta")]
        eta: usize,
        /// Epochs of the first rung at least.
        #[serde(default = "shortest")]
        shortest: usize,
    },
    /// Those that are listed, and nothing is drawn: to compare a few ideas, or to see what each part of a setting gives. The
    /// space stays empty.
    Listed {
        /// The settings of trials 1, 2 …; `false` for a setting that is to be off.
        trials: Vec<Settings>,
    },
}

fn eta() -> usize {
    3
}

fn shortest() -> usize {
    3
}

impl Default for SearchAlgorithm {
    fn default() -> Self {
        Self::Random { trials: 20 }
    }
}

/// What trials are compared by: more is better. Of what is served, nothing removed from the lists; a row is one purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub enum SearchMetric {
    /// Recall@10.
    #[serde(rename = "recall_at_10")]
    RecallAt10,
    /// Recall@100.
    #[default]
    #[serde(rename = "recall_at_100")]
    RecallAt100,
    /// NDCG@10.
    #[serde(rename = "ndcg_at_10")]
    NdcgAt10,
    /// NDCG@100.
    #[serde(rename = "ndcg_at_100")]
    NdcgAt100,
    /// Mean reciprocal rank over the catalogue.
    #[serde(rename = "mrr")]
    Mrr,
}

impl SearchMetric {
    /// Name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecallAt10 => "recall_at_10",
            Self::RecallAt100 => "recall_at_100",
            Self::NdcgAt10 => "ndcg_at_10",
            Self::NdcgAt100 => "ndcg_at_100",
            Self::Mrr => "mrr",
        }
    }

    /// Of some rows; 0 for none.
    pub(super) fn of(self, sums: &RankSums) -> f64 {
        let value = match self {
            Self::RecallAt10 => sums.recall_at(10),
            Self::RecallAt100 => sums.recall_at(100),
            Self::NdcgAt10 => sums.ndcg_at(10),
            Self::NdcgAt100 => sums.ndcg_at(100),
            Self::Mrr => sums.mrr(),
        };
        value.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_says_what_differs() {
        let text = json!({
            "space": {"learning_rate": {"kind": "log_uniform", "low": 1e-3, "high": 0.1}},
            "algorithm": {"kind": "halving", "trials": 9},
        });
        let config: SearchConfig = serde_json::from_value(text).unwrap();
        assert_eq!(config.algorithm, SearchAlgorithm::Halving { trials: 9, eta: 3, shortest: 3 });
        assert_eq!((config.seed, config.folds, config.metric.name()), (7, 1, "recall_at_100"));
        let text = json!({"space": {}, "algorithm": {"kind": "random", "trials": 9, "eta": 3}});
        assert!(serde_json::from_value::<SearchConfig>(text).is_err());
    }

    #[test]
    fn metrics_have_the_names_of_their_files() {
        use SearchMetric::{Mrr, NdcgAt10, NdcgAt100, RecallAt10, RecallAt100};
        let mut sums = RankSums::default();
        [Some(1), Some(50), None].into_iter().for_each(|rank| sums.push(rank));
        for metric in [RecallAt10, RecallAt100, NdcgAt10, NdcgAt100, Mrr] {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert!(metric.of(&sums) > 0.0 && metric.of(&RankSums::default()) == 0.0);
        }
        assert!((RecallAt10.of(&sums) - 1.0 / 3.0).abs() < 1e-12);
    }
}
