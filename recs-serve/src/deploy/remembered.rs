//! What was served last, for a start while the store is away.

use super::cache::Cache;
use crate::registry::Deployment;
use recs_core::artifact::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const FILE: &str = "deployment.json";

/// A deployment that was served whole, and where its versions are on this machine's disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// Of the change that said so.
    pub(super) number: u64,
    /// Of that entry: another store, or one that was begun anew, has another.
    pub(super) entry: Digest,
    pub(super) deployment: Deployment,
    /// Files of the versions, by name.
    pub(super) places: BTreeMap<String, PathBuf>,
}

impl Remembered {
    /// What is remembered; nothing where the file is damaged or of another release.
    pub(super) fn read(cache: &Cache) -> Option<Self> {
        serde_json::from_slice(&fs::read(cache.file(FILE)).ok()?).ok()
    }

    /// Remembers it. That is a help and no duty: a disk that takes no file is told, and nothing else.
    pub(super) fn write(&self, cache: &Cache) {
        let written = serde_json::to_vec_pretty(self)
            .map_err(|e| recs_core::Error::document(FILE, e.to_string()))
            .and_then(|json| cache.write(FILE, &json));
        if let Err(error) = written {
            tracing::warn!(%error, "what is served is not remembered for a start without the store");
        }
    }

    pub(super) fn forget(cache: &Cache) {
        let _ = fs::remove_file(cache.file(FILE));
    }
}
