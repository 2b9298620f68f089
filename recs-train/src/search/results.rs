//! The file of a search's finished trials, by which one that was killed goes on.
//!
//! JSON lines. The first says which searches may use the file:
//! `{"format": 1, "metric": "recall_at_100", "folds": 3, "max_loss_ratio": null, "run": {…}}`, `run` being what a checkpoint
//! keeps to know its training: version, threads, settings, model, vocabulary and data. Every other line is a [`Trial`]. A
//! trial is known by its settings and epochs, whatever its number and rung: a search with more trials, another algorithm or
//! another space uses what is there. A line is written and synced when its trial ends; the last one, of a process that was
//! killed while it wrote, is cut off when it is not whole. A file that begins in any other way is left as it is.

use super::config::SearchConfig;
use super::space::Settings;
use super::trial::Trial;
use crate::checkpoint::{Fingerprint, claim};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
/// A longer first line is not ours.
const MAX_HEAD_BYTES: u64 = 4 << 20;
/// Settings by which no trial is trained or judged.
const FREE: [&str; 1] = ["refit"];

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    metric: String,
    folds: usize,
    max_loss_ratio: Option<f64>,
    run: Fingerprint,
}

/// The open file, ours until this is dropped.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    file: File,
    trials: Vec<Trial>,
}

impl Results {
    /// Opens the file, which is made where it is missing, and reads its trials. What it refuses it leaves as it is.
    ///
    /// # Errors
    /// [`Error::Results`] for a file that cannot be used, is of another search, or that another process uses.
    pub(super) fn open(
        path: &Path,
        config: &SearchConfig,
        max_loss_ratio: Option<f64>,
        run: Fingerprint,
    ) -> Result<Self> {
        let refuse = |reason: String| Error::Results { path: path.into(), reason };
        let fault = |e: std::io::Error| refuse(format!("{e}; name a file elsewhere, that can be written"));
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fault)?;
        if !claim(&file).map_err(fault)? {
            return Err(refuse("another search writes it; wait for that, or name another file".into()));
        }
        let (metric, folds, run) = (config.metric.name().to_owned(), config.folds, run.without(&FREE));
        let head = Head { format: FORMAT, metric, folds, max_loss_ratio, run };
        let mut results = Self { path: path.into(), file, trials: Vec::new() };
        // Nothing is changed before the file is known to be ours.
        let mut first = Vec::new();
        let mut reader = BufReader::new(&results.file).take(MAX_HEAD_BYTES);
        reader.read_until(b'\n', &mut first).map_err(fault)?;
        if first.ends_with(b"\n") {
            results.check(&head, &first)?;
            results.read_trials(first.len() as u64)?;
        } else if line(&head).map_err(fault)?.as_bytes().starts_with(&first) {
            // New, or its process was killed while it wrote this.
            results.file.set_len(0).map_err(fault)?;
            results.write(&head)?;
        } else {
            let reason =
                "is no file of a search: its first line is neither whole nor the beginning of this search's";
            return Err(refuse(format!("{reason}; delete it, or name another file")));
        }
        Ok(results)
    }

    /// Reads what stands after the head, then cuts off the end that is no line.
    fn read_trials(&mut self, head: u64) -> Result<()> {
        let refuse = |reason: String| Error::Results { path: self.path.clone(), reason };
        let fault = |e: std::io::Error| refuse(format!("{e}; name a file elsewhere, that can be written"));
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(head)).map_err(fault)?;
        self.file.read_to_end(&mut bytes).map_err(fault)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for (line, number) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').zip(2..) {
            let trial = serde_json::from_slice(line);
            self.trials.push(trial.map_err(|e| refuse(format!("line {number}: {e}; delete the line")))?);
        }
        if whole < bytes.len() {
            self.file.set_len(head + whole as u64).map_err(fault)?;
        }
        Ok(())
    }

    fn check(&self, ours: &Head, line: &[u8]) -> Result<()> {
        let refuse = |reason: String| Err(Error::Results { path: self.path.clone(), reason });
        let saved: Head = match serde_json::from_slice(line) {
            Ok(saved) => saved,
            Err(e) => return refuse(format!("is no file of a search: {e}; name another file")),
        };
        let mut differences = Vec::new();
        let mut compare = |name: &str, ours: String, theirs: String| {
            if ours != theirs {
                differences.push(format!("{name} is {ours}, there {theirs}"));
            }
        };
        compare("format", ours.format.to_string(), saved.format.to_string());
        compare("search.metric", ours.metric.clone(), saved.metric.clone());
        compare("search.folds", ours.folds.to_string(), saved.folds.to_string());
        let ratio = |head: &Head| format!("{:?}", head.max_loss_ratio);
        compare("train.max_loss_ratio", ratio(ours), ratio(&saved));
        differences.extend(ours.run.differences(&saved.run));
        if differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join("; ");
        refuse(format!(
            "its trials are not comparable with this search's: {differences}; search with the same settings and data, or \
             name another file"
        ))
    }

    /// The trial with these settings and epochs, if it ended before.
    pub(super) fn find(&self, settings: &Settings, epochs: usize) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.epochs == epochs && trial.settings == *settings)
    }

    /// Adds a trial.
    ///
    /// # Errors
    /// [`Error::Results`] when it cannot be written.
    pub(super) fn push(&mut self, trial: &Trial) -> Result<()> {
        self.write(trial)?;
        self.trials.push(trial.clone());
        Ok(())
    }

    fn write(&mut self, value: &impl Serialize) -> Result<()> {
        let written = line(value).and_then(|line| {
            self.file.write_all(line.as_bytes())?;
            self.file.sync_data()
        });
        let fault = |e| Error::Results {
            path: self.path.clone(),
            reason: format!("{e}; make room, and search again"),
        };
        written.map_err(fault)
    }
}

fn line(value: &impl Serialize) -> std::io::Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}
