//! The keys of several logs, followed while a server runs.

use super::{ApiKeys, AppState, Ask, Gate, KeyLog, KeyRecord, Refusal};
use crate::error::{Error, Result};
use axum::http::HeaderMap;
use recs_core::tenant::TenantId;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Longer than a store that is well takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who may ask while there is no key yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutKeys {
    /// Nobody.
    Closed,
    /// Everybody, until the first key is made; never again after it, revoked or not. Only for a server that is bound to a
    /// loopback address.
    Open,
}

/// The keys in some logs: a gate that knows within a while what was added and revoked.
///
/// Each log is read for itself: one that cannot be read, or holds what is no key of its owner, leaves its keys as they were
/// and the other logs alone.
#[derive(Debug)]
pub struct KeyRing {
    keys: ApiKeys,
    logs: Mutex<Vec<Followed>>,
    is_open: AtomicBool,
}

#[derive(Debug)]
struct Followed {
    log: KeyLog,
    /// None before it was read the first time.
    seen: Option<u64>,
    records: Vec<KeyRecord>,
}

impl KeyRing {
    /// Over logs of which none was read yet: nobody is let in before [`KeyRing::refresh`].
    pub fn new(logs: impl IntoIterator<Item = KeyLog>) -> Self {
        let followed = |log| Followed { log, seen: None, records: Vec::new() };
        let logs = Mutex::new(logs.into_iter().map(followed).collect());
        Self { keys: ApiKeys::default(), logs, is_open: AtomicBool::new(false) }
    }

    /// Reads all logs.
    ///
    /// # Errors
    /// The first failure of a log, as [`KeyLog::load`].
    pub async fn load(logs: impl IntoIterator<Item = KeyLog>, without: WithoutKeys) -> Result<Self> {
        let ring = Self::new(logs);
        if let Some(error) = ring.refresh().await.into_iter().next() {
            return Err(error);
        }
        let is_new = ring.logs.lock().await.iter().all(|followed| followed.seen == Some(0));
        ring.is_open.store(is_new && without == WithoutKeys::Open, Ordering::Relaxed);
        Ok(ring)
    }

    /// True when nobody can ask: there is no key, and it is not open either.
    pub fn is_shut(&self) -> bool {
        !self.is_open() && self.keys.is_empty()
    }

    /// True while everybody may ask, because no key was ever made.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Looks at every log, and reads those that changed. Gives back what failed.
    pub async fn refresh(&self) -> Vec<Error> {
        let (mut logs, mut failures, mut has_changed) = (self.logs.lock().await, Vec::new(), false);
        for followed in logs.iter_mut() {
            match within(followed.refresh()).await {
                Ok(changed) => has_changed |= changed,
                Err(error) => failures.push(error),
            }
        }
        if has_changed {
            if logs.iter().any(|followed| followed.seen.is_some_and(|seen| seen > 0)) {
                self.is_open.store(false, Ordering::Relaxed);
            }
            failures.extend(self.replace(&logs));
        }
        failures
    }

    /// Knows the keys of all logs. A key whose id another log has, too, is left out, whoever made it so: ids are random.
    fn replace(&self, logs: &[Followed]) -> Vec<Error> {
        let (mut ids, mut failures) = (HashSet::new(), Vec::new());
        let mut records: Vec<KeyRecord> = Vec::new();
        for record in logs.iter().flat_map(|followed| &followed.records) {
            match ids.insert(&record.id) {
                true => records.push(record.clone()),
                false => failures.push(Error::config(format!("keys.{}", record.id), "is in two logs")),
            }
        }
        failures.extend(self.keys.replace(&records).err());
        failures
    }

    /// Refreshes for ever, `every` so often. Failures are logged, and counted by `state`.
    pub async fn follow(self: Arc<Self>, state: AppState, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            for error in self.refresh().await {
                state.background_failed("keys");
                tracing::error!(%error, "API keys may be out of date");
            }
        }
    }
}

impl Followed {
    /// True when the keys are others now.
    async fn refresh(&mut self) -> Result<bool> {
        if self.seen == Some(self.log.version_after(self.seen.unwrap_or(0)).await?) {
            return Ok(false);
        }
        let (number, records) = self.log.load_numbered().await?;
        // Refuses what makes no sense before it is mixed with those of others.
        ApiKeys::new(&records)?;
        (self.seen, self.records) = (Some(number), records);
        Ok(true)
    }
}

async fn within<T>(job: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, job).await {
        Ok(done) => done,
        Err(_) => Err(Error::config("keys", format!("the store did not answer within {PATIENCE:?}"))),
    }
}

impl Gate for KeyRing {
    fn admit(&self, ask: &Ask<'_>) -> Result<TenantId, Refusal> {
        if self.is_open() {
            return ask.tenant.or(ask.default).cloned().ok_or(Refusal::NotYours);
        }
        self.keys.admit(ask)
    }

    fn who(&self, headers: &HeaderMap) -> Option<String> {
        self.keys.who(headers)
    }

    fn asks_for_keys(&self) -> bool {
        !self.is_open()
    }

    fn admit_operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_open() { Ok(()) } else { self.keys.admit_operator(headers) }
    }
}
