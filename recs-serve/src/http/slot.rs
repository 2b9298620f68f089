//! What belongs to one tenant.

use super::ServeConfig;
use super::held::Room;
use super::limit::Limiter;
use super::together::Together;
use crate::deploy::Live;
use crate::monitor::Monitor;
use crate::registry::Registry;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What belongs to one tenant.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) live: Arc<Live>,
    /// Who watches it.
    pub(super) monitor: ArcSwapOption<Monitor>,
    /// For the routes that change what serves.
    pub(super) registry: ArcSwapOption<Registry>,
    pub(super) limiter: ArcSwap<Limiter>,
    /// For its requests under way.
    pub(super) room: Arc<Semaphore>,
    /// For its answers that are not sent yet.
    pub(super) unsent: Room,
    /// Requests that are answered together.
    pub(super) together: Together,
    shadowed: Mutex<Option<Instant>>,
}

impl Slot {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let room = config.max_in_flight_of_tenant.min(Semaphore::MAX_PERMITS);
        Self {
            live: Arc::default(),
            monitor: ArcSwapOption::default(),
            registry: ArcSwapOption::default(),
            limiter: ArcSwap::default(),
            room: Arc::new(Semaphore::new(room)),
            unsent: Room::new(config.max_unsent_bytes_of_tenant),
            together: Together::default(),
            shadowed: Mutex::new(None),
        }
    }
}

impl Slot {
    /// True while somebody else's request is under way, beside the one that asks.
    pub(super) fn is_shared(&self, config: &ServeConfig) -> bool {
        let most = config.max_in_flight_of_tenant.min(Semaphore::MAX_PERMITS);
        self.room.available_permits() + 1 < most
    }

    /// True once in `every`, for whoever asks first; somebody who asks at the same moment is told no.
    pub(super) fn shadow_is_due(&self, now: Instant, every: Duration) -> bool {
        let Ok(mut last) = self.shadowed.try_lock() else { return false };
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
