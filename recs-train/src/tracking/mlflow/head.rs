//! `<run>.json`: what a run is, and how far the server has it.
//!
//! Replaced as a whole (a new file renamed over the old one) after every request that succeeded. Losing the last
//! replacement means that the last request is made again, which changes nothing on the server.

use super::config::MlflowConfig;
use super::entry::now_ms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

/// Version of the two files' format.
const FORMAT: u32 = 1;
/// Of a key.
const TIME_DIGITS: usize = 13;
const RANDOM_DIGITS: usize = 16;
/// Tag by which a run is found again when the answer to its creation was lost.
pub(super) const KEY_TAG: &str = "recs.run_key";

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: u32,
    /// The server that the run was begun for.
    pub(super) tracking_uri: String,
    pub(super) experiment: String,
    pub(super) run_name: Option<String>,
    /// Unix milliseconds.
    pub(super) start_time: i64,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) progress: Progress,
}

/// What the server has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Bytes of the journal that are done with.
    pub(super) offset: u64,
    pub(super) experiment_id: Option<String>,
    pub(super) run_id: Option<String>,
    pub(super) artifact_uri: Option<String>,
    /// The journal began anew: it no longer holds the whole run.
    pub(super) is_shortened: bool,
    /// A file of the run was refused: no model version is made of an incomplete folder.
    pub(super) lacks_files: bool,
}

impl Head {
    /// A run that begins now, under a new key.
    pub(super) fn new(config: &MlflowConfig, url: &str) -> (String, Self) {
        let key = new_key();
        let mut tags = config.tags.clone();
        let source = || {
            let program = std::env::current_exe().ok();
            let name = program.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
            name.unwrap_or_else(|| env!("CARGO_PKG_NAME").into())
        };
        tags.entry("mlflow.source.name".into()).or_insert_with(source);
        tags.entry("mlflow.source.type".into()).or_insert_with(|| "LOCAL".into());
        tags.entry("recs.version".into()).or_insert_with(|| env!("CARGO_PKG_VERSION").into());
        tags.insert(KEY_TAG.into(), key.clone());
        let head = Self {
            format: FORMAT,
            tracking_uri: url.into(),
            experiment: config.experiment.clone(),
            run_name: config.run_name.clone(),
            start_time: now_ms(),
            tags,
            progress: Progress::default(),
        };
        (key, head)
    }

    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let head: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        if head.format != FORMAT {
            let what = format!("format {} of a spool file; this version reads {FORMAT}", head.format);
            return Err(Error::new(ErrorKind::InvalidData, what));
        }
        Ok(head)
    }

    /// Replaces the file.
    pub(super) fn write(&self, path: &Path, sync: bool) -> Result<()> {
        let new = path.with_extension("json.new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(&new, path)?;
        if let (true, Some(folder)) = (sync, path.parent()) {
            // Names of new files are safe once their folder is; systems that cannot open a folder do so by themselves.
            let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

/// The two files of a run.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) journal: PathBuf,
    pub(super) head: PathBuf,
}

impl Paths {
    pub(super) fn new(folder: &Path, key: &str) -> Self {
        Self { journal: folder.join(format!("{key}.jsonl")), head: folder.join(format!("{key}.json")) }
    }

    /// Everything is sent. Whoever waits for the lock finds nothing.
    pub(super) fn remove(&self) -> Result<()> {
        for half_written in [self.head.with_extension("json.new"), self.journal.with_extension("jsonl.new")] {
            let _ = std::fs::remove_file(half_written);
        }
        std::fs::remove_file(&self.head)?;
        std::fs::remove_file(&self.journal)
    }
}

/// Keys of the runs in a folder, oldest first. Files of other names are not ours.
pub(super) fn keys(folder: &Path) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|s| s.to_str());
        if let (Some(stem), true) =
            (stem.filter(|s| is_key(s)), path.extension().is_some_and(|e| e == "jsonl"))
        {
            keys.push(stem.to_owned());
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Sorts by time; unique without asking anybody.
fn new_key() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:0TIME_DIGITS$}-{:0RANDOM_DIGITS$x}", now_ms(), random() ^ random().rotate_left(32))
}

/// True for what [`new_key`] makes.
fn is_key(name: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    name.split_once('-').is_some_and(|(time, random)| {
        let lengths = (time.len(), random.len());
        lengths == (TIME_DIGITS, RANDOM_DIGITS)
            && time.chars().all(|c| c.is_ascii_digit())
            && random.chars().all(is_hex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_and_keys_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (key, mut head) = Head::new(&MlflowConfig::new("http://127.0.0.1:1"), "http://127.0.0.1:1");
        let paths = Paths::new(folder.path(), &key);
        head.write(&paths.head, true).unwrap();
        head.progress.offset = 7;
        head.write(&paths.head, false).unwrap();
        assert_eq!(Head::read(&paths.head).unwrap(), head);
        assert_eq!(head.tags[KEY_TAG], key);
        let (old, older) = ("1500000000000-00000000000000ff", "1400000000000-0123456789abcdef");
        for key in [old, older] {
            std::fs::write(Paths::new(folder.path(), key).journal, "").unwrap();
        }
        let others = ["a.jsonl", "1-00000000000000ff.jsonl", "1500000000000-00000000000000fF.jsonl"];
        for name in others.into_iter().chain(["1500000000000-00000000000000ff.json", "15-0.jsonl"]) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(keys(folder.path()).unwrap(), [older, old]);
        let keys = [new_key(), new_key()];
        assert!(keys[0] != keys[1] && keys.iter().all(|key| is_key(key)), "{keys:?}");
    }
}
