//! Which versions of a tenant's models serve, as the store says it.
//!
//! ```text
//! Registry::promote, rollback, canary, shadow -> one numbered entry each: who, when, why, and the deployment after it
//! ```
//!
//! | file | what |
//! |---|---|
//! | `deployment.rs` | [`Deployment`]: the labels production, canary and shadow, and the versions to go back to |
//! | `change.rs` | [`Change`]: one line of the audit, and what it did |
//! | `mod.rs` | [`Registry`]: changes by conditional put |
//!
//! Entries are never changed: the latest says what is to be served, all of them are the audit. Two who decide at the same
//! moment do not overwrite each other: the second reads what the first did, and decides again.

mod change;
mod deployment;

pub use change::{Action, Change};
pub use deployment::{Canary, Deployment, KEPT_VERSIONS};

use crate::error::{Error, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use recs_core::artifact::{Digest, MANIFEST_FILE};
use recs_core::store::{NumberedLog, TenantRoot};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most tries against others who change the same at the same moment.
const TRIES: usize = 20;
/// Entries of the log that are read at a time.
const READ_AT_ONCE: usize = 16;

/// Who asks for a change, when and why: a line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// RFC 3339, by the host's clock.
    pub at: String,
    /// A person, the id of a key, or the server itself.
    pub who: String,
    /// In words.
    pub why: String,
}

/// The labels of a tenant's models in the store.
#[derive(Debug, Clone)]
pub struct Registry {
    root: TenantRoot,
    log: NumberedLog,
    /// Number of the latest change that this one, or a clone of it, has seen.
    seen: Arc<AtomicU64>,
}

