//! The keys of several logs, followed while a server runs.

use super::remembered_keys::RememberedLog;
use super::{ApiKeys, AppState, Ask, Gate, KeyLog, KeyRecord, Refusal};
use crate::error::{Error, Result};
use axum::http::HeaderMap;
use recs_core::tenant::TenantId;
use std::collections::HashSet;
use std::path::PathBuf;
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
    /// A file of this machine that knows what the logs said last.
    remembered: Option<PathBuf>,
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
        Self { keys: ApiKeys::default(), logs, is_open: AtomicBool::new(false), remembered: None }
    }

    /// Remembers in a file of this machine what the logs say: hashes, no keys. So a server may start while the store is away, with the
    /// keys that were good last. What is remembered of a log that was begun anew since is forgotten.
    #[must_use]
    pub fn remembering(mut self, file: PathBuf) -> Self {
        self.remembered = Some(file);
        self
    }

    /// Reads all logs, for the first time. A log that cannot be read has the keys that are remembered of it, or none. Gives back what
    /// failed, as [`KeyRing::refresh`].
    pub async fn load(&self, without: WithoutKeys) -> Vec<Error> {
        self.recall().await;
        let (failures, logs) = (self.refresh().await, self.logs.lock().await);
        let is_new = logs.iter().all(|followed| followed.seen == Some(0));
        self.is_open.store(is_new && without == WithoutKeys::Open, Ordering::Relaxed);
        failures
    }

    /// Begins with what is remembered, where that may be of this store.
    async fn recall(&self) {
        let Some(file) = self.remembered.clone() else { return };
        let all = tokio::task::spawn_blocking(move || RememberedLog::read(&file)).await.unwrap_or_default();
        let mut logs = self.logs.lock().await;
        let mut is_there = false;
        for followed in logs.iter() {
            is_there |= within(async { Ok(followed.log.is_there().await) }).await.unwrap_or(false);
        }
        for followed in logs.iter_mut() {
            let Some(found) = RememberedLog::find(&all, &followed.log) else { continue };
            let is_it = match within(followed.log.digest(found.seen)).await {
                Ok(Some(entry)) => found.entry == Some(entry),
                // A store that is there, and has not what it had, was begun anew.
                Ok(None) => found.entry.is_none() || !is_there,
                Err(_) => true,
            };
            // As those from the store: what makes no sense is not mixed with others.
            if is_it && ApiKeys::new(&found.keys).is_ok() {
                (followed.seen, followed.records) = (Some(found.seen), found.keys.clone());
            }
        }
        let _ = self.replace(&logs);
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
            self.remember(&logs).await;
        }
        failures
    }

    /// A help and no duty: what fails is told of, and nothing else.
    async fn remember(&self, logs: &[Followed]) {
        let Some(file) = self.remembered.clone() else { return };
        let written = async {
            let mut all = Vec::new();
            for Followed { log, seen, records } in logs {
                if let Some(seen) = seen {
                    all.push(within(RememberedLog::of(log, *seen, records)).await?);
                }
            }
            let write = tokio::task::spawn_blocking(move || RememberedLog::write(&file, &all));
            Ok::<_, Error>(write.await.map_err(|_| Error::Worker { doing: "remembering keys" })??)
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "keys are not remembered for a start without the store");
        }
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
