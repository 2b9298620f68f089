//! Writes a run's checkpoints, and gives a killed run back.

use super::epoch::Place;
use super::run::{EpochStats, STAGE};
use crate::backend::Backend;
use crate::checkpoint::file::Checkpoint;
use crate::checkpoint::{CheckpointConfig, Fingerprint, Folder, Tensor};
use crate::error::{Error, Result};
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::{Event, Observer};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Which of a training's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The one that chooses, or the only one.
    First,
    Refit,
}

impl Phase {
    /// As [`Event::Phase`] and checkpoints say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Refit => "refit",
        }
    }
}

/// What the choosing run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Chosen {
    #[serde(with = "exact")]
    pub(super) history: Vec<EpochStats>,
    pub(super) best_epochs: usize,
    pub(super) coefficients: Option<[f64; 6]>,
}

/// What stands in a checkpoint beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    fingerprint: Fingerprint,
    phase: Phase,
    /// In a refit: what the run before it found.
    chosen: Option<Chosen>,
    place: Place,
    /// True when the weights of the best epoch are there.
    has_best: bool,
}

impl Saved {
    /// What cannot have been written, for people.
    fn contradiction(&self) -> Option<&'static str> {
        // Of an epoch that is not over nothing is in the history.
        let is_whole = |history: &[EpochStats]| history.iter().zip(1..).all(|(stats, n)| stats.epoch == n);
        let history = &self.place.history;
        if !is_whole(history) || history.len() != self.place.epoch {
            return Some("the epochs contradict the history");
        }
        match (self.phase, &self.chosen) {
            (Phase::First, None) => None,
            (Phase::First, Some(_)) => Some("it is of the first run, and has what that run finds at its end"),
            (Phase::Refit, None) => Some("it is of a refit, and lacks what the run before it found"),
            (Phase::Refit, Some(chosen)) => {
                let is_sound = is_whole(&chosen.history) && chosen.best_epochs <= chosen.history.len();
                (!is_sound).then_some("the refit's epochs contradict the history of the run before it")
            }
        }
    }
}

/// The checkpoints of one training.
pub(super) struct Keeper<'a> {
    config: &'a CheckpointConfig,
    folder: Folder,
    model: &'a ModelConfig,
    fingerprint: Fingerprint,
    observer: &'a dyn Observer,
    phase: Phase,
    chosen: Option<Chosen>,
    /// What the run of its phase begins with.
    resume: Option<(Checkpoint, Saved)>,
    written: Instant,
    /// Phase and step of the newest checkpoint.
    newest: Option<(Phase, u64)>,
    /// False until a step has gone well from the newest checkpoint.
    is_proven: bool,
}

impl<'a> Keeper<'a> {
    /// Claims the folder and looks for what to go on from.
    ///
    /// # Errors
    /// [`Error::CheckpointBusy`], [`Error::CheckpointDiffers`], [`Error::CheckpointDamaged`], [`Error::Core`].
    pub(super) fn new(
        config: &'a CheckpointConfig,
        model: &'a ModelConfig,
        fingerprint: Fingerprint,
        observer: &'a dyn Observer,
    ) -> Result<Self> {
        let mut folder = Folder::claim(&config.folder)?;
        if config.fresh {
            folder.clear()?;
        }
        let warn = |message: String| observer.on_event(&Event::Warning { stage: STAGE, message });
        let found = folder
            .newest(|damaged| warn(format!("{damaged}; the one before it is tried, and this one removed")))?;
        let written = Instant::now();
        let mut keeper = Self {
            config,
            folder,
            model,
            fingerprint,
            observer,
            phase: Phase::First,
            chosen: None,
            resume: None,
            written,
            newest: None,
            is_proven: false,
        };
        if let Some(checkpoint) = found {
            let mut saved = keeper.read(&checkpoint)?;
            let at = &saved.place;
            warn(format!(
                "goes on from {}: {} of epoch {}, step {}; delete it (as `fresh` does) to start at the beginning",
                checkpoint.path().display(),
                if saved.phase == Phase::Refit { "refit" } else { "first run" },
                at.epoch + 1,
                at.sums.steps
            ));
            keeper.newest = Some((saved.phase, at.steps));
            (keeper.phase, keeper.chosen) = (saved.phase, saved.chosen.take());
            keeper.resume = Some((checkpoint, saved));
        }
        Ok(keeper)
    }

    fn read(&self, checkpoint: &Checkpoint) -> Result<Saved> {
        let fault = |e: serde_json::Error| {
            recs_core::Error::corrupt(checkpoint.path().display().to_string(), format!("state: {e}"))
        };
        // First what other settings explain.
        #[derive(Deserialize)]
        struct Whose {
            fingerprint: Fingerprint,
        }
        let whose: Whose = serde_json::from_str(checkpoint.state()).map_err(fault)?;
        let differences = self.fingerprint.differences(&whose.fingerprint);
        if !differences.is_empty() {
            return Err(Error::CheckpointDiffers { path: checkpoint.path().into(), differences });
        }
        let saved: Saved = serde_json::from_str(checkpoint.state()).map_err(fault)?;
        match saved.contradiction() {
            None => Ok(saved),
            Some(what) => {
                let file = checkpoint.path().display().to_string();
                Err(recs_core::Error::corrupt(file, format!("state: {what}")).into())
            }
        }
    }

