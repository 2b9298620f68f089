//! Encoded rows in files that are mapped instead of read: for data that memory has no room for.
//!
//! A cache is a folder with one folder for each combination of dataset, schema and vocabulary, named by a digest of them.
//! There, format version 2:
//!
//! | file | content, little-endian, one number after the other |
//! |---|---|
//! | `query_ids.u32`, `query_numbers.f32` | `[rows, tables]`, `[rows, numbers]` |
//! | `candidate.u32`, `product.u32`, `customer.u32`, `city.u32` | `[rows]` as in [`TrainData`] |
//! | `timestamp.i64` | `[rows]` |
//! | `candidate_ids.u32`, `candidate_numbers.f32` | distinct candidates, as the query's |
//! | `catalogue_{ids,candidate,name,category,subcategory}.u32` | `[products]` as in [`Catalogue`] |
//! | `columns.json` | version, rows, candidates, and size and SHA-256 of every file; written last |
//!
//! The folder is made under a name of its own and renamed when it is whole, so a reader never sees half of one and two
//! writers do not meet. What a killed writer left is removed after a day.

use super::catalogue::Catalogue;
use super::column::{Column, EncodedRows, Mapped};
use super::columns::{NO_PRODUCT, TrainData};
use super::encoded_with::EncodedWith;
use super::part::{Merged, RowColumns};
use bytemuck::Pod;
use memmap2::Mmap;
use recs_core::artifact::{Digest, DigestReader};
use recs_core::model::TowerColumns;
use recs_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const FORMAT_VERSION: u32 = 2;
pub(super) const MANIFEST: &str = "columns.json";
/// Rows a shard collects before it writes them.
pub(super) const FLUSH_ROWS: usize = 1 << 16;
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The row columns, in the order of [`Writer::files`].
const ROW_FILES: [&str; 7] = [
    "query_ids.u32",
    "query_numbers.f32",
    "candidate.u32",
    "product.u32",
    "customer.u32",
    "city.u32",
    "timestamp.i64",
];
const CANDIDATE: usize = 2;
const PRODUCT: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format_version: u32,
    rows: usize,
    candidates: usize,
    files: BTreeMap<String, Digest>,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let file = path.display().to_string();
    move |source| Error::io(&file, source)
}

/// Opens the data below `folder`, after every file was compared with its digest; None when there is none. What the columns
/// were encoded with is for the caller to say, and to check.
pub(super) fn open(folder: &Path) -> Result<Option<TrainData>> {
    let path = folder.join(MANIFEST);
    let json = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(io(&path))?,
    };
    let fault = |reason: String| Error::Document { file: path.display().to_string(), reason };
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| fault(e.to_string()))?;
    if manifest.format_version != FORMAT_VERSION {
        return Err(fault(format!(
            "format version {}, this library reads {FORMAT_VERSION}; remove the folder, it is made again",
            manifest.format_version
        )));
    }
    let files = Files { folder, manifest: &manifest };
    Ok(Some(TrainData {
        query: EncodedRows {
            rows: manifest.rows,
            ids: files.map("query_ids.u32")?,
            numbers: files.map("query_numbers.f32")?,
            bags: Vec::new(),
        },
        candidates: TowerColumns {
            rows: manifest.candidates,
            ids: files.map::<u32>("candidate_ids.u32")?.to_vec(),
            numbers: files.map::<f32>("candidate_numbers.f32")?.to_vec(),
            ..TowerColumns::default()
        },
        candidate: files.map("candidate.u32")?,
        product: files.map("product.u32")?,
        customer: files.map("customer.u32")?,
        city: files.map("city.u32")?,
        timestamp: files.map("timestamp.i64")?,
        catalogue: Catalogue {
            ids: files.map::<u32>("catalogue_ids.u32")?.to_vec(),
            candidate: files.map::<u32>("catalogue_candidate.u32")?.to_vec(),
            name: files.map::<u32>("catalogue_name.u32")?.to_vec(),
            category: files.map::<u32>("catalogue_category.u32")?.to_vec(),
            subcategory: files.map::<u32>("catalogue_subcategory.u32")?.to_vec(),
        },
        encoded_with: EncodedWith::default(),
    }))
}

struct Files<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
}

impl Files<'_> {
    fn map<T: Pod>(&self, name: &str) -> Result<Column<T>> {
        let path = self.folder.join(name);
        let shown = path.display().to_string();
        let Some(digest) = self.manifest.files.get(name) else {
            return Err(Error::Document { file: shown, reason: format!("is not listed in {MANIFEST}") });
        };
        let file = File::open(&path).map_err(io(&path))?;
        digest.verify(&shown, &digest_of(&file, &path)?)?;
        if digest.size_bytes == 0 {
            return Ok(Column::default());
        }
        // SAFETY: the file is the cache's own; nobody changes it after the folder got its name, only whole folders are
        // removed, and a removed file stays mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(io(&path))?;
        let reason = || format!("has {} bytes, not whole numbers", digest.size_bytes);
        Mapped::new(map).map(Column::Mapped).ok_or_else(|| Error::corrupt(&shown, reason()))
    }
}

fn digest_of(mut file: &File, path: &Path) -> Result<Digest> {
    file.seek(SeekFrom::Start(0)).map_err(io(path))?;
    DigestReader::new(file).finish().map_err(io(path))
}

/// Writes a cache folder while shards are read.
#[derive(Debug)]
pub(super) struct Writer {
    target: PathBuf,
    folder: tempfile::TempDir,
    files: [Mutex<File>; 7],
    rows: usize,
}

