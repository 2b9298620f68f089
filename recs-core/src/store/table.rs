//! A table of files that grows.

use super::{NumberedLog, Store};
use crate::artifact::Digest;
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const SNAPSHOTS: &str = "_snapshots";
/// Entries that are read at a time.
const READ_AT_ONCE: usize = 16;
/// The same rows do not take more than so many times the bytes.
const LIKE: u64 = 16;
const MAX_SMALL_BYTES: u64 = 1 << 20;

/// One file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    /// Path relative to the table's folder.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Size and SHA-256.
    #[serde(flatten)]
    pub digest: Digest,
}

/// What one entry of the log changes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<TableFile>,
}

/// Files that are a table together: `_snapshots/NNNNNN.json` say which, so readers see whole files only, and what a killed
/// writer left is none of them. Several writers may add at a time.
#[derive(Debug, Clone)]
pub struct Table {
    folder: Store,
    log: NumberedLog,
}

impl Table {
    /// The table in the folder that `folder` is, see [`TenantRoot::table`](super::TenantRoot::table).
    ///
    /// # Errors
    /// None in practice.
    pub fn new(folder: Store) -> Result<Self> {
        Ok(Self { log: NumberedLog::new(folder.child(SNAPSHOTS)?), folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Store {
        &self.folder
    }

    /// The files, in the order in which they came. Cost: reads one small object for each time that files were added.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Document`] for an entry of another shape.
    pub async fn files(&self) -> Result<Vec<TableFile>> {
        let latest = self.log.latest_number().await?;
        let read = |number| async move {
            let bytes = self.log.get(number).await?;
            let shown = self.folder.show(&format!("{SNAPSHOTS}/{}", NumberedLog::file_name(number)));
            serde_json::from_slice::<Entry>(&bytes).map_err(|e| Error::document(shown, e.to_string()))
        };
        let entries = stream::iter(1..=latest).map(read).buffered(READ_AT_ONCE);
        let entries: Vec<Entry> = entries.try_collect().await?;
        // A writer that was killed before it could note that it had added a file adds the same again.
        let mut names = HashSet::new();
        let all = entries.into_iter().flat_map(|entry| entry.add);
        Ok(all.filter(|file| names.insert(file.file.clone())).collect())
    }

    /// Adds a file of `rows` rows. `name` belongs to these rows alone: adding it again, after a failure, changes nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn add(&self, name: &str, rows: u64, bytes: Bytes) -> Result<()> {
        let size = bytes.len() as u64;
        let digest = match self.folder.create(name, bytes).await {
            // An earlier try. What is there counts: the same rows may be other bytes by now, written by another version of this library.
            Err(Error::AlreadyExists { .. }) => {
                if self.files().await?.iter().any(|file| file.file == name) {
                    return Ok(());
                }
                let most = size.saturating_mul(LIKE).max(MAX_SMALL_BYTES);
                Digest::of(&self.folder.get(name, most).await?)
            }
            created => created?,
        };
        let entry = Entry { add: vec![TableFile { file: name.to_owned(), rows, digest }] };
        let json = serde_json::to_vec(&entry).map_err(|e| Error::document(name, e.to_string()))?;
        self.log.push(json.into()).await?;
        Ok(())
    }
}
