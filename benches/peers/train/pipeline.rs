//! Shards on disk -> published artifact, as `tfrs_pipeline.py`.

use crate::Failure;
use crate::args::Training;
use crate::extract;
use crate::memory::{recalls, rounded};
use recs_benches::{encoded, vocabulary_of};
use recs_core::dataset::Dataset;
use recs_core::observe::{CancelToken, Silent};
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_train::{EarlyStopping, TrainConfig, Trainer};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;

/// Runs every stage; gives the seconds of each.
pub(crate) async fn run(shards: &Path, out: &Path, training: &Training) -> Result<Value, Failure> {
    let mut clock = Clock::start();
    let (config, schema, cancel) = (validated(training.config()?), extract::schema()?, CancelToken::new());
    let dataset = Dataset::open(Store::local(shards)?).await?;
    let (readers, model) = (training.readers()?, config.model(&schema)?);
    let vocabulary = vocabulary_of(&dataset, &schema, readers).await?;
    clock.lap("vocabulary_s");
    let data = encoded(&dataset, &model.schema, &vocabulary, readers).await?;
    clock.lap("load_s");
    let fitted = Trainer::new(data, model, vocabulary, config)?.fit(&Silent, &cancel)?;
    clock.lap("train_s");
    let mut summary = Map::new();
    summary.insert("examples_per_s".into(), json!(rounded(fitted.examples_per_s(), 1)));
    summary.insert("epochs".into(), json!(fitted.history.len()));
    summary.insert("train_rows".into(), json!(fitted.split.train.len()));
    summary.extend(recalls(&fitted.test));
    std::fs::create_dir_all(out)?;
    let root = Store::local(out)?.tenant(&TenantId::new("peers")?)?;
    fitted.into_artifact("pipeline")?.publish(&root, "2018-01-02T00:00:00Z").await?;
    clock.lap("save_s");
    summary.extend(clock.laps);
    Ok(Value::Object(summary))
}

/// The validation rows are scored after every epoch, all of them, and no epoch is left out.
fn validated(config: TrainConfig) -> TrainConfig {
    let early_stopping = Some(EarlyStopping { patience: config.epochs });
    TrainConfig { early_stopping, refit: false, validation_rows: 0, ..config }
}

/// Seconds of each stage.
struct Clock {
    last: Instant,
    laps: Map<String, Value>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Map::new() }
    }

    fn lap(&mut self, name: &str) {
        self.laps.insert(name.to_owned(), json!(rounded(self.last.elapsed().as_secs_f64(), 2)));
        self.last = Instant::now();
    }
}
