//! Publishing and loading a model version.

use super::tables;
use super::{
    ARTIFACT_FORMAT_VERSION, Attachment, Candidates, Customers, Digest, MANIFEST_FILE, Manifest,
    ModelMetadata,
};
use super::{CANDIDATES_FILE, CUSTOMERS_FILE, MAX_PROBES, PROBE_FILE, Probe};
use crate::error::{Error, Result};
use crate::model::{ModelConfig, WEIGHTS_FILE, Weights};
use crate::store::{Publication, Store, TenantRoot};
use crate::vocab::{VOCABULARY_FILE, Vocabulary};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const MODEL_FILE: &str = "model.json";
const METADATA_FILE: &str = "model_metadata.json";
const STATS_FILE: &str = "training_stats.json";
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// A model is held in memory as a whole; a file beyond this is refused before it is read.
const MAX_FILE_BYTES: u64 = 64 << 30;

/// A trained model with everything that serving it needs.
#[derive(Debug, Clone)]
pub struct ModelArtifact {
    /// Sizes, settings, results; holds the version.
    pub metadata: ModelMetadata,
    /// Architecture.
    pub config: ModelConfig,
    /// Both towers.
    pub weights: Arc<Weights>,
    /// Ids and buckets.
    pub vocabulary: Arc<Vocabulary>,
    /// The catalogue with its embeddings.
    pub candidates: Arc<Candidates>,
    /// Purchases of the training rows.
    pub customers: Arc<Customers>,
    /// Purchases that it is judged by before it serves; at most [`MAX_PROBES`] customers, none for a model without test rows.
    pub probe: Arc<[Probe]>,
    /// Losses, durations, baselines: for people.
    pub training_stats: Value,
}

impl ModelArtifact {
    /// Publishes the model under `{root}/models/{version}`, manifest last, and notes it in the tenant's model log.
    /// `created_at` is RFC 3339 by the host's clock.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for a version that is there already, [`Error::BeingWritten`] for one that another writer
    /// is at, [`Error::Store`]; those of [`ModelArtifact::load`] for a model that could not be loaded again. Nothing
    /// half-written is visible, and what was written is deleted.
    pub async fn publish(&self, root: &TenantRoot, created_at: &str) -> Result<Manifest> {
        self.publish_with(root, created_at, Vec::new()).await
    }

    /// As [`ModelArtifact::publish`], with files that others read.
    ///
    /// # Errors
    /// As [`ModelArtifact::publish`], those of the attachments, and [`Error::Document`] for one that has the name of another file.
    pub async fn publish_with(
        &self,
        root: &TenantRoot,
        created_at: &str,
        attachments: Vec<Attachment>,
    ) -> Result<Manifest> {
        let version = &self.metadata.model_version;
        let folder = root.model(version)?;
        self.validate()?;
        let mut publication = match Publication::begin(folder, MANIFEST_FILE).await {
            Err(e @ Error::AlreadyExists { .. }) => {
                // Whoever published it may have been killed before it was noted.
                if !is_noted(root, version).await? {
                    note(root, version, created_at).await?;
                }
                return Err(e);
            }
            publication => publication?,
        };
        let files = match self.put_files(&mut publication, attachments).await {
            Ok(files) => files,
            Err(e) => {
                publication.abort().await;
                return Err(e);
            }
        };
        let manifest = Manifest {
            format_version: ARTIFACT_FORMAT_VERSION,
            model_version: version.clone(),
            tenant: root.tenant().clone(),
            created_at: created_at.into(),
            files,
        };
        publication.commit(manifest.to_json()?.into()).await?;
        note(root, version, created_at).await?;
        Ok(manifest)
    }

    /// Refuses what could not be loaded again.
    fn validate(&self) -> Result<()> {
        self.config.validate()?;
        self.candidates.validate(CANDIDATES_FILE)?;
        self.customers.validate(&self.candidates, CUSTOMERS_FILE)?;
        self.weights.check_finite(&self.config, &self.vocabulary, WEIGHTS_FILE)?;
        match self.probe.len() {
            0..=MAX_PROBES => self.check_dim(CANDIDATES_FILE.into()),
            many => Err(Error::document(PROBE_FILE, format!("{many} customers, allowed are {MAX_PROBES}"))),
        }
    }

    fn check_dim(&self, file: String) -> Result<()> {
        let (vectors, dim) = (&self.candidates.vectors, self.config.embedding_dim());
        if vectors.ncols() == dim {
            return Ok(());
        }
        let expected = vec![vectors.nrows(), dim];
        Err(Error::Shape { file, tensor: "vector".into(), expected, got: vectors.shape().to_vec() })
    }

