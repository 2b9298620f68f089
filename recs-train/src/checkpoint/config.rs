//! Where and how often.

use super::Folder;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where, how often and how many. Changes nothing of what a run computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// The run's own folder; made when it is not there.
    pub folder: PathBuf,
    /// Steps from one checkpoint to the next.
    #[serde(default)]
    pub every_steps: Option<u64>,
    /// Minutes from the end of one checkpoint to the next.
    #[serde(default)]
    pub every_minutes: Option<f64>,
    /// Files that are kept, at least 1. With 2 or more a damaged one costs no more than the time to the one before.
    #[serde(default = "two")]
    pub keep: usize,
    /// Discards what is in the folder and starts at the beginning.
    #[serde(default)]
    pub fresh: bool,
    /// Leaves the checkpoints of a finished run, for [`CheckpointConfig::remove`] once its model is stored.
    #[serde(default)]
    pub keep_finished: bool,
}

fn two() -> usize {
    2
}

impl CheckpointConfig {
    /// Every 5 minutes, the last 2 kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every_steps: None,
            every_minutes: Some(5.0),
            keep: two(),
            fresh: false,
            keep_finished: false,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: &str| Err(Error::config(format!("checkpoint.{field}"), reason));
        if cfg!(target_endian = "big") {
            return refuse("folder", "needs a little-endian machine; train without checkpoints");
        }
        match (self.every_steps, self.every_minutes) {
            (None, None) => refuse("every_steps", "and every_minutes are missing: give one of them"),
            (Some(0), _) => refuse("every_steps", "is 0, must be at least 1"),
            (_, Some(minutes)) if !(minutes.is_finite() && minutes > 0.0) => {
                refuse("every_minutes", "must be above 0")
            }
            _ if self.keep == 0 => refuse("keep", "is 0, must be at least 1"),
            _ => Ok(()),
        }
    }

    /// Removes all checkpoints in the folder: what a host with `keep_finished` calls once it has stored its model.
    ///
    /// # Errors
    /// [`Error::CheckpointBusy`] while somebody trains there, [`Error::Core`] when files cannot be removed.
    pub fn remove(&self) -> Result<()> {
        Folder::claim(&self.folder)?.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let refused = |change: fn(&mut CheckpointConfig)| {
            let mut config = CheckpointConfig::new("folder");
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(CheckpointConfig::new("folder").validate().is_ok());
        assert!(refused(|c| c.every_minutes = None).contains("checkpoint.every_steps"));
        assert!(refused(|c| c.every_steps = Some(0)).contains("checkpoint.every_steps"));
        assert!(refused(|c| c.every_minutes = Some(f64::NAN)).contains("checkpoint.every_minutes"));
        assert!(refused(|c| c.keep = 0).contains("checkpoint.keep"));
    }
}
