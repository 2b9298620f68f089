//! `kill -9`, again and again, at moments that nobody chose.

use super::{files, keeping, recommended, rows};
use crate::it::trainer::trainer;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use recs_core::model::Weights;
use recs_core::observe::{CancelToken, Silent};
use recs_train::{CheckpointConfig, TrainConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "RECS_TEST_CHECKPOINTS";
const DONE: &str = "done";

fn config() -> TrainConfig {
    TrainConfig { epochs: 12, ..recommended() }
}

fn bytes(weights: &Weights) -> Vec<u8> {
    let towers = [&weights.query, &weights.candidate];
    towers.iter().flat_map(|t| t.slices()).flatten().flat_map(|x| x.to_bits().to_le_bytes()).collect()
}

#[tokio::test]
#[ignore = "the process that the test below kills"]
async fn process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let checkpoints = CheckpointConfig { every_steps: Some(1), ..CheckpointConfig::new(folder.join("run")) };
    let fitted = keeping(&config(), checkpoints).await.fit(&Silent, &CancelToken::new()).unwrap();
    std::fs::write(folder.join("making"), bytes(&fitted.weights)).unwrap();
    std::fs::rename(folder.join("making"), folder.join(DONE)).unwrap();
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["it::checkpoint::killed::process", "--exact", "--ignored"]).env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Number of the newest checkpoint.
fn newest(run: &Path) -> u64 {
    let Some(file) = run.exists().then(|| files(run).pop()).flatten() else { return 0 };
    file.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn killed_again_and_again_it_ends_with_the_same_bits() {
    let undisturbed = trainer(&rows(), config()).await.fit(&Silent, &CancelToken::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (run, done) = (folder.path().join("run"), folder.path().join(DONE));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(std::process::id()));
    let mut kills = 0;
    while !done.exists() {
        let mut process = start(folder.path());
        // Some steps further, and then at any moment: in a step, while a file is written, renamed or removed.
        let until = newest(&run) + random.next_u64() % 6;
        while newest(&run) < until && process.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.next_u64() % 20_000));
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none_or(|status| status.success()), "{ended:?} after {kills} kills");
        if ended.is_none() {
            process.kill().unwrap();
            process.wait().unwrap();
            kills += 1;
        }
    }
    assert!(kills >= 5, "{kills} kills only");
    assert!(std::fs::read(done).unwrap() == bytes(&undisturbed.weights), "other bits after {kills} kills");
}
