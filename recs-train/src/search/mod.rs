//! Search for settings: random, or by successive halving.
//!
//! ```no_run
//! use recs_core::observe::{CancelToken, Silent};
//! use recs_train::search::{Distribution, Search, SearchAlgorithm, SearchConfig, TrialFiles};
//! use recs_train::TrainConfig;
//! use std::sync::Arc;
//!
//! # fn run(
//! #     data: Arc<recs_train::TrainData>, vocabulary: Arc<recs_core::vocab::Vocabulary>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let schema = recs_core::schema::Schema::retail();
//! let rate = Distribution::LogUniform { low: 1e-3, high: 1e-1 };
//! let mut config = SearchConfig::new([("learning_rate".into(), rate)]);
//! config.algorithm = SearchAlgorithm::Halving { trials: 27, eta: 3, shortest: 3 };
//! config.folds = 2;
//! // More than one if trials differ in their encodings: then one `TrainData` each.
//! assert_eq!(config.schemas(&TrainConfig::recommended(), &schema)?.len(), 1);
//! let search = Search::new([data], &schema, vocabulary, TrainConfig::recommended(), config)?
//!     .with_results("search.jsonl")
//!     .with_tracker(Arc::new(TrialFiles::new("trials".as_ref())?));
//! let report = search.run(&Silent, &CancelToken::new())?;
//! println!("{:?} with {:?}", report.best.score, report.best.settings);
//! let best: TrainConfig = report.config;
//! # Ok(()) }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`SearchConfig`]: space, algorithm, metric, folds |
//! | `distribution.rs` | [`Distribution`]: what a setting is drawn from |
//! | `space.rs` | settings by path, checked and put into a [`TrainConfig`](crate::TrainConfig) |
//! | `draw.rs` | the settings of each trial, and the columns that they need |
//! | `halving.rs` | rungs: how many trials are trained how long |
//! | `run.rs` | [`Search`]: trial after trial |
//! | `trial.rs` | [`Trial`], [`SearchReport`] |
//! | `results.rs` | the file by which a killed search goes on; its format |
//! | `track.rs` | [`TrackTrials`]: a run for each trial |
//!
//! Trials are judged by validation rows before the test, see [`Fold`](crate::data::Fold); the test rows are scored once, by
//! the training with the chosen settings.

mod config;
mod distribution;
mod draw;
mod halving;
mod results;
mod run;
mod space;
mod track;
mod trial;

pub use config::{SearchAlgorithm, SearchConfig, SearchMetric};
pub use distribution::Distribution;
pub use run::Search;
pub use space::Settings;
pub use track::{TrackTrials, TrialFiles, TrialRun, Untracked};
pub use trial::{SearchReport, Trial};
