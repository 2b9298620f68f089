//! Files that were cut, changed or forged.

use super::{assert_equal, every_step, files, fit, recommended, warned};
use proptest::prelude::*;
use recs_core::artifact::Digest;
use recs_train::{CheckpointConfig, Error, TrainConfig};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn config() -> TrainConfig {
    TrainConfig { epochs: 2, refit: false, ..recommended() }
}

/// The last two checkpoints of a run.
fn whole() -> &'static [(PathBuf, Vec<u8>); 2] {
    static FILES: OnceLock<[(PathBuf, Vec<u8>); 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        block_on(fit(&config(), every_step(folder.path()))).unwrap();
        let mut files = files(folder.path());
        let mut pop = || {
            let file = files.pop().unwrap();
            (PathBuf::from(file.file_name().unwrap()), std::fs::read(&file).unwrap())
        };
        let newest = pop();
        [pop(), newest]
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn folder(files: &[(&Path, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

/// What training says of a folder with this file only.
fn refused(bytes: &[u8]) -> Error {
    let folder = folder(&[(&whole()[1].0, bytes)]);
    block_on(fit(&config(), CheckpointConfig::new(folder.path()))).unwrap_err()
}

fn assert_damaged(bytes: &[u8], what: &str) {
    match refused(bytes) {
        Error::CheckpointDamaged { reasons, .. } => {
            assert!(reasons.len() == 1 && reasons[0].contains("checkpoint-0"), "{what}: {reasons:?}");
        }
        other => panic!("{what}: {other}"),
    }
}

/// The file with its digest made right again.
fn forged(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = whole()[1].1.clone();
    change(&mut bytes);
    let key = b"\"sha256\":\"";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    bytes[at..at + 64].fill(b'0');
    let digest = Digest::of(&bytes).sha256;
    bytes[at..at + 64].copy_from_slice(digest.as_bytes());
    bytes
}

/// Replaces text in the header by text of the same length.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

/// Where the numbers of a tensor stand.
fn place(bytes: &[u8], name: &str) -> usize {
    let (header, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    8 + header + metadata.info(name).unwrap().data_offsets.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_flipped_bit_and_any_cut_is_seen(at in 0.0..1.0f64, near in any::<bool>(), bit in 0u8..8) {
        let mut bytes = whole()[1].1.clone();
        // Half of them in the header.
        let (header, _) = SafeTensors::read_metadata(&bytes).unwrap();
        let at = (at * if near { header as f64 } else { bytes.len() as f64 }) as usize;
        assert_damaged(&bytes[..at], &format!("cut to {at}"));
        bytes[at] ^= 1 << bit;
        assert_damaged(&bytes, &format!("bit {bit} of byte {at}"));
    }
}

#[test]
fn lengths_out_of_all_proportion_are_refused_before_anything_is_allocated() {
    for length in [u64::MAX, 1 << 62, 1 << 40, 64 << 20] {
        let mut bytes = whole()[1].1.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert_damaged(&bytes, "header length");
    }
    assert_damaged(b"", "empty");
    assert_damaged(&[0; 8], "no header");
    let long = [&whole()[1].1[..], b"more"].concat();
    assert_damaged(&long, "appended");
    // Offsets and shapes that the digest vouches for, which contradict the file all the same.
    for (from, to) in [("\"shape\":[1]", "\"shape\":[9]"), ("\"dtype\":\"F64\"", "\"dtype\":\"U64\"")] {
        let bytes = forged(|bytes| replace(bytes, from, to));
        let error = refused(&bytes);
        let typed =
            matches!(error, Error::CheckpointDamaged { .. } | Error::Core(recs_core::Error::Shape { .. }));
        assert!(typed, "{to}: {error}");
    }
}

#[test]
fn forged_numbers_end_in_an_error() {
    let number = |name: &'static str, value: u32| {
        forged(move |bytes| {
            let at = place(bytes, name);
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    let name = "candidate.product_id.embedding.last";
    for (bytes, expected) in [
        (number(name, u32::MAX), "contradict"),
        (number("steps.embeddings.done", 1), "contradict"),
        (number("steps.dense.done", 77), "contradict"),
        (number("steps.embeddings.base", 5), "contradict"),
        (forged(|b| replace(b, name, "candidate.product_id.embedding.lost")), "candidate.product_id"),
        (forged(|b| replace(b, "\\\"place\\\"", "\\\"plaze\\\"")), "state"),
        (forged(|b| replace(b, "\\\"first\\\"", "\\\"refit\\\"")), "refit"),
        (forged(|b| replace(b, "{\\\"epoch\\\":1,\\\"sums\\\"", "{\\\"epoch\\\":9,\\\"sums\\\"")), "epochs"),
        (forged(|b| replace(b, "\"format_version\":\"1\"", "\"format_version\":\"9\"")), "format version 9"),
        (forged(|b| replace(b, "\"recs-checkpoint\"", "\"recs-chuckpoint\"")), "no checkpoint"),
    ] {
        let message = refused(&bytes).to_string();
        assert!(message.contains(expected) && message.contains("checkpoint-0"), "{expected}: {message}");
    }
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_the_one_before() {
    let [(older, old), (newer, new)] = whole();
    let mut damaged = new.clone();
    damaged[new.len() / 2] ^= 1;
    let folder = folder(&[(older, old), (newer, &damaged)]);
    let checkpoints = CheckpointConfig { keep_finished: true, ..CheckpointConfig::new(folder.path()) };
    let (fitted, warnings) = block_on(warned(&config(), checkpoints));
    let undisturbed = block_on(fit(&config(), CheckpointConfig::new(folder.path().join("another")))).unwrap();
    assert_equal(&fitted.unwrap(), &undisturbed, "from the one before");
    assert!(warnings[0].contains(newer.to_str().unwrap()) && warnings[0].contains("sha256"), "{warnings:?}");
    assert!(warnings[1].contains(older.to_str().unwrap()), "{warnings:?}");
    assert_eq!(files(folder.path()), [folder.path().join(older)]);
}
