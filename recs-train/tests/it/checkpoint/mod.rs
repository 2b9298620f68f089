//! Runs that are killed, cancelled, damaged or diverge, and go on.

mod damage;
mod folder;
mod killed;
mod resumed;

use super::finite_differences::loss;
use super::shards::{Purchase, groups};
use super::trainer::trainer;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_train::optim::{AdagradConfig, AdamConfig, Algorithm, Clip, OptimiserConfig, Rows};
use recs_train::schedule::{PlateauConfig, ScheduleConfig};
use recs_train::{
    CheckpointConfig, DropoutConfig, EarlyStopping, Fitted, Result, TowerDropout, TrainConfig, Trainer,
};
use safetensors::SafeTensors;
use serde_json::json;
use std::path::{Path, PathBuf};

fn rows() -> Vec<Purchase> {
    groups(24, 40, 30)
}

/// Four steps an epoch.
fn recommended() -> TrainConfig {
    TrainConfig { batch: 6, epochs: 3, threads: 2, ..TrainConfig::recommended() }
}

/// Runs of every optimiser and phase, by name.
fn configs() -> Vec<(&'static str, TrainConfig)> {
    let adam = AdamConfig { rows: Rows::All, ..AdamConfig::default() };
    let of_tables = |embeddings| OptimiserConfig { embeddings, dense: Algorithm::Sgd };
    let reference = TrainConfig { batch: 64, epochs: 2, threads: 2, ..TrainConfig::reference() };
    let stopping = TrainConfig {
        epochs: 8,
        refit: false,
        early_stopping: Some(EarlyStopping { patience: 2 }),
        optimiser: OptimiserConfig::lazy_adam(),
        ..recommended()
    };
    let plateau = Some(PlateauConfig { factor: 0.5, patience: 1, lowest: 1e-4 });
    let schedule = ScheduleConfig { plateau, ..stopping.schedule };
    // So strong a decay that rows are brought up to date in the middle of an epoch of the refit.
    let constant = ScheduleConfig::constant();
    let strong = Algorithm::Adam(AdamConfig { weight_decay: 99.99, ..adam });
    let dropped = TowerDropout { hidden: 0.3, input: 0.2, history: 0.2 };
    let remembering = TrainConfig {
        loss: loss(&json!({
            "learned_temperature": {"lowest": 0.05, "highest": 1.0},
            "log_q": {"streaming": {"alpha": 0.1}},
            "uniform_negatives": 5,
            "cross_batch": {"columns": 40, "warm_up_steps": 2},
            "hard_negatives": {},
        })),
        clip: Clip::GlobalNorm { norm: 1.0 },
        early_stopping: Some(EarlyStopping { patience: 2 }),
        epochs: 3,
        l2: 1e-3,
        dropout: DropoutConfig { query: dropped, candidate: dropped },
        ..reference.clone()
    };
    vec![
        ("recommended", recommended()),
        ("a loss that remembers", remembering),
        ("one thread", TrainConfig { threads: 1, ..recommended() }),
        ("reference", reference.clone()),
        ("reference, one thread", TrainConfig { threads: 1, ..reference.clone() }),
        ("lazy Adam, early stopping, plateau, no refit", TrainConfig { schedule, ..stopping }),
        (
            "Adagrad by rows, SGD",
            TrainConfig {
                optimiser: of_tables(Algorithm::Adagrad(AdagradConfig {
                    row_wise: true,
                    ..Default::default()
                })),
                clip: Clip::GlobalNorm { norm: 1.0 },
                ..reference
            },
        ),
        (
            "strong decay",
            TrainConfig { epochs: 10, optimiser: of_tables(strong), schedule: constant, ..recommended() },
        ),
    ]
}

async fn keeping(config: &TrainConfig, checkpoints: CheckpointConfig) -> Trainer {
    trainer(&rows(), config.clone()).await.with_checkpoints(checkpoints).unwrap()
}

/// A checkpoint every step, all of them kept.
fn every_step(folder: &Path) -> CheckpointConfig {
    CheckpointConfig {
        every_steps: Some(1),
        every_minutes: None,
        keep: 10_000,
        keep_finished: true,
        ..CheckpointConfig::new(folder)
    }
}

async fn fit(config: &TrainConfig, checkpoints: CheckpointConfig) -> Result<Fitted> {
    keeping(config, checkpoints).await.fit(&Silent, &CancelToken::new())
}

/// The warnings of a training.
async fn warned(config: &TrainConfig, checkpoints: CheckpointConfig) -> (Result<Fitted>, Vec<String>) {
    let events = Collect::default();
    let fitted = keeping(config, checkpoints).await.fit(&events, &CancelToken::new());
    let warning = |event| match event {
        Event::Warning { stage: "train", message } => Some(message),
        _ => None,
    };
    (fitted, events.events().into_iter().filter_map(warning).collect())
}

/// The checkpoints in a folder, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    files
}

/// Name and bytes of every tensor.
fn tensors(file: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = parsed.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
    all.sort();
    all
}

/// Two trainings that cannot be told apart.
fn assert_equal(a: &Fitted, b: &Fitted, what: &str) {
    assert!(a.weights == b.weights, "{what}: weights");
    assert_eq!((a.epochs, &a.test.ranks), (b.epochs, &b.test.ranks), "{what}");
    let coefficients = |f: &Fitted| f.repeat.as_ref().map(|r| r.coefficients);
    assert_eq!(coefficients(a), coefficients(b), "{what}");
    let epochs = |f: &Fitted| -> Vec<_> {
        let all = f.history.iter().chain(&f.refit_history);
        all.map(|e| (e.epoch, e.loss, e.learning_rate, e.validation_recall_at_100)).collect()
    };
    assert_eq!(epochs(a), epochs(b), "{what}");
}