    async fn put_files(
        &self,
        publication: &mut Publication,
        attachments: Vec<Attachment>,
    ) -> Result<BTreeMap<String, Digest>> {
        let mut files = BTreeMap::new();
        let documents = [
            (MODEL_FILE, json(&self.config, MODEL_FILE)?),
            (METADATA_FILE, json(&self.metadata, METADATA_FILE)?),
            (STATS_FILE, json(&self.training_stats, STATS_FILE)?),
            (VOCABULARY_FILE, self.vocabulary.to_json(&self.config.schema)?),
        ];
        for (name, bytes) in documents {
            files.insert(name.to_owned(), publication.put(name, bytes.into()).await?);
        }
        // Streamed, since stores refuse a single put of some gigabytes.
        let weights = self.weights.to_safetensors(&self.config, &self.vocabulary)?;
        let write = move |out: &mut (dyn std::io::Write + Send)| {
            out.write_all(&weights).map_err(|e| Error::io(WEIGHTS_FILE, e))
        };
        files.insert(WEIGHTS_FILE.into(), publication.put_with(WEIGHTS_FILE, write).await?.1);
        let candidates = Arc::clone(&self.candidates);
        let (_, digest) =
            publication.put_with(CANDIDATES_FILE, move |out| candidates.write_parquet(out)).await?;
        files.insert(CANDIDATES_FILE.into(), digest);
        let (candidates, customers) = (Arc::clone(&self.candidates), Arc::clone(&self.customers));
        let write = move |out: &mut (dyn std::io::Write + Send)| customers.write_parquet(&candidates, out);
        files.insert(CUSTOMERS_FILE.into(), publication.put_with(CUSTOMERS_FILE, write).await?.1);
        let probe = Arc::clone(&self.probe);
        let write = move |out: &mut (dyn std::io::Write + Send)| tables::write_probe(&probe, out);
        files.insert(PROBE_FILE.into(), publication.put_with(PROBE_FILE, write).await?.1);
        for Attachment { name, fill } in attachments {
            if name == MANIFEST_FILE || files.contains_key(&name) {
                return Err(Error::document(
                    publication.store().show(&name),
                    "is a file of the model itself",
                ));
            }
            let (_, digest) = publication.put_with(&name, fill).await?;
            files.insert(name, digest);
        }
        Ok(files)
    }

    /// The newest version in the tenant's model log.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing was ever published.
    pub async fn latest_version(root: &TenantRoot) -> Result<String> {
        let log = root.model_log()?;
        let shown = root.store().show("registry/models");
        let (_, entry) = log.latest().await?.ok_or_else(|| Error::NotFound { path: shown.clone() })?;
        let entry: Value =
            serde_json::from_slice(&entry).map_err(|e| Error::document(&shown, e.to_string()))?;
        let version = entry.get("model_version").and_then(Value::as_str);
        Ok(version
            .ok_or_else(|| Error::document(&shown, "the latest entry has no model_version"))?
            .to_owned())
    }

    /// Loads a version, every file verified against the manifest: [`ArtifactFiles::fetch`], and [`ArtifactFiles::open`] on a
    /// thread of tokio's for blocking work.
    ///
    /// # Errors
    /// Those of both.
    pub async fn load(root: &TenantRoot, version: &str) -> Result<Self> {
        let files = ArtifactFiles::fetch(root, version).await?;
        let job = tokio::task::spawn_blocking(move || files.open());
        job.await.map_err(|_| Error::Worker { doing: "reading a model" })?
    }
}

/// The files of a version as they came from the store: nothing of them is trusted yet.
#[derive(Debug)]
pub struct ArtifactFiles {
    folder: Store,
    manifest: Manifest,
    files: BTreeMap<&'static str, Bytes>,
}

/// All that [`ModelArtifact`] is made of.
const FILES: [&str; 8] = [
    MODEL_FILE,
    METADATA_FILE,
    STATS_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    CANDIDATES_FILE,
    CUSTOMERS_FILE,
    PROBE_FILE,
];

impl ArtifactFiles {
    /// Gets the manifest of a version, and its own digest: that of all that the version is.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`]; [`Error::Document`] for a manifest of another tenant or version.
    pub async fn manifest(root: &TenantRoot, version: &str) -> Result<(Manifest, Digest)> {
        let folder = root.model(version)?;
        let (shown, bytes) =
            (folder.show(MANIFEST_FILE), folder.get(MANIFEST_FILE, MAX_MANIFEST_BYTES).await?);
        let manifest = Manifest::parse(&bytes, &shown)?;
        if &manifest.tenant != root.tenant() || manifest.model_version != version {
            let (tenant, found) = (&manifest.tenant, &manifest.model_version);
            return Err(Error::document(
                shown,
                format!("is of tenant {tenant}, version {found}: it was copied here by hand"),
            ));
        }
        Ok((manifest, Digest::of(&bytes)))
    }