impl Writer {
    /// A writer of `target`, which is in the folder of the cache; `rows` are those of the dataset.
    pub(super) fn new(target: &Path, rows: usize) -> Result<Self> {
        if cfg!(target_endian = "big") {
            return Err(Error::config("cache", "needs a little-endian machine; train without"));
        }
        let parent = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(io(parent))?;
        sweep(parent);
        let folder = tempfile::Builder::new().prefix(".making-").tempdir_in(parent).map_err(io(parent))?;
        let mut files = Vec::new();
        for name in ROW_FILES {
            let path = folder.path().join(name);
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(&path).map_err(io(&path))?;
            files.push(Mutex::new(file));
        }
        let files = files.try_into().map_err(|_| Error::config("cache", "seven row files"))?;
        Ok(Self { target: target.into(), folder, files, rows })
    }

    /// Writes the columns as the rows `first..` and empties them.
    pub(super) fn write(&self, columns: &mut RowColumns, first: usize) -> Result<()> {
        let rows = columns.rows();
        let bytes: [&[u8]; 7] = [
            bytemuck::cast_slice(&columns.query.ids),
            bytemuck::cast_slice(&columns.query.numbers),
            bytemuck::cast_slice(&columns.candidate),
            bytemuck::cast_slice(&columns.product),
            bytemuck::cast_slice(&columns.customer),
            bytemuck::cast_slice(&columns.city),
            bytemuck::cast_slice(&columns.timestamp),
        ];
        for (i, bytes) in bytes.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let path = self.folder.path().join(ROW_FILES[i]);
            let mut file = self.files[i].lock().unwrap_or_else(PoisonError::into_inner);
            let at = (bytes.len() / rows * first) as u64;
            file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).map_err(io(&path))?;
        }
        columns.clear();
        Ok(())
    }

    /// Replaces the candidates of a shard's rows, which were written as the shard counts them, by their places among all.
    pub(super) fn place_candidates(&self, rows: Range<usize>, places: &[u32]) -> Result<()> {
        self.replace(CANDIDATE, rows, |local| places[local as usize])
    }

    /// Finishes the files with what all shards know together, and gives the folder its name.
    pub(super) fn finish(self, merged: Merged) -> Result<()> {
        let (catalogue, places) = Catalogue::of(&merged.latest);
        self.replace(PRODUCT, 0..self.rows, |id| places.get(&id).copied().unwrap_or(NO_PRODUCT))?;
        let candidates = merged.candidates();
        for (name, bytes) in [
            ("candidate_ids.u32", bytemuck::cast_slice(&candidates.ids)),
            ("candidate_numbers.f32", bytemuck::cast_slice(&candidates.numbers)),
            ("catalogue_ids.u32", bytemuck::cast_slice::<u32, u8>(&catalogue.ids)),
            ("catalogue_candidate.u32", bytemuck::cast_slice(&catalogue.candidate)),
            ("catalogue_name.u32", bytemuck::cast_slice(&catalogue.name)),
            ("catalogue_category.u32", bytemuck::cast_slice(&catalogue.category)),
            ("catalogue_subcategory.u32", bytemuck::cast_slice(&catalogue.subcategory)),
        ] {
            let path = self.folder.path().join(name);
            std::fs::write(&path, bytes).map_err(io(&path))?;
        }
        self.publish(candidates.rows)
    }

    /// Replaces the numbers of some rows in a row column by what `new(old)` gives.
    fn replace(&self, file: usize, rows: Range<usize>, new: impl Fn(u32) -> u32) -> Result<()> {
        let path = self.folder.path().join(ROW_FILES[file]);
        let mut file = self.files[file].lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = vec![0u32; FLUSH_ROWS.min(rows.len())];
        for first in rows.clone().step_by(FLUSH_ROWS) {
            let part = &mut numbers[..FLUSH_ROWS.min(rows.end - first)];
            let at = SeekFrom::Start(4 * first as u64);
            file.seek(at).and_then(|_| file.read_exact(bytemuck::cast_slice_mut(part))).map_err(io(&path))?;
            part.iter_mut().for_each(|number| *number = new(*number));
            file.seek(at).and_then(|_| file.write_all(bytemuck::cast_slice(part))).map_err(io(&path))?;
        }
        Ok(())
    }

    fn publish(self, candidates: usize) -> Result<()> {
        let folder = self.folder.path();
        let mut manifest =
            Manifest { format_version: FORMAT_VERSION, rows: self.rows, candidates, files: BTreeMap::new() };
        for entry in std::fs::read_dir(folder).map_err(io(folder))? {
            let path = entry.map_err(io(folder))?.path();
            let file = File::open(&path).map_err(io(&path))?;
            file.sync_all().map_err(io(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            manifest.files.insert(name, digest_of(&file, &path)?);
        }
        let path = folder.join(MANIFEST);
        let json = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::config("cache", e.to_string()))?;
        let written =
            File::create(&path).and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()));
        written.map_err(io(&path))?;
        match std::fs::rename(folder, &self.target) {
            // Somebody else made the same one meanwhile: theirs is as good, ours goes with its TempDir.
            Err(_) if self.target.join(MANIFEST).exists() => Ok(()),
            renamed => {
                renamed.map_err(io(&self.target))?;
                let _ = self.folder.keep();
                Ok(())
            }
        }
    }
}

/// Removes what writers left that were killed.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let abandoned = || {
            let modified = entry.metadata().ok()?.modified().ok()?;
            SystemTime::now().duration_since(modified).ok()
        };
        let ours = entry.file_name().to_string_lossy().starts_with(".making-");
        if ours && abandoned().is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
