//! Whether a store is there.

use crate::error::Result;
use recs_core::Error;
use recs_core::store::TenantRoot;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A store that was there once.
const SEEN_FILE: &str = "store.seen";

/// Remembers that a tenant's store had models: if it has none later, it is away, like a folder whose disk is not mounted, and what is
/// written there would not be seen again.
#[derive(Debug)]
pub(super) struct StoreMark {
    root: TenantRoot,
    /// Remembers it for the next process, too.
    file: Option<PathBuf>,
    is_seen: AtomicBool,
}

impl StoreMark {
    /// In `folder` of this machine's disk, or in memory.
    pub(super) fn new(root: &TenantRoot, folder: Option<&Path>) -> Self {
        let file = folder.map(|folder| folder.join(SEEN_FILE));
        let is_seen = AtomicBool::new(file.as_ref().is_some_and(|file| file.exists()));
        Self { root: root.clone(), file, is_seen }
    }

    /// # Errors
    /// [`Error::NotFound`] when the store is away, those of the store, [`Error::Io`] when the disk takes no mark.
    pub(super) async fn check(&self) -> Result<()> {
        if self.root.model_log()?.latest_number().await? == 0 {
            return match self.is_seen.load(Ordering::Relaxed) {
                true => Err(Error::NotFound { path: self.root.store().show("registry/models") }.into()),
                false => Ok(()),
            };
        }
        if !self.is_seen.load(Ordering::Relaxed) {
            if let Some(file) = &self.file {
                std::fs::write(file, "").map_err(|e| Error::io(file, e))?;
            }
            self.is_seen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
