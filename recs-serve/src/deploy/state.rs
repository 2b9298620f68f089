//! What a deployer knows between two looks at the registry.

use super::watch::Watch;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two tries to load a version that could not be loaded, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Number of the change that is served, all of it.
    pub(super) seen: Option<u64>,
    /// Number of the change that is remembered on this machine's disk.
    pub(super) remembered: Option<u64>,
    /// The latest change that there is known to be.
    pub(super) latest: u64,
    /// A version that serves without the registry's word.
    pub(super) unspoken: Option<String>,
    /// Versions that could not be loaded, for a fault that is not theirs.
    pub(super) failed: BTreeMap<String, Failed>,
    pub(super) watched: Vec<Watch>,
}

#[derive(Debug)]
pub(super) struct Failed {
    wait: Duration,
    until: Instant,
}

impl State {
    pub(super) fn may_try(&self, version: &str) -> bool {
        self.failed.get(version).is_none_or(|failed| failed.until <= Instant::now())
    }

    pub(super) fn failed(&mut self, version: &str) {
        let wait = self.failed.get(version).map_or(FIRST_WAIT, |failed| (2 * failed.wait).min(LONGEST_WAIT));
        let failed = Failed { wait, until: Instant::now() + wait };
        self.failed.insert(version.to_owned(), failed);
    }
}
