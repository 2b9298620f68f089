//! `manifest.json`: what belongs to a model version.

use super::Digest;
use crate::error::{Error, Result};
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the file.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of the layout that this library writes.
pub const ARTIFACT_FORMAT_VERSION: u32 = 1;
/// Oldest version that this library reads.
const OLDEST_READABLE: u32 = 1;
const MAX_FILES: usize = 10_000;

/// Lists every file of a model version. Created last: without it there is no model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`ARTIFACT_FORMAT_VERSION`].
    pub format_version: u32,
    /// The model's version, also the name of its folder.
    pub model_version: String,
    /// Whose it is; a model found in another tenant's folder is refused.
    pub tenant: TenantId,
    /// When, RFC 3339 in UTC, by the publisher's clock.
    pub created_at: String,
    /// Size and digest by file name.
    pub files: BTreeMap<String, Digest>,
}

impl Manifest {
    /// Reads and checks the JSON; `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Version`].
    pub fn parse(json: &[u8], file: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format_version: u32,
        }
        let fault = |e: serde_json::Error| Error::document(file, e.to_string());
        let head: Head = serde_json::from_slice(json).map_err(fault)?;
        if !(OLDEST_READABLE..=ARTIFACT_FORMAT_VERSION).contains(&head.format_version) {
            let (oldest, newest) = (OLDEST_READABLE, ARTIFACT_FORMAT_VERSION);
            return Err(Error::Version { file: file.into(), got: head.format_version, oldest, newest });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(fault)?;
        if manifest.files.len() > MAX_FILES {
            return Err(Error::document(file, format!("lists more than {MAX_FILES} files")));
        }
        for (name, digest) in &manifest.files {
            let plain = !name.is_empty()
                && !name.starts_with('/')
                && !name.split('/').any(|s| matches!(s, "" | "." | ".."));
            if !plain {
                return Err(Error::document(file, format!("file name {name:?} is no plain relative path")));
            }
            if digest.sha256.len() != 64
                || !digest.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(Error::document(file, format!("{name}: sha256 is not 64 lower-case hex digits")));
            }
        }
        Ok(manifest)
    }

    /// The JSON, indented, ending in a newline.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|e| Error::document(MANIFEST_FILE, e.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }
}
