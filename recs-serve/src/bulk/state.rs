//! What is noted of a run.

use crate::error::{Error, Result};
use bytes::Bytes;
use recs_core::artifact::Digest;
use recs_core::store::{NumberedLog, Store, TenantRoot};
use serde::{Deserialize, Serialize};

/// Name of the file that says that a run is finished.
pub const BULK_METADATA_FILE: &str = "metadata.json";
const PARTS: &str = "_parts";
const LAYER: &str = "predictions";
/// Largest file of the run's own that is read back.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// What all parts of a run have in common: fixed by its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) model_version: String,
    pub(super) timestamp: i64,
    pub(super) part_requests: usize,
}

/// One file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkPart {
    /// Path relative to `metadata.json`.
    pub file: String,
    /// Rows in it: one a request.
    pub rows: u64,
    /// Products in all of its lists.
    pub items: u64,
    /// Size and SHA-256 of the file.
    #[serde(flatten)]
    pub digest: Digest,
    /// SHA-256 of what was asked.
    pub asked_sha256: String,
}

/// `metadata.json` of a finished run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkMetadata {
    /// Which version answered.
    pub model_version: String,
    /// Unix seconds: when requests that do not say were asked.
    pub timestamp: i64,
    /// Requests answered.
    pub requests: u64,
    /// Products in all lists.
    pub items: u64,
    /// The files in the order of the requests.
    pub parts: Vec<BulkPart>,
}

impl BulkMetadata {
    /// Reads that of a finished run.
    ///
    /// # Errors
    /// [`recs_core::Error::NotFound`] for a run that is not finished; those of the store; a document of another shape.
    pub async fn load(root: &TenantRoot, run: &str) -> Result<Self> {
        let folder = folder(root, run)?;
        let bytes = folder.get(BULK_METADATA_FILE, MAX_METADATA_BYTES).await?;
        read(&bytes, &folder.show(BULK_METADATA_FILE))
    }
}

fn folder(root: &TenantRoot, run: &str) -> Result<Store> {
    Ok(root.table(LAYER, &format!("bulk-{run}"))?)
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], file: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| recs_core::Error::document(file, e.to_string()).into())
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value).map_err(|e| recs_core::Error::document(PARTS, e.to_string()))?;
    Ok(bytes.into())
}

/// A run that is not finished.
pub(super) struct Run {
    folder: Store,
    /// Entry 1 has the settings, entry `i + 2` part `i`.
    log: NumberedLog,
    settings: Settings,
    parts: Vec<BulkPart>,
}

impl Run {
    /// Begins a run, or goes on with one.
    ///
    /// # Errors
    /// As [`recommend_all`](super::recommend_all).
    pub(super) async fn open(root: &TenantRoot, run: &str, settings: Settings) -> Result<Self> {
        let folder = folder(root, run)?;
        if folder.size_bytes(BULK_METADATA_FILE).await.is_ok() {
            return Err(recs_core::Error::AlreadyExists { path: folder.show(BULK_METADATA_FILE) }.into());
        }
        let log = NumberedLog::new(folder.child(PARTS)?);
        let latest = log.latest_number().await?;
        if latest == 0 {
            log.append(0, json(&settings)?).await?;
            return Ok(Self { folder, log, settings, parts: Vec::new() });
        }
        let show = |number| folder.show(&format!("{PARTS}/{}", NumberedLog::file_name(number)));
        let begun: Settings = read(&log.get(1).await?, &show(1))?;
        if (&begun.model_version, begun.part_requests) != (&settings.model_version, settings.part_requests) {
            let reason = format!(
                "was begun with version {} in parts of {}: go on with these, or give the run another name",
                begun.model_version, begun.part_requests
            );
            return Err(Error::config("run", reason));
        }
        let mut parts = Vec::new();
        for number in 2..=latest {
            parts.push(read(&log.get(number).await?, &show(number))?);
        }
        Ok(Self { folder, log, settings: begun, parts })
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Those that are done.
    pub(super) fn parts(&self) -> &[BulkPart] {
        &self.parts
    }

    /// Requests of the first `parts`.
    pub(super) fn requests(&self, parts: usize) -> u64 {
        self.parts.iter().take(parts).map(|part| part.rows).sum()
    }

    /// Keeps the next part. Its name holds some of its digest: of two processes at one run, who must be told sooner or later,
    /// neither writes over what the other has noted.
    ///
    /// # Errors
    /// [`recs_core::Error::AlreadyExists`] when another process has noted this part.
    pub(super) async fn keep(&mut self, rows: u64, items: u64, asked: Digest, file: Bytes) -> Result<()> {
        let digest = Digest::of(&file);
        let short: String = digest.sha256.chars().take(8).collect();
        let name = format!("part-{:05}-{short}.parquet", self.parts.len());
        self.folder.put(&name, file).await?;
        fail::fail_point!("bulk-part-written");
        let part = BulkPart { file: name, rows, items, digest, asked_sha256: asked.sha256 };
        self.log.append(self.parts.len() as u64 + 1, json(&part)?).await?;
        fail::fail_point!("bulk-part-noted");
        self.parts.push(part);
        Ok(())
    }

    /// Says that all is there.
    pub(super) async fn finish(self) -> Result<BulkMetadata> {
        let metadata = BulkMetadata {
            model_version: self.settings.model_version,
            timestamp: self.settings.timestamp,
            requests: self.parts.iter().map(|part| part.rows).sum(),
            items: self.parts.iter().map(|part| part.items).sum(),
            parts: self.parts,
        };
        self.folder.create(BULK_METADATA_FILE, json(&metadata)?).await?;
        Ok(metadata)
    }
}
