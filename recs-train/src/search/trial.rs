//! A trial, and what all of them say.

use super::config::SearchMetric;
use super::space::{Settings, merged};
use crate::config::TrainConfig;
use recs_core::observe::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One trial in one rung: settings, and how good a training of so many epochs is with them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// From 0, which is the search's own settings.
    pub number: u64,
    /// From 0.
    pub rung: u64,
    /// Epochs at most.
    pub epochs: usize,
    /// What differs from the search's own settings.
    pub settings: Settings,
    /// Mean of the folds; None for a trial that diverged.
    pub score: Option<f64>,
    /// The same of the towers alone, without the term for what customers buy again.
    #[serde(default)]
    pub towers: Option<f64>,
    /// Of each fold, the latest first; of those before the one that diverged.
    pub folds: Vec<f64>,
    /// Wall time.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Trial {
    pub(super) fn event(&self) -> Event {
        Event::Trial {
            number: self.number,
            rung: self.rung,
            settings: serde_json::to_string(&self.settings).unwrap_or_default(),
            score: self.score,
            seconds: self.seconds,
            error: self.error.clone(),
        }
    }
}

/// What a search found. The best of many is the luckiest too: its score is a little better than what the same settings
/// reach on other rows, such as the test's.
#[derive(Debug, Clone, Serialize)]
pub struct SearchReport {
    /// What the scores are.
    pub metric: SearchMetric,
    /// All trials, rung by rung, by number.
    pub trials: Vec<Trial>,
    /// The best: of the last rung that a trial did not fail in, and of equally good ones the earliest.
    pub best: Trial,
    /// Its settings, complete.
    pub config: TrainConfig,
    /// Wall time, without that of trials that were finished before.
    pub seconds: f64,
}

impl SearchReport {
    /// The settings to write under `[train]` in recs.toml: `overrides`, which the search's own settings came from, with the
    /// best ones put over them.
    pub fn overrides(&self, overrides: &Map<String, Value>) -> Map<String, Value> {
        let mut all = merged(overrides, &self.best.settings);
        all.insert("epochs".into(), self.config.epochs.into());
        all
    }

    /// The score of the search's own settings in the rung of the best trial; None when they did not get there, or failed.
    pub fn baseline(&self) -> Option<f64> {
        let is_baseline = |trial: &&Trial| trial.number == 0 && trial.rung == self.best.rung;
        self.trials.iter().find(is_baseline)?.score
    }
}
