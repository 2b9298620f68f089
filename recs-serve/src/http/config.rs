//! How the router behaves.

use crate::error::{Error, Result};
use crate::retriever::MAX_BATCH;
use recs_core::tenant::TenantId;
use std::time::Duration;

/// How the router behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Whose model the routes without a tenant serve; None: they answer 404.
    pub default_tenant: Option<TenantId>,
    /// Largest body, 1 KiB to 1 GiB. A batch of 1000 plain requests has about 150 KiB.
    pub max_body_bytes: usize,
    /// A single request is answered on the thread that read it when looking at the whole catalogue takes at most so many
    /// multiply-adds, and by the workers otherwise. The default stays below a millisecond: one byte each, about 25 in a
    /// nanosecond.
    pub inline_multiply_adds: usize,
    /// So many single requests at most are answered together when they come while others are answered, where that is less work:
    /// where an index reads more than a cache holds. 1: each alone.
    pub together: usize,
    /// Requests to models under way at a time, from admission until the answer has left; one more is answered 503 at once.
    /// Probes and `/metrics` are always answered.
    pub max_in_flight: usize,
    /// As many of them may be one tenant's, so that no tenant takes the room of all others.
    pub max_in_flight_of_tenant: usize,
    /// Bytes of answers that are made and not sent yet: one more is answered 503 instead, so that clients who do not read take no more
    /// memory than this. An answer that is larger by itself takes all of it.
    pub max_unsent_bytes: usize,
    /// As many of them may be one tenant's.
    pub max_unsent_bytes_of_tenant: usize,
    /// Milliseconds from the head of a request to the head of its answer, the body's way included; then 408, or 503 when the body had come.
    pub time_limit_ms: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            default_tenant: None,
            max_body_bytes: 2 << 20,
            inline_multiply_adds: 16_000_000,
            together: 64,
            max_in_flight: 1024,
            max_in_flight_of_tenant: 256,
            max_unsent_bytes: 512 << 20,
            max_unsent_bytes_of_tenant: 128 << 20,
            time_limit_ms: 10_000,
        }
    }
}

impl ServeConfig {
    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }

    /// # Errors
    /// [`Error::Config`] for a limit out of range.
    pub(super) fn check(&self) -> Result<()> {
        if !(1 << 10..=1 << 30).contains(&self.max_body_bytes) {
            let reason = format!("is {}, allowed are 1 KiB to 1 GiB", self.max_body_bytes);
            return Err(Error::config("serve.max_body_bytes", reason));
        }
        if !(1..=MAX_BATCH).contains(&self.together) {
            let reason = format!("is {}, allowed are 1 to {MAX_BATCH}", self.together);
            return Err(Error::config("serve.together", reason));
        }
        if [self.max_in_flight, self.max_in_flight_of_tenant].contains(&0) || self.time_limit_ms == 0 {
            let reason = "max_in_flight, max_in_flight_of_tenant and time_limit_ms must be at least 1";
            return Err(Error::config("serve", reason));
        }
        if [self.max_unsent_bytes, self.max_unsent_bytes_of_tenant].iter().any(|bytes| *bytes < 1 << 20) {
            return Err(Error::config(
                "serve",
                "max_unsent_bytes and max_unsent_bytes_of_tenant must be at least 1 MiB",
            ));
        }
        Ok(())
    }
}
