//! Runs in an MLflow server, over REST; feature `mlflow`.
//!
//! A dead or slow server never slows or ends the job, and what it missed is sent later:
//!
//! ```text
//! job's threads        thread `recs-mlflow`, with a runtime of its own
//! on_event -> queue -> keep -> <run>.jsonl -> session -> server
//!             bounded          bounded, disk   batches, again and again with growing waits
//! ```
//!
//! ```no_run
//! use recs_core::observe::{CancelToken, Observer, Tee};
//! use recs_train::tracking::mlflow::{MlflowConfig, MlflowHost, MlflowRun, Outcome};
//! use std::{sync::Arc, time::Duration};
//!
//! # fn run(trainer: recs_train::Trainer, terminal: Arc<dyn Observer>, config: recs_train::TrainConfig)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let mut settings = MlflowConfig::new("http://127.0.0.1:5000");
//! settings.experiment = "retail".into();
//! let host = MlflowHost::new(reqwest::Client::new()).with_warnings(Arc::clone(&terminal));
//! let run = Arc::new(MlflowRun::start(&settings, host)?);
//! run.log_params(&config)?;
//!
//! let both = Tee::new([terminal, Arc::clone(&run) as Arc<dyn Observer>]);
//! let fitted = trainer.fit(&both, &CancelToken::new());
//! if let Ok(fitted) = &fitted {
//!     run.log_fitted(fitted);
//! }
//! let report = run.finish(Outcome::of(&fitted), Duration::from_secs(30));
//! println!("{} sent, {} left for the next run: {:?}", report.sent, report.spooled, report.problem);
//! # Ok(()) }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs`, `host.rs` | settings, what the host lends |
//! | `run.rs`, `model.rs`, `event_log.rs` | the run as the job sees it; what recs-train tells about data and model |
//! | `trials.rs` | the trials of a search, as runs below its own |
//! | `entry.rs`, `names.rs`, `params.rs` | a line of the spool, and what MLflow takes as names and values |
//! | `worker.rs`, `pace.rs` | the thread, and when it tries again |
//! | `journal.rs`, `tail.rs`, `head.rs` | the two files of a run |
//! | `session.rs`, `batch.rs` | journal -> requests, in order |
//! | `client.rs`, `endpoints.rs`, `upload.rs` | the REST API |
//! | `replay.rs`, `report.rs` | runs of earlier processes; what became of everything |
//!
//! # The spool
//! Every entry of a run, that it exists included, is written to disk before it is sent, so a run whose server was never
//! up is complete there. `<run>.json` says what the run is and how far the server has it; `<run>.jsonl` holds the entries
//! in order, one JSON object a line with `op` = `metric`, `param`, `tag`, `text`, `file`, `register` or `end`. Both are
//! gone once the server has everything. `<run>` is 13 digits of time, `-` and 16 random hexadecimal digits; files of other
//! names in the folder, and journals without a `<run>.json` of ours, are left as they are.
//! - **A killed process** loses what was in the queue: the last 20 milliseconds. Its run is ended as
//!   `KILLED` by the next run or [`replay`]. **A power cut** loses what the operating system had not written: the files
//!   are synced at the start and the end of a run, not in between.
//! - **Overflow**: a file takes `spool_bytes` that the server does not have, a queue `queue_entries`. What comes then is
//!   dropped; the first loss is warned of and the report counts all. The run's end always has room.
//! - **Files** are kept by their place, not their bytes.
//!
//! # What the server may see twice
//! A request whose answer was lost is made again. A point is one by run, name, timestamp, step and value in MLflow's SQL
//! stores, so a point sent twice is there once; two points of one name and step with equal values in the same millisecond
//! are also one. Parameters, tags, files and the end replace themselves. Runs are found again by the tag `recs.run_key`
//! and model versions by run and folder before they are made; only when the server still works on the lost request at
//! that moment can there be a second, empty run or a second version.
//!
//! # What helps against what
//! | answer | what happens |
//! |---|---|
//! | none, 408, 425, 429, 5xx, none of MLflow's | tried again after 0.5, 1, 2, … seconds, at most `retry_s`, or what `Retry-After` asks |
//! | 401, 403, run or experiment deleted | the same at `retry_s`: a person must act, nothing is given up |
//! | 400, 404, 413 … on a batch | its halves are sent, until the entries at fault are alone; those are refused and reported |
//! | 400, 404, 413 … on a file or a version | refused and reported; no version is made of a folder that lacks files |
//!
//! Entries go in order, so one that waits holds up those after it: while the server's artifact store fails, a run whose
//! metrics are there is still running for MLflow. `Report::problem` names what waits. To give up, delete a run's two files.
//!
//! Infinite values are stored as the largest finite ones, as MLflow does; NaN is stored as such.

mod batch;
mod client;
mod config;
mod endpoints;
mod entry;
mod event_log;
mod head;
mod host;
mod journal;
mod model;
mod names;
mod pace;
mod params;
mod replay;
mod report;
mod run;
mod session;
mod tail;
mod trials;
mod upload;
mod worker;

pub use config::MlflowConfig;
pub use entry::Outcome;
pub use host::MlflowHost;
pub use recs_core::secret::Secret;
pub use replay::replay;
pub use report::{Refusal, Report};
pub use run::MlflowRun;
pub use trials::MlflowTrials;
