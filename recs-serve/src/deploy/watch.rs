//! Versions that fail at their requests.

use super::Version;
use super::deployer::Deployer;
use super::part::Part;
use super::state::State;
use crate::error::{Error, Result};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Fewer requests than these say nothing about a version.
const MIN_REQUESTS: u64 = 20;

#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) part: Part,
    /// Somebody else serves it: whoever makes room takes it with them.
    pub(super) version: Weak<Version>,
    pub(super) since: Instant,
    /// What it had answered and failed at then.
    pub(super) before: (u64, u64),
}

impl Deployer {
    /// Goes back when the version that came into production lately fails at its requests, and ends a trial that does.
    pub(super) async fn check_watched(&self, state: &mut State) -> Result<()> {
        let longest = Duration::from_secs(self.config.watch_seconds);
        // A trial is watched as long as it lasts.
        let is_watched =
            |watch: &Watch| matches!(watch.part, Part::Canary) || watch.since.elapsed() <= longest;
        state.watched.retain(|watch| watch.version.strong_count() > 0 && is_watched(watch));
        let watched = state.watched.clone();
        for Watch { part, version, before, .. } in watched {
            let Some(version) = version.upgrade() else { continue };
            let (answered, failed) = version.counts();
            let (answered, failed) = (answered - before.0, failed - before.1);
            let total = answered + failed;
            if total < MIN_REQUESTS || failed as f64 <= total as f64 * self.config.max_failures {
                continue;
            }
            let reason = format!("it failed at {failed} of {total} requests");
            tracing::error!(
                version = version.name(),
                reason,
                part = part.name(),
                "a version is unfit to serve"
            );
            if self.config.roll_back {
                match self.leave(part, Some(version.name()), reason).await {
                    // Others decided already, or there is nothing to go back to.
                    Err(Error::Registry { reason }) => tracing::warn!(reason, "the registry stays as it is"),
                    done => drop(done?),
                }
            }
            // Said and done once.
            state.watched.retain(|watch| !watch.version.ptr_eq(&Arc::downgrade(&version)));
        }
        Ok(())
    }
}
