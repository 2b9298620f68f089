//! One checkpoint.

use super::Tensor;
use recs_core::artifact::{DigestReader, DigestWriter};
use recs_core::{Error, Result};
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "recs-checkpoint";
const FORMAT_VERSION: u32 = 1;
/// Header that is read at most: the state of 100,000 epochs has some 20 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;
const LENGTH_BYTES: u64 = 8;
const DIGEST_KEY: &str = "\"sha256\":\"";
const NO_DIGEST: [u8; 64] = [b'0'; 64];

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::io(path, source)
}

/// Writes a checkpoint to `path`: under the name `making` first, which is `path`'s once everything is on the disk.
///
/// # Errors
/// [`Error::Io`]; nothing is left then.
pub(crate) fn write(making: &Path, path: &Path, state: String, tensors: &[Tensor<'_>]) -> Result<()> {
    let written = create(making, state, tensors).and_then(|()| {
        std::fs::rename(making, path).map_err(io(path))?;
        path.parent().map_or(Ok(()), sync_folder)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(making);
    }
    written
}

/// Makes a new name last through a crash of the machine.
fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn create(making: &Path, state: String, tensors: &[Tensor<'_>]) -> Result<()> {
    let header = header(state, tensors)?;
    let digest_at =
        digest_at(&header).ok_or_else(|| Error::corrupt(making.display().to_string(), "digest"))?;
    let file = File::create(making).map_err(io(making))?;
    let mut writer = DigestWriter::new(BufWriter::with_capacity(1 << 20, file));
    let write = |writer: &mut DigestWriter<BufWriter<File>>| -> std::io::Result<()> {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        tensors.iter().try_for_each(|tensor| writer.write_all(tensor.bytes()))
    };
    write(&mut writer).map_err(io(making))?;
    let (buffer, digest) = writer.finish();
    let mut file = buffer.into_inner().map_err(|e| io(making)(e.into_error()))?;
    let at = SeekFrom::Start(LENGTH_BYTES + digest_at as u64);
    let patched = file.seek(at).and_then(|_| file.write_all(digest.sha256.as_bytes()));
    patched.and_then(|()| file.sync_all()).map_err(io(making))
}

/// The header, its length a multiple of 8, with zeros for the digest.
fn header(state: String, tensors: &[Tensor<'_>]) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::document("checkpoint", reason);
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("format_version".to_owned(), FORMAT_VERSION.to_string()),
        ("sha256".to_owned(), String::from_utf8_lossy(&NO_DIGEST).into_owned()),
        ("state".to_owned(), state),
    ]);
    let (mut infos, mut at) = (Vec::with_capacity(tensors.len()), 0);
    for tensor in tensors {
        let to = at + tensor.bytes().len();
        let info = TensorInfo { dtype: tensor.dtype(), shape: tensor.shape.clone(), data_offsets: (at, to) };
        infos.push((tensor.name.clone(), info));
        at = to;
    }
    let metadata = Metadata::new(Some(metadata), infos).map_err(|e| refuse(e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| refuse(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Where the digits of the digest stand in a header. Quotes inside the state are escaped, so the key stands there once.
fn digest_at(header: &[u8]) -> Option<usize> {
    let at = header.windows(DIGEST_KEY.len()).position(|w| w == DIGEST_KEY.as_bytes())? + DIGEST_KEY.len();
    (header.len() >= at + NO_DIGEST.len()).then_some(at)
}

/// A whole checkpoint, ready to be read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    file: File,
    table: Metadata,
    data_at: u64,
}

impl Checkpoint {
    /// Opens a file after its digest was found right. Memory: its header, 64 MiB at most.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::TooLarge`] and [`Error::Digest`] for a file that is damaged, [`Error::Version`],
    /// [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let corrupt = |reason: String| Error::corrupt(&shown, reason);
        let mut file = File::open(path).map_err(io(path))?;
        let size = file.metadata().map_err(io(path))?.len();
        let (length, header) = read_header(&mut file, size, path)?;
        let at = digest_at(&header).ok_or_else(|| corrupt("its header has no digest".into()))?;
        let expected = String::from_utf8_lossy(&header[at..at + NO_DIGEST.len()]).into_owned();
        let mut blank = header.clone();
        blank[at..at + NO_DIGEST.len()].copy_from_slice(&NO_DIGEST);
        let data = BufReader::with_capacity(1 << 20, &mut file);
        let whole = (&length[..]).chain(&blank[..]).chain(data);
        let got = DigestReader::new(whole).finish().map_err(io(path))?.sha256;
        if got != expected {
            return Err(Error::Digest { file: shown, what: "sha256", expected, got });
        }
        // Offsets are checked against shapes and types.
        let table: Metadata = serde_json::from_slice(&header).map_err(|e| corrupt(e.to_string()))?;
        let data_at = LENGTH_BYTES + header.len() as u64;
        if table.data_len() as u64 != size - data_at {
            return Err(corrupt(format!("has {size} bytes, its header says otherwise")));
        }
        let checkpoint = Self { path: path.into(), file, table, data_at };
        checkpoint.check_version(&shown)?;
        Ok(checkpoint)
    }

    fn check_version(&self, shown: &str) -> Result<()> {
        if self.text("format") != Some(FORMAT) {
            return Err(Error::corrupt(shown, "is a safetensors file, but no checkpoint"));
        }
        match self.text("format_version").and_then(|v| v.parse().ok()) {
            Some(FORMAT_VERSION) => Ok(()),
            got => Err(Error::Version {
                file: shown.into(),
                got: got.unwrap_or(0),
                oldest: FORMAT_VERSION,
                newest: FORMAT_VERSION,
            }),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.table.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What stands beside the tensors.
    pub(crate) fn state(&self) -> &str {
        self.text("state").unwrap_or_default()
    }

    /// First extent of a tensor, 0 when there is none of that name.
    pub(crate) fn rows(&self, name: &str) -> usize {
        self.table.info(name).and_then(|info| info.shape.first().copied()).unwrap_or(0)
    }

    /// Reads every tensor of the file into its place; the file must have these and no others.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Corrupt`], [`Error::Io`].
    pub(crate) fn load(&mut self, tensors: &mut [Tensor<'_>]) -> Result<()> {
        let shown = self.path.display().to_string();
        for tensor in &*tensors {
            let info = self.table.info(&tensor.name);
            if info.is_none_or(|i| i.shape != tensor.shape || i.dtype != tensor.dtype()) {
                return Err(Error::Shape {
                    file: shown,
                    tensor: tensor.name.clone(),
                    expected: tensor.shape.clone(),
                    got: info.map(|i| i.shape.clone()).unwrap_or_default(),
                });
            }
        }
        let known = tensors.iter().map(|t| t.name.as_str()).collect::<std::collections::HashSet<_>>();
        if let Some(extra) = self.table.offset_keys().iter().find(|name| !known.contains(name.as_str())) {
            return Err(Error::corrupt(shown, format!("tensor `{extra}` is not part of this run")));
        }
        for tensor in tensors {
            let from = self.table.info(&tensor.name).map_or(0, |info| info.data_offsets.0) as u64;
            let read = self.file.seek(SeekFrom::Start(self.data_at + from));
            read.and_then(|_| self.file.read_exact(tensor.bytes_mut())).map_err(io(&self.path))?;
        }
        Ok(())
    }
}

fn read_header(file: &mut File, size: u64, path: &Path) -> Result<([u8; 8], Vec<u8>)> {
    let shown = || path.display().to_string();
    if size < LENGTH_BYTES {
        return Err(Error::corrupt(shown(), format!("has {size} bytes only")));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io(path))?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > size - LENGTH_BYTES {
        return Err(Error::corrupt(shown(), format!("has {size} bytes, its header alone {header_bytes}")));
    }
    if header_bytes > MAX_HEADER_BYTES {
        return Err(Error::TooLarge {
            file: shown(),
            what: "header, bytes",
            size: header_bytes,
            limit: MAX_HEADER_BYTES,
            remedy: "it is no checkpoint of ours; remove it",
        });
    }
    // Below 64 MiB, as was just checked.
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header).map_err(io(path))?;
    Ok((length, header))
}