    /// Gets all files of a version. Waits for the store; no work for a processor.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`]; [`Error::Document`] for a manifest of another tenant or version;
    /// [`Error::Digest`] for a file of another size than the manifest says.
    pub async fn fetch(root: &TenantRoot, version: &str) -> Result<Self> {
        let (folder, (manifest, _)) = (root.model(version)?, Self::manifest(root, version).await?);
        let shown = folder.show(MANIFEST_FILE);
        let mut files = BTreeMap::new();
        for name in FILES {
            let Some(expected) = manifest.files.get(name) else {
                // Versions that were published before there was one have none.
                if name == PROBE_FILE {
                    continue;
                }
                return Err(Error::document(shown, format!("does not list {name}")));
            };
            let bytes = folder.get(name, MAX_FILE_BYTES).await?;
            if bytes.len() as u64 != expected.size_bytes {
                let found = Digest { size_bytes: bytes.len() as u64, sha256: String::new() };
                expected.verify(&folder.show(name), &found)?;
            }
            files.insert(name, bytes);
        }
        Ok(Self { folder, manifest, files })
    }

    /// Verifies every digest and reads the model. Work for one processor, about a second for 500 MB.
    ///
    /// # Errors
    /// [`Error::Digest`], [`Error::Version`], [`Error::Shape`], [`Error::Corrupt`] and [`Error::Document`], each naming the
    /// file.
    pub fn open(mut self) -> Result<ModelArtifact> {
        let config: ModelConfig = self.parse(MODEL_FILE)?;
        config.validate()?;
        let (vocabulary, shown) = (self.take(VOCABULARY_FILE)?, self.folder.show(VOCABULARY_FILE));
        let vocabulary = Vocabulary::parse(&vocabulary, &config.schema, &shown)?;
        let (weights, shown) = (self.take(WEIGHTS_FILE)?, self.folder.show(WEIGHTS_FILE));
        let weights = Weights::from_safetensors(&weights, &config, &vocabulary, &shown)?;
        let candidates =
            Candidates::read_parquet(self.take(CANDIDATES_FILE)?, &self.folder.show(CANDIDATES_FILE))?;
        let (customers, shown) = (self.take(CUSTOMERS_FILE)?, self.folder.show(CUSTOMERS_FILE));
        let customers = Customers::read_parquet(customers, &candidates, &shown)?;
        let probe = match self.files.contains_key(PROBE_FILE) {
            true => tables::read_probe(self.take(PROBE_FILE)?, &self.folder.show(PROBE_FILE))?,
            false => Vec::new(),
        };
        let model = ModelArtifact {
            probe: probe.into(),
            metadata: self.parse(METADATA_FILE)?,
            config,
            weights: Arc::new(weights),
            vocabulary: Arc::new(vocabulary),
            candidates: Arc::new(candidates),
            customers: Arc::new(customers),
            training_stats: self.parse(STATS_FILE)?,
        };
        model.check_dim(self.folder.show(CANDIDATES_FILE))?;
        Ok(model)
    }

    /// A file, verified; its bytes are freed with what was read from them.
    fn take(&mut self, name: &'static str) -> Result<Bytes> {
        let (bytes, expected) = (self.files.remove(name), self.manifest.files.get(name));
        let lost = || Error::document(self.folder.show(MANIFEST_FILE), format!("does not list {name}"));
        let (bytes, expected) = bytes.zip(expected).ok_or_else(lost)?;
        expected.verify(&self.folder.show(name), &Digest::of(&bytes))?;
        Ok(bytes)
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self, name: &'static str) -> Result<T> {
        let bytes = self.take(name)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::document(self.folder.show(name), e.to_string()))
    }
}

fn json<T: serde::Serialize>(value: &T, file: &str) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::document(file, e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Adds a version to the tenant's model log.
async fn note(root: &TenantRoot, version: &str, created_at: &str) -> Result<()> {
    let entry = serde_json::json!({"model_version": version, "created_at": created_at});
    root.model_log()?.push(entry.to_string().into()).await.map(drop)
}

/// Whether the tenant's model log names a version. Cost: one read an entry.
async fn is_noted(root: &TenantRoot, version: &str) -> Result<bool> {
    let log = root.model_log()?;
    for number in (1..=log.latest_number().await?).rev() {
        let entry: Value = serde_json::from_slice(&log.get(number).await?).unwrap_or_default();
        if entry.get("model_version").and_then(Value::as_str) == Some(version) {
            return Ok(true);
        }
    }
    Ok(false)
}
