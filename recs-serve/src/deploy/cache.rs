//! Versions on this machine's disk, ready to be mapped.

use crate::error::{Error, Result};
use crate::index::{HnswIndex, Index, IndexConfig};
use crate::model::{GRAPH_FILE, SERVED_FILE, ServingModel};
use recs_core::artifact::{ArtifactFiles, Manifest};
use recs_core::observe::CancelToken;
use recs_core::store::TenantRoot;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const MODEL: &str = "recs";
const GRAPH: &str = "hnsw";
const UNFINISHED: &str = "part";
/// Whoever writes for longer than this was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folder of a tenant in a store: `{version}.{digest of its manifest}.recs`, and `.hnsw` beside it where there is a graph.
///
/// Files are written beside their place and renamed, so that a name always has a whole file, whoever is killed when. A file that
/// is damaged all the same is deleted and made again.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: &Path, root: &TenantRoot) -> Self {
        // Stores apart: each deletes what it has no more use for.
        Self { folder: folder.join(root.local_name()) }
    }

    /// Where a version's model is, or is to be; `digest` is that of its manifest.
    pub(super) fn place(&self, version: &str, digest: &str) -> PathBuf {
        let digest = digest.get(..16).unwrap_or(digest);
        self.folder.join(format!("{version}.{digest}.{MODEL}"))
    }

    /// Copies to `place` what the version brings along to be mapped, as far as that is not there.
    ///
    /// # Errors
    /// Those of [`ArtifactFiles::read_attachment`]; `Io` when the disk takes no file.
    pub(super) async fn fetch(place: &Path, root: &TenantRoot, manifest: &Manifest) -> Result<()> {
        for (name, place) in [(GRAPH_FILE, place.with_extension(GRAPH)), (SERVED_FILE, place.to_owned())] {
            if !manifest.files.contains_key(name) || place.exists() {
                continue;
            }
            let keep = move |source: &mut (dyn io::Read + Send)| {
                put(&place, |out| {
                    io::copy(source, out).map_err(|e| recs_core::Error::io(&place, e)).map(drop)
                })
            };
            ArtifactFiles::read_attachment(root, manifest, name, keep).await?;
        }
        Ok(())
    }

    /// A file beside the versions.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes such a file, whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> recs_core::Result<()> {
        let place = self.file(name);
        put(&place, |out| out.write_all(bytes).map_err(|e| recs_core::Error::io(&place, e)))
    }

    /// Maps the file at `place`, if there is a sound one.
    pub(super) fn map(place: &Path) -> Option<ServingModel> {
        place.exists().then(|| sound(place, ServingModel::map(place))).flatten()
    }

    /// Writes a model to `place` and maps it. A disk that takes no file costs memory, no failure: then the model is given back.
    pub(super) fn keep(place: &Path, model: ServingModel) -> ServingModel {
        let written = put(place, |out| model.write_all(out).map_err(|e| recs_core::Error::io(place, e)));
        match written.map_err(Error::Core).and_then(|()| ServingModel::map(place)) {
            Ok(mapped) => mapped,
            Err(error) => {
                tracing::warn!(%error, "a model is served from memory instead of a mapped file");
                model
            }
        }
    }

    /// The index of a model at `place`: the graph beside it, if there is a sound one, or one that is built and put there.
    ///
    /// # Errors
    /// Those of [`ServingModel::index`].
    pub(super) fn index(
        place: &Path,
        model: &ServingModel,
        config: &IndexConfig,
        cancel: &CancelToken,
    ) -> Result<Index> {
        let graph = place.with_extension(GRAPH);
        if model.has_graph(config)
            && graph.exists()
            && let Some(index) = sound(&graph, model.open_graph(&graph))
        {
            // How it is built is the publisher's choice, how carefully it is searched this server's.
            return Ok(Index::Hnsw(index.with_ef_search(config.hnsw.ef_search)?));
        }
        let index = model.index(config, cancel)?;
        let Index::Hnsw(built) = &index else { return Ok(index) };
        let write = |out: &mut BufWriter<File>| {
            out.write_all(built.bytes()).map_err(|e| recs_core::Error::io(&graph, e))
        };
        let mapped = put(&graph, write).map_err(Error::Core).and_then(|()| model.open_graph(&graph));
        let warn =
            |error: &Error| tracing::warn!(%error, "a graph is searched in memory, not in a mapped file");
        let mapped: Option<HnswIndex> = mapped.inspect_err(warn).ok();
        Ok(mapped.map_or(index, Index::Hnsw))
    }

    /// Deletes the files of versions other than these, and what nobody will finish. What is mapped stays readable.
    pub(super) fn prune(&self, keep: &[&str]) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_of = |version: &&str| name.strip_prefix(*version).is_some_and(is_ours);
            let is_abandoned = || {
                let modified = entry.metadata().and_then(|of| of.modified()).ok();
                let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
                age.is_some_and(|age| age > ABANDONED)
            };
            let goes = match path.extension().and_then(|of| of.to_str()) {
                Some(MODEL | GRAPH) => !keep.iter().any(is_of),
                Some(UNFINISHED) => is_abandoned(),
                _ => false,
            };
            if goes && let Err(error) = fs::remove_file(&path) {
                tracing::debug!(%error, path = %path.display(), "a file of an old version stays");
            }
        }
    }
}

/// True for what follows a version's name: a digest, and an ending.
fn is_ours(rest: &str) -> bool {
    rest.strip_prefix('.').is_some_and(|rest| rest.split('.').count() == 2)
}

/// What was read from a file; a file that is damaged is deleted.
fn sound<T>(path: &Path, read: Result<T>) -> Option<T> {
    read.inspect_err(|error| {
        tracing::warn!(%error, "a file of the cache cannot be used: it is made again");
        if matches!(
            error,
            Error::Index { .. }
                | Error::Core(recs_core::Error::Corrupt { .. } | recs_core::Error::Version { .. })
        ) {
            let _ = fs::remove_file(path);
        }
    })
    .ok()
}

/// Writes a file beside its place, has the disk keep it, and renames it.
pub(crate) fn put(
    place: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> recs_core::Result<()>,
) -> recs_core::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| recs_core::Error::io(place, io::Error::other(e)))?;
    let unfinished = place.with_extension(format!("{:016x}.{UNFINISHED}", u64::from_le_bytes(random)));
    let failed = |source| recs_core::Error::io(&unfinished, source);
    let written = (|| {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&unfinished).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        fail::fail_point!("cache-create");
        write(&mut out)?;
        fail::fail_point!("cache-written");
        let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        fail::fail_point!("cache-synced");
        fs::rename(&unfinished, place).map_err(failed)?;
        fail::fail_point!("cache-renamed");
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}
