//! Whose a folder is, what is in it, and runs that diverge.

use super::{every_step, files, fit, keeping, recommended, rows, warned};
use crate::it::trainer::trainer;
use recs_core::observe::{CancelToken, Event, Observer, Silent};
use recs_train::optim::{Algorithm, Clip, OptimiserConfig};
use recs_train::{CheckpointConfig, Error, TrainConfig};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Starts a second training in the middle of a first one.
struct Second {
    trainer: recs_train::Trainer,
    checkpoints: CheckpointConfig,
    heard: Mutex<Vec<String>>,
}

impl Observer for Second {
    fn on_event(&self, event: &Event) {
        if matches!(event, Event::Metric { name, step: 1, .. } if name == "loss") {
            let refused = [
                self.trainer.fit(&Silent, &CancelToken::new()).unwrap_err(),
                self.checkpoints.remove().unwrap_err(),
            ];
            for error in refused {
                assert!(matches!(error, Error::CheckpointBusy { .. }), "{error}");
                self.heard.lock().unwrap().push(error.to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_folder_has_one_training_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = CheckpointConfig::new(folder.path());
    let first = keeping(&recommended(), checkpoints.clone()).await;
    let trainer = keeping(&recommended(), checkpoints.clone()).await;
    let second = Second { trainer, checkpoints, heard: Mutex::default() };
    first.fit(&second, &CancelToken::new()).unwrap();
    let heard = second.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 4, "in the first run and in the refit");
    assert!(heard[0].contains(&format!("process {}", std::process::id())), "{heard:?}");
    second.trainer.fit(&Silent, &CancelToken::new()).unwrap();
}

/// A folder with the checkpoints of an unfinished run.
async fn unfinished(config: &TrainConfig) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fit(config, every_step(folder.path())).await.unwrap();
    files(folder.path()).split_off(6).into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    folder
}

#[tokio::test]
async fn other_settings_and_other_data_are_refused_by_name() {
    let config = recommended();
    let folder = unfinished(&config).await;
    let refused = async |config: TrainConfig| {
        let error = fit(&config, CheckpointConfig::new(folder.path())).await.unwrap_err();
        let Error::CheckpointDiffers { path, differences } = error else { panic!("{error}") };
        assert_eq!(path, *files(folder.path()).last().unwrap());
        differences
    };
    let rate = TrainConfig { learning_rate: 0.02, ..config.clone() };
    assert_eq!(refused(rate).await, ["train.learning_rate is 0.02, there 0.01"]);
    assert_eq!(refused(TrainConfig { threads: 1, ..config.clone() }).await, ["threads is 1, there 2"]);
    let data = trainer(&rows()[1..], config.clone()).await;
    let error = data.with_checkpoints(CheckpointConfig::new(folder.path())).unwrap();
    let error = error.fit(&Silent, &CancelToken::new()).unwrap_err();
    let Error::CheckpointDiffers { differences, .. } = error else { panic!("{error}") };
    assert!(differences.iter().any(|d| d.starts_with("data is")), "{differences:?}");
    // A limit changes no number, nor does what is looked at in the end.
    let mut limited = TrainConfig { max_loss_ratio: Some(100.0), test_rows: 20, ..config.clone() };
    limited.evaluation.bootstrap.samples = 200;
    let checkpoints = CheckpointConfig { keep_finished: true, ..CheckpointConfig::new(folder.path()) };
    let (fitted, warnings) = warned(&limited, checkpoints).await;
    assert!(fitted.is_ok() && warnings.len() == 1, "{warnings:?}");
    let fresh = CheckpointConfig { fresh: true, ..CheckpointConfig::new(folder.path()) };
    let (fitted, warnings) = warned(&TrainConfig { learning_rate: 0.02, ..config }, fresh).await;
    assert!(fitted.is_ok() && warnings.is_empty(), "{warnings:?}");
}

#[tokio::test]
async fn as_many_are_kept_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = CheckpointConfig { every_steps: Some(3), keep: 4, ..every_step(folder.path()) };
    std::fs::write(folder.path().join(".making"), b"left by a killed process").unwrap();
    fit(&recommended(), checkpoints.clone()).await.unwrap();
    // The last one was written at the end, and no step has proven it since.
    let kept = files(folder.path()).len();
    assert!((4..=5).contains(&kept), "{kept}");
    assert!(!folder.path().join(".making").exists());
    checkpoints.remove().unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = fit(&recommended(), CheckpointConfig::new(&file)).await.unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

/// Weights that grow until they overflow.
fn exploding() -> TrainConfig {
    TrainConfig {
        batch: 64,
        threads: 2,
        learning_rate: 1.0,
        clip: Clip::None,
        optimiser: OptimiserConfig { embeddings: Algorithm::Sgd, dense: Algorithm::Sgd },
        ..TrainConfig::reference()
    }
}

async fn diverged(config: &TrainConfig, folder: &Path) -> (usize, f64, Option<PathBuf>, String) {
    let error = fit(config, every_step(folder)).await.unwrap_err();
    let text = error.to_string();
    let Error::Diverged { epoch: 0, step, loss, checkpoint } = error else { panic!("{error}") };
    (step, loss, checkpoint, text)
}

#[tokio::test]
async fn a_diverged_run_leaves_and_names_the_last_good_checkpoint() {
    // The first step makes weights of 1e30, the second a loss that is no number: nothing before was good.
    let folder = tempfile::tempdir().unwrap();
    let (step, loss, checkpoint, text) =
        diverged(&TrainConfig { learning_rate: 1e30, ..exploding() }, folder.path()).await;
    assert!(!loss.is_finite() || step == 0, "{text}");
    assert!(checkpoint.is_none() && files(folder.path()).is_empty(), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let unlimited = TrainConfig { max_loss_ratio: None, ..exploding() };
    let (step, loss, checkpoint, text) = diverged(&unlimited, folder.path()).await;
    let left = files(folder.path());
    assert!(step >= 2 && !loss.is_finite(), "{text}");
    assert_eq!(checkpoint.as_ref(), left.last());
    let named = checkpoint.unwrap();
    assert!(text.contains(named.to_str().unwrap()) && text.contains("learning_rate"), "{text}");
    for (name, bytes) in super::tensors(&named) {
        let mut numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        assert!(numbers.all(f32::is_finite), "{name}");
    }
    // From there it diverges again, and says the same.
    assert_eq!(diverged(&unlimited, folder.path()).await.0, step);
}

#[tokio::test]
async fn a_loss_far_above_its_start_ends_the_run() {
    for config in [exploding(), TrainConfig { max_loss_ratio: Some(3.0), ..exploding() }] {
        let folder = tempfile::tempdir().unwrap();
        let (_, loss, checkpoint, text) = diverged(&config, folder.path()).await;
        assert!(loss.is_finite() && text.contains("too high"), "{text}");
        assert_eq!(checkpoint, files(folder.path()).pop());
    }
}
