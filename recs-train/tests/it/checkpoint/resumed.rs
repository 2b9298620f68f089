//! A run that goes on after any of its steps ends as one that was never disturbed.

use super::{assert_equal, configs, every_step, files, fit, keeping, recommended, rows, tensors, warned};
use crate::it::trainer::trainer;
use proptest::prelude::*;
use recs_core::observe::{CancelToken, Collect, Event, Silent};
use recs_train::{CheckpointConfig, Error, Fitted, TrainConfig};
use std::path::PathBuf;

/// A training without checkpoints, and the checkpoints of every step of one with them.
struct Undisturbed {
    name: &'static str,
    config: TrainConfig,
    fitted: Fitted,
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn undisturbed((name, config): (&'static str, TrainConfig)) -> Undisturbed {
    block_on(async {
        let fitted = trainer(&rows(), config.clone()).await.fit(&Silent, &CancelToken::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept = fit(&config, every_step(folder.path())).await.unwrap();
        assert_equal(&kept, &fitted, name);
        let files = files(folder.path());
        Undisturbed { name, config, fitted, folder, files }
    })
}

fn all_undisturbed() -> Vec<Undisturbed> {
    configs().into_iter().map(undisturbed).collect()
}

fn the_first_undisturbed() -> Undisturbed {
    undisturbed(configs().into_iter().next().unwrap())
}

/// As if killed after step `k`, from 0: what came after is gone.
fn goes_on_after(run: &Undisturbed, k: usize) {
    let folder = tempfile::tempdir().unwrap();
    let name = run.files[k].file_name().unwrap();
    std::fs::copy(&run.files[k], folder.path().join(name)).unwrap();
    let (fitted, warnings) = block_on(warned(&run.config, every_step(folder.path())));
    let what = format!("{}, step {k}", run.name);
    assert_equal(&fitted.unwrap(), &run.fitted, &what);
    assert!(warnings.len() == 1 && warnings[0].starts_with("goes on from"), "{what}: {warnings:?}");
    let (ours, theirs) = (files(folder.path()), &run.files);
    assert_eq!(ours.len(), theirs.len() - k, "{what}");
    let last = theirs.len() - 1;
    assert!(tensors(&ours[last - k]) == tensors(&theirs[last]), "{what}: the last state");
}

#[test]
fn after_any_step() {
    let runs = all_undisturbed();
    proptest!(ProptestConfig::with_cases(24), |(run in 0..runs.len(), k in 0.0..1.0f64)| {
        let run = &runs[run];
        goes_on_after(run, (k * run.files.len() as f64) as usize);
    });
}

#[test]
fn at_the_ends_of_epochs_and_phases() {
    let runs = all_undisturbed();
    for run in &runs {
        assert!(run.folder.path().exists() && run.files.len() > 10, "{}", run.name);
        let last = run.files.len() - 1;
        for k in [0, last] {
            goes_on_after(run, k);
        }
    }
    // The step counts of the phases: an epoch's last step, the first run's last and the refit's first.
    let run = &runs[0];
    let state = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let state: serde_json::Value =
            serde_json::from_str(&metadata.metadata().as_ref().unwrap()["state"]).unwrap();
        (state["phase"].as_str().unwrap().to_owned(), state["place"]["epoch"].as_u64().unwrap())
    };
    let states: Vec<_> = run.files.iter().map(state).collect();
    let turns: Vec<usize> = (1..states.len()).filter(|&k| states[k] != states[k - 1]).collect();
    assert_eq!(turns.len(), 5, "three epochs twice: {states:?}");
    for k in turns {
        goes_on_after(run, k - 1);
        goes_on_after(run, k);
    }
}

/// Whoever draws curves must know a refit from the first run, in whatever process it is trained.
#[test]
fn a_training_says_which_of_its_runs_begins() {
    let run = the_first_undisturbed();
    let heard = |from: Option<&PathBuf>| -> Vec<&str> {
        let (folder, events) = (tempfile::tempdir().unwrap(), Collect::default());
        if let Some(file) = from {
            std::fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let trainer = block_on(keeping(&run.config, CheckpointConfig::new(folder.path())));
        trainer.fit(&events, &CancelToken::new()).unwrap();
        let said = |event| match event {
            Event::Phase { stage: "train", phase } => Some(phase),
            Event::Started { stage: "train", .. } => Some("started"),
            _ => None,
        };
        events.events().into_iter().filter_map(said).collect()
    };
    let all = ["first", "started", "refit", "started"];
    assert_eq!(heard(None), all);
    assert_eq!(heard(run.files.first()), all);
    assert_eq!(heard(run.files.last()), all[2..]);
}

/// The tests above would not see it if rows never waited for their decay, or were never settled in between.
#[test]
fn checkpoints_have_rows_that_wait_and_steps_that_were_forgotten() {
    let numbers = |bytes: &[u8]| -> Vec<u32> {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let of = |file: &PathBuf, name: &str| {
        let all = tensors(file).into_iter().find(|(n, _)| n == name);
        numbers(&all.unwrap_or_else(|| panic!("no {name}")).1)
    };
    let waits = |run: &Undisturbed, table: &str| {
        run.files.iter().any(|file| {
            let (last, done) = (of(file, table), of(file, "steps.embeddings.done")[0]);
            last.iter().any(|&step| step > 0 && step < done)
        })
    };
    let mut configs = configs();
    let [strong, reference, recommended] = [7, 3, 0].map(|i| undisturbed(configs.swap_remove(i)));
    assert!(waits(&recommended, "query.history.embedding.last"));
    assert!(waits(&reference, "query.revenue_bucket_x_hour.embedding.last"));
    let bases: Vec<u32> = strong.files.iter().map(|file| of(file, "steps.embeddings.base")[0]).collect();
    // The validation settles after every four steps of the first run.
    let in_between = bases.iter().any(|base| base % 4 != 0);
    assert!(in_between, "{bases:?}");
}

#[tokio::test]
async fn a_cancelled_run_keeps_what_it_has_even_before_its_first_step() {
    let (folder, config) = (tempfile::tempdir().unwrap(), recommended());
    let cancel = CancelToken::new();
    cancel.cancel();
    let checkpoints = CheckpointConfig::new(folder.path());
    let ended = keeping(&config, checkpoints.clone()).await.fit(&Silent, &cancel);
    assert!(matches!(ended, Err(Error::Core(recs_core::Error::Cancelled))), "{ended:?}");
    assert_eq!(files(folder.path()).len(), 1);
    let fitted = fit(&config, checkpoints).await.unwrap();
    let undisturbed = trainer(&rows(), recommended()).await.fit(&Silent, &CancelToken::new()).unwrap();
    assert_equal(&fitted, &undisturbed, "after no step");
    assert!(files(folder.path()).is_empty(), "a finished run has none");
}
