//! What the trials of a search are, before any of them is trained.

use super::config::{SearchAlgorithm, SearchConfig};
use super::distribution::Distribution;
use super::space::{Settings, apply};
use crate::config::TrainConfig;
use crate::data::EncodedWith;
use crate::error::{Error, Result};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use recs_core::hash::fingerprint64;
use recs_core::schema::Schema;

impl SearchConfig {
    /// The schemas that data are to be encoded with, so that every trial of a search from `base` finds what its model reads:
    /// that of the base's model, and one more for each other choice of encodings. Widths, names, shared tables and histories
    /// need none of their own. `schema` is that of the dataset. O(trials x schemas).
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting, and the trial that has it.
    pub fn schemas(&self, base: &TrainConfig, schema: &Schema) -> Result<Vec<Schema>> {
        self.check_space(base)?;
        let trials = self.algorithm.rungs(base.epochs)?.first().map_or(0, |rung| rung.trials);
        let mut all: Vec<Schema> = Vec::new();
        for number in 0..trials {
            let reads = self.try_trial(base, number, |config| Ok(config.model(schema)?.schema))?;
            if !all.iter().any(|other| EncodedWith::same_columns(other, &reads)) {
                all.push(reads);
            }
        }
        Ok(all)
    }

    /// Settings that are well each by itself can contradict each other: `is_well` sees those of a trial, and what it refuses
    /// is told with them.
    pub(super) fn try_trial<T>(
        &self,
        base: &TrainConfig,
        number: u64,
        is_well: impl FnOnce(&TrainConfig) -> Result<T>,
    ) -> Result<T> {
        let settings = self.draw(number);
        let tried = apply(base, &settings).and_then(|config| is_well(&config));
        tried.map_err(|e| match serde_json::to_string(&settings) {
            Ok(settings) if number > 0 => {
                Error::config("search.space", format!("trial {number} would be {settings}: {e}"))
            }
            _ => e,
        })
    }

    /// The settings of a trial: none for trial 0. A function of seed, path and number, so that more trials or settings leave
    /// the others as they are.
    pub(super) fn draw(&self, number: u64) -> Settings {
        if number == 0 {
            return Settings::new();
        }
        if let SearchAlgorithm::Listed { trials } = &self.algorithm {
            let listed = usize::try_from(number - 1).ok().and_then(|at| trials.get(at));
            return listed.cloned().unwrap_or_default();
        }
        let draw = |(path, distribution): (&String, &Distribution)| {
            let key = format!("{}/{number}/{path}", self.seed);
            let mut random = Xoshiro256PlusPlus::seed_from_u64(fingerprint64(key.as_bytes()));
            (path.clone(), distribution.draw(&mut random))
        };
        self.space.iter().map(draw).collect()
    }
}
