//! What time it is, according to the host.

use std::time::{SystemTime, UNIX_EPOCH};

/// The host's clock. Requests without a timestamp are answered as of now, and tests choose their own now.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Seconds since 1970-01-01 00:00 UTC.
    fn unix_seconds(&self) -> i64;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_seconds(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still: for tests and for replaying a day.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(
    /// Unix seconds that it shows.
    pub i64,
);

impl Clock for FixedClock {
    fn unix_seconds(&self) -> i64 {
        self.0
    }
}
