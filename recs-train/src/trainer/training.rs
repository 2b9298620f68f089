//! What is trained, on what, from where.

use super::check::check;
use super::run::Job;
use super::warm_start::WarmStart;
use crate::checkpoint::{CheckpointConfig, Fingerprint};
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use rayon::ThreadPool;
use recs_core::artifact::ModelArtifact;
use recs_core::model::ModelConfig;
use recs_core::observe::{CancelToken, Observer};
use recs_core::vocab::Vocabulary;
use std::sync::Arc;

/// Trains one model.
#[derive(Debug)]
pub struct Trainer {
    pub(super) data: Arc<TrainData>,
    pub(super) model: ModelConfig,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) config: TrainConfig,
    pub(super) pool: Arc<ThreadPool>,
    pub(super) checkpoints: Option<CheckpointConfig>,
    pub(super) warm_start: Option<WarmStart>,
}

impl Trainer {
    /// A trainer over data that was encoded with `model.schema` (see [`TrainConfig::model`]).
    ///
    /// # Errors
    /// [`Error::Config`], also for data of another schema or vocabulary; [`Error::Data`] for columns that do not fit each
    /// other; [`Error::Threads`].
    pub fn new(
        data: Arc<TrainData>,
        model: ModelConfig,
        vocabulary: Arc<Vocabulary>,
        config: TrainConfig,
    ) -> Result<Self> {
        check(&config, &model, &data)?;
        data.check_vocabulary(&vocabulary)?;
        let pool = Arc::new(pool(config.threads)?);
        Ok(Self { data, model, vocabulary, config, pool, checkpoints: None, warm_start: None })
    }

    /// Writes checkpoints while it trains, and starts from the newest one in their folder. A training that is killed and
    /// called again in the same way ends with the weights that it would have had, bit for bit; a cancelled one writes a
    /// checkpoint before it ends.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn with_checkpoints(self, checkpoints: CheckpointConfig) -> Result<Self> {
        checkpoints.validate()?;
        Ok(Self { checkpoints: Some(checkpoints), ..self })
    }

    /// Starts from the weights of an earlier version instead of random ones, whatever values have come or gone since: each
    /// value keeps its row, and a product that is new starts at the mean of the rows of the version's products of its
    /// subcategory, else of its category, else of all. Everything else that is new starts as without a version; see
    /// [`recs_core::growth`] for buckets and crosses. So do the biases of a version that moved them to a trend. A learned
    /// temperature starts where that version's ended.
    ///
    /// Both runs start there, the one that chooses and the refit. A version that was trained on rows of the test makes the
    /// report too good, which a warning says and [`Fitted::warm_start`](crate::Fitted::warm_start) counts.
    ///
    /// # Errors
    /// [`Error::WarmStart`] naming what differs, for a version with other layers or encodings; [`Error::Core`] for one whose
    /// parts do not fit.
    pub fn warm_start(mut self, previous: &ModelArtifact) -> Result<Self> {
        if let Some(range) = self.config.loss.learned_temperature {
            let start = previous.config.temperature.clamp(range.lowest, range.highest);
            (self.config.loss.temperature, self.model.temperature) = (start, start);
        }
        self.warm_start = Some(WarmStart::new(previous, &self.model, &self.vocabulary, &self.data)?);
        Ok(self)
    }

    pub(super) fn job<'a>(&'a self, observer: &'a dyn Observer, cancel: &'a CancelToken) -> Job<'a> {
        let Self { data, model, vocabulary, config, pool, warm_start, .. } = self;
        let warm_start = warm_start.as_ref();
        Job { data, model, vocabulary, config, warm_start, pool, observer, cancel }
    }

    /// What must be equal for equal bits.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint> {
        let Self { config, model, vocabulary, data, pool, .. } = self;
        let fingerprint = Fingerprint::new(config, model, vocabulary, data, pool.current_num_threads())?;
        Ok(fingerprint.started_from(self.warm_start.as_ref().map(WarmStart::digest)))
    }
}

/// Threads of our own; 0 = all cores.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("recs-train-{i}"))
        .build()
        .map_err(|source| Error::Threads { threads, source })
}