impl Registry {
    /// Of a tenant.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(root: &TenantRoot) -> Result<Self> {
        Ok(Self { root: root.clone(), log: root.deployment_log()?, seen: Arc::default() })
    }

    /// Number of the latest change; 0 before any. For looking whether anything changed.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails.
    pub async fn latest_number(&self) -> Result<u64> {
        Ok(self.log.latest_number().await?)
    }

    /// As [`Registry::latest_number`], for whoever has seen the change `seen`.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails, or has lost that change: then it is away, and says nothing.
    pub async fn latest_number_after(&self, seen: u64) -> Result<u64> {
        Ok(self.log.latest_number_after(seen).await?)
    }

    /// The digest of an entry; None for one that is not there.
    pub(crate) async fn digest(&self, number: u64) -> Result<Option<Digest>> {
        match self.log.get(number).await {
            Ok(entry) => Ok(Some(Digest::of(&entry))),
            Err(recs_core::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// What is to be served, and the number of the change that says so.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails, has lost what was seen of it before, or an entry is none of these.
    pub async fn current(&self) -> Result<(u64, Deployment)> {
        // A log that has lost what was seen of it is away, and not empty.
        let number = self.log.latest_number_after(self.seen.load(Ordering::Relaxed)).await?;
        self.seen.fetch_max(number, Ordering::Relaxed);
        match number {
            0 => Ok((0, Deployment::default())),
            number => Ok((number, Change::parse(number, &self.log.get(number).await?)?.deployment)),
        }
    }

    /// True when it was by going back that the version of change `number` came into production after change `seen`: looking at the
    /// latest [`READ_AT_ONCE`] changes.
    ///
    /// # Errors
    /// As [`Registry::current`].
    pub(crate) async fn went_back(&self, seen: u64, number: u64) -> Result<bool> {
        let read = async |number| Change::parse(number, &self.log.get(number).await?);
        let changes = stream::iter((seen + 1..=number).rev().take(READ_AT_ONCE)).map(read);
        let changes: Vec<Change> = changes.buffered(READ_AT_ONCE).try_collect().await?;
        // The newest first: the one that said last what is in production.
        let last = changes
            .iter()
            .find(|change| matches!(change.action, Action::Promote { .. } | Action::Rollback { .. }));
        Ok(last.is_some_and(|change| matches!(change.action, Action::Rollback { .. })))
    }

    /// The audit: the latest `most` changes, the newest first.
    ///
    /// # Errors
    /// As [`Registry::current`].
    pub async fn history(&self, most: usize) -> Result<Vec<Change>> {
        let latest = self.log.latest_number().await?;
        let read = async |number| Change::parse(number, &self.log.get(number).await?);
        stream::iter((1..=latest).rev().take(most)).map(read).buffered(READ_AT_ONCE).try_collect().await
    }

    /// Serves a version from now on; the one before is kept to go back to. A canary of the same version ends.
    ///
    /// # Errors
    /// [`Error::Core`] for a version that is not published, or when the store fails; [`Error::Registry`] for the one that serves
    /// already.
    pub async fn promote(&self, version: &str, by: &By) -> Result<Deployment> {
        self.published(version).await?;
        self.change(Action::Promote { version: version.to_owned() }, by).await
    }

    /// Goes back from the version `from`, or from the one that is in production now, to the one before it. Several who decide
    /// at the same moment to leave the same version go back once.
    ///
    /// # Errors
    /// [`Error::Registry`] when there is none to go back to, when it is not published any more, or when `from` is not in
    /// production (any more); [`Error::Core`] when the store fails.
    pub async fn rollback(&self, from: Option<&str>, by: &By) -> Result<Deployment> {
        let (_, seen) = self.current().await?;
        let from = from.map(str::to_owned).or(seen.production);
        self.change(Action::Rollback { from }, by).await
    }

    /// Lets a version answer a share of the customers, above 0 and at most 1; None ends it.
    ///
    /// # Errors
    /// As [`Registry::promote`]; [`Error::Registry`] for another share, or without a version in production.
    pub async fn canary(&self, canary: Option<Canary>, by: &By) -> Result<Deployment> {
        if let Some(canary) = &canary {
            self.published(&canary.version).await?;
        }
        self.change(Action::Canary { canary, seen: None }, by).await
    }

    /// Lets a version answer every request beside production, without anybody being told; None ends it.
    ///
    /// # Errors
    /// As [`Registry::promote`].
    pub async fn shadow(&self, version: Option<&str>, by: &By) -> Result<Deployment> {
        if let Some(version) = version {
            self.published(version).await?;
        }
        self.change(Action::Shadow { version: version.map(str::to_owned), seen: None }, by).await
    }

    /// Ends a trial, if it is still that of the version `seen`.
    ///
    /// # Errors
    /// [`Error::Registry`] when there is another one now, or none; [`Error::Core`] when the store fails.
    pub async fn end_canary(&self, seen: Option<&str>, by: &By) -> Result<Deployment> {
        self.change(Action::Canary { canary: None, seen: seen.map(str::to_owned) }, by).await
    }

    /// Ends an unseen run, if it is still that of the version `seen`.
    ///
    /// # Errors
    /// As [`Registry::end_canary`].
    pub async fn end_shadow(&self, seen: Option<&str>, by: &By) -> Result<Deployment> {
        self.change(Action::Shadow { version: None, seen: seen.map(str::to_owned) }, by).await
    }

    /// A version that is whole has its manifest.
    async fn published(&self, version: &str) -> Result<()> {
        match self.root.model(version)?.size_bytes(MANIFEST_FILE).await {
            Ok(_) => Ok(()),
            Err(recs_core::Error::NotFound { .. }) => {
                Err(Error::registry(format!("version {version:?} is not published")))
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn change(&self, action: Action, by: &By) -> Result<Deployment> {
        for _ in 0..TRIES {
            let (number, before) = self.current().await?;
            let deployment = before.after(&action)?;
            if let (Action::Rollback { .. }, Some(back)) = (&action, &deployment.production) {
                self.published(back).await?;
            }
            let change = Change { by: by.clone(), action: action.clone(), deployment };
            fail::fail_point!("registry-append");
            let appended = self.log.append_unique(number, change.to_json()?.into()).await;
            fail::fail_point!("registry-appended");
            match appended {
                Err(recs_core::Error::AlreadyExists { .. }) => {}
                done => return done.map(|_| change.deployment).map_err(Error::from),
            }
        }
        Err(Error::registry("others change it all the time: try again"))
    }
}