    /// What the choosing run found, when the training was killed after it.
    pub(super) fn chosen(&self) -> Option<Chosen> {
        self.chosen.clone()
    }

    /// The refit begins.
    pub(super) fn refits(&mut self, chosen: &Chosen) {
        (self.phase, self.chosen) = (Phase::Refit, Some(chosen.clone()));
    }

    /// Brings a new backend to where the run was killed; None at its beginning.
    ///
    /// # Errors
    /// [`Error::Core`] for a checkpoint whose numbers contradict each other.
    pub(super) fn resume(&mut self, backend: &mut dyn Backend) -> Result<Option<(Place, Option<Weights>)>> {
        let Some((mut checkpoint, saved)) = self.resume.take() else { return Ok(None) };
        let mut best = saved.has_best.then(|| backend.weights());
        let mut state = backend.state();
        let has_room = state.make_room(|name| checkpoint.rows(name));
        if has_room {
            let mut tensors = state.into_tensors();
            tensors.extend(self.best(&mut best));
            checkpoint.load(&mut tensors)?;
        }
        self.tie(&mut best);
        if has_room && backend.state().is_consistent() {
            return Ok(Some((saved.place, best)));
        }
        let file = checkpoint.path().display().to_string();
        Err(recs_core::Error::corrupt(file, "numbers of steps contradict each other").into())
    }

    fn best<'w>(&self, best: &'w mut Option<Weights>) -> Vec<Tensor<'w>> {
        let tensors = best.as_mut().map(|weights| Tensor::of_weights(self.model, weights, "best."));
        tensors.into_iter().flatten().flatten().collect()
    }

    /// The tensors of shared tables were written to, or lent for it.
    fn tie(&self, best: &mut Option<Weights>) {
        best.iter_mut().for_each(|weights| weights.tie(self.model));
    }

    /// A step went well: what it began with is good, and older ones may go.
    pub(super) fn step_went_well(&mut self) {
        if !self.is_proven {
            self.is_proven = true;
            self.folder.prune(self.config.keep);
        }
    }

    /// True when it is time.
    pub(super) fn is_due(&self, steps: u64) -> bool {
        let minutes = |minutes: f64| self.written.elapsed().as_secs_f64() >= 60.0 * minutes;
        self.config.every_steps.is_some_and(|every| steps.is_multiple_of(every))
            || self.config.every_minutes.is_some_and(minutes)
    }

    /// Writes a checkpoint, unless the newest one is of this step. One that cannot be written is a warning: the run is
    /// worth more.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a number that is not finite: such a state is never written.
    pub(super) fn save(
        &mut self,
        backend: &mut dyn Backend,
        place: &Place,
        best: &mut Option<Weights>,
        loss: f64,
    ) -> Result<()> {
        if self.newest == Some((self.phase, place.steps)) {
            return Ok(());
        }
        let saved = Saved {
            fingerprint: self.fingerprint.clone(),
            phase: self.phase,
            chosen: self.chosen.clone(),
            place: place.clone(),
            has_best: best.is_some(),
        };
        let state = serde_json::to_string(&saved).map_err(|e| Error::config("checkpoint", e.to_string()))?;
        let mut tensors = backend.state().into_tensors();
        if !tensors.iter().all(Tensor::is_finite) {
            drop(tensors);
            return Err(self.diverged(place, loss));
        }
        tensors.extend(self.best(best));
        let written = self.folder.write(state, &tensors);
        drop(tensors);
        self.tie(best);
        match written {
            Ok(_) => (self.newest, self.is_proven) = (Some((self.phase, place.steps)), false),
            Err(e) => {
                let message = format!("no checkpoint was written: {e}; make room, training goes on");
                self.observer.on_event(&Event::Warning { stage: STAGE, message });
            }
        }
        self.written = Instant::now();
        Ok(())
    }

    /// The error of a run that diverged at `place`. The newest checkpoint goes when this step was the first from it: what
    /// it holds is what diverged.
    pub(super) fn diverged(&mut self, place: &Place, loss: f64) -> Error {
        if !self.is_proven {
            self.folder.drop_newest();
        }
        Error::Diverged { epoch: place.epoch, step: place.sums.steps, loss, checkpoint: self.folder.latest() }
    }

    /// The training is over.
    ///
    /// # Errors
    /// [`Error::Core`] when checkpoints cannot be removed.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.config.keep_finished { Ok(()) } else { self.folder.clear() }
    }
}

/// Epochs as they are, to the bit: a rate of 32 bits is written as one of 64.
pub(super) mod exact {
    use super::EpochStats;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact<S> {
        stats: S,
        rate: f64,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        history: &[EpochStats],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(history.iter().map(|stats| Exact { stats, rate: stats.learning_rate.into() }))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<EpochStats>, D::Error> {
        let history = Vec::<Exact<EpochStats>>::deserialize(deserializer)?;
        // Was one of 32 bits.
        Ok(history.into_iter().map(|e| EpochStats { learning_rate: e.rate as f32, ..e.stats }).collect())
    }
}
