//! Two-tower training on encoded columns: data, losses, optimisers, evaluation.
//!
//! A run reads a dataset's shards into integer columns once, trains on all cores (or a given number of threads), chooses
//! on validation rows, refits, and reports Recall@K on the test rows beside popularity.
//!
//! ```no_run
//! use recs_core::{dataset::Dataset, observe::{CancelToken, Silent}, schema::Schema, store::Store, vocab::Vocabulary};
//! use recs_train::{LoadOptions, TrainConfig, TrainData, Trainer};
//! use std::sync::Arc;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (schema, cancel) = (Schema::retail(), CancelToken::new());
//! let dataset = Dataset::open(Store::local("store/tenants/demo/datasets/run-1".as_ref())?).await?;
//! let vocabulary = Vocabulary::build(&dataset, &schema, &Default::default(), 2, Arc::new(Silent), &cancel).await?;
//! let vocabulary = Arc::new(vocabulary);
//!
//! let config = TrainConfig::recommended();
//! let model = config.model(&schema)?;
//! let data = TrainData::load(&dataset, &model.schema, vocabulary.clone(), &LoadOptions::in_memory(2), Arc::new(Silent), &cancel).await?;
//! let fitted = Trainer::new(Arc::new(data), model, vocabulary, config)?.fit(&Silent, &cancel)?;
//! println!("Recall@100 {:?}, popularity {:?}", fitted.test.recall_at_100, fitted.popularity.recall_at_100);
//! let artifact = fitted.into_artifact("2018-01-02")?;
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`data`] | shards -> columns, splits, shuffling |
//! | [`backend`] | the arithmetic of a step |
//! | [`loss`], [`optim`], [`schedule`], [`dropout`] | one algorithm a file |
//! | [`trainer`] | epochs, evaluation, artifact |
//! | [`search`] | settings, by random search or successive halving |
//! | [`checkpoint`] | long runs that are killed, and go on |
//! | [`tracking`] | observers that keep metrics: JSON lines, MLflow |
//!
//! What can be chosen stands in [`TrainConfig`], with a paper or formula at each choice:
//!
//! | setting | choices |
//! |---|---|
//! | `encodings` | [`Encoding`](recs_core::schema::Encoding): embedding, buckets, normalised, cyclical, cross, n-grams of a text, history, bias; encodings may share a table |
//! | `query`, `candidate` | layers, [`Activation`](recs_core::model::Activation), length 1 or as it comes |
//! | `examples` | [`Examples`]: purchases, or customers of whom some days are held out |
//! | `loss` | [`LossConfig`](loss::LossConfig): softmax over the batch or the catalogue, uniform, earlier and hard negatives, log q, mask, temperature; BPR |
//! | `optimiser` | [`Algorithm`](optim::Algorithm) of tables and of layers: Adam over all rows or those seen, weight decay, Adagrad, by row too, SGD |
//! | `schedule`, `clip`, `dropout`, `l1`, `l2` | warm-up, linear or cosine fall, steps on plateaus; by variable or by the norm of all |
//! | `early_stopping`, `max_loss_ratio`, `refit` | when a run ends, and whether it is repeated on all rows before the test |
//! | `repeat`, `trend` | [`RepeatConfig`](trainer::RepeatConfig), [`TrendConfig`](trainer::TrendConfig): what customers buy again, what sells lately |
//! | `evaluation` | [`EvaluateOptions`]: seen products, bootstrap, slices |
//!
//! | feature | what |
//! |---|---|
//! | `json-schema` | JSON schemas of the configurations |
//! | `mlflow` | `tracking::mlflow`: runs in an MLflow server, over REST; the host gives an HTTP client |

mod aligned;
pub mod backend;
pub mod checkpoint;
mod config;
pub mod data;
pub mod dropout;
/// The error of this crate.
pub mod error;
pub mod loss;
mod matrix;
pub mod optim;
mod range;
pub mod schedule;
pub mod search;
pub mod tracking;
pub mod trainer;

pub use checkpoint::CheckpointConfig;
pub use config::{EarlyStopping, EncodingsConfig, Examples, Preset, TrainConfig};
pub use data::{LoadOptions, TrainData};
pub use dropout::{DropoutConfig, TowerDropout};
pub use error::{Error, Result};
pub use trainer::{EvaluateOptions, Evaluation, Fitted, Trainer};
