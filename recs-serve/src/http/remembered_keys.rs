//! What logs of keys said last, for a start while the store is away.

use super::{KeyLog, KeyRecord};
use crate::deploy::put;
use recs_core::artifact::Digest;
use recs_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::Path;

/// A log, as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RememberedLog {
    /// Where it is.
    place: String,
    /// Number of its latest change then.
    pub(super) seen: u64,
    /// Of that entry, if it is one: a log that was begun anew has another.
    pub(super) entry: Option<Digest>,
    pub(super) keys: Vec<KeyRecord>,
}

impl RememberedLog {
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(log: &KeyLog, seen: u64, keys: &[KeyRecord]) -> crate::Result<Self> {
        let (place, entry) = (log.place().to_owned(), log.digest(seen).await?);
        Ok(Self { place, seen, entry, keys: keys.to_vec() })
    }

    /// What is remembered of a log; nothing that is not its own.
    pub(super) fn find<'a>(all: &'a [Self], log: &KeyLog) -> Option<&'a Self> {
        let is_its_own = |of: &&Self| of.place == log.place() && of.keys.iter().all(|key| log.owns(key));
        all.iter().find(is_its_own)
    }

    /// What a file remembers; nothing where it is not there, damaged or of another release.
    pub(super) fn read(file: &Path) -> Vec<Self> {
        let read = || serde_json::from_slice(&fs::read(file).ok()?).ok();
        read().unwrap_or_default()
    }

    /// Writes the file, whole or not at all, for this user's eyes.
    ///
    /// # Errors
    /// `Io` when the disk takes no file.
    pub(super) fn write(file: &Path, all: &[Self]) -> Result<()> {
        let document = |e: serde_json::Error| Error::document(file.display().to_string(), e.to_string());
        let json = serde_json::to_vec_pretty(all).map_err(document)?;
        put(file, |out| {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let only_me = fs::Permissions::from_mode(0o600);
                out.get_ref().set_permissions(only_me).map_err(|e| Error::io(file, e))?;
            }
            out.write_all(&json).map_err(|e| Error::io(file, e))
        })
    }
}
