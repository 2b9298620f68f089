//! How a tenant is watched.

use super::AlertConfig;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a tenant is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Share of the lists that are looked at and kept, 0 to 1.
    pub sample: f64,
    /// But at most so many a second: a list of 100 products takes about 2 KiB in the table, so 10 a second all day are 1.7 GB. A day
    /// is a folder, `warehouse/predictions/served-{date}/`, that nothing else refers to: delete those that are old enough.
    pub max_a_second: u32,
    /// Between two times at which what was gathered is written.
    pub ship_seconds: u64,
    /// Between two checks of the limits.
    pub check_seconds: u64,
    /// Bytes of the lists that are held while the store does not answer: the latest. A list of 100 products takes about 5 KiB there.
    pub max_held_bytes: usize,
    /// Lists that coverage, personalisation and drift are told of.
    pub window_lists: usize,
    /// A folder on this machine's disk where events wait for the store; None: events are refused.
    pub spool: Option<PathBuf>,
    /// Events are refused while more wait there.
    pub max_spool_bytes: u64,
    /// Limits beyond which people are told.
    pub alerts: AlertConfig,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            sample: 1.0,
            max_a_second: 10,
            ship_seconds: 60,
            check_seconds: 60,
            max_held_bytes: 32 << 20,
            window_lists: 20_000,
            spool: None,
            max_spool_bytes: 1 << 30,
            alerts: AlertConfig::default(),
        }
    }
}

impl MonitorConfig {
    /// # Errors
    /// [`Error::Config`] for settings out of range.
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(Error::config("monitor.sample", format!("is {}, allowed are 0 to 1", self.sample)));
        }
        if self.ship_seconds == 0 || self.check_seconds == 0 {
            return Err(Error::config("monitor", "ship_seconds and check_seconds must be at least 1"));
        }
        if ((self.window_lists / 2) as u64) < self.alerts.min_lists {
            let reason = "must be at least twice alerts.min_lists: half a window is always known";
            return Err(Error::config("monitor.window_lists", reason));
        }
        Ok(())
    }
}
