//! Named arrays in one file, each checked, to be mapped.
//!
//! All numbers little-endian; every section begins at a multiple of 64 bytes; what lies between is zero.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `recsSERV` |
//! | 8 | u32 version (1), u32 bytes of the directory, u32 CRC-32C of the directory, u32 zero |
//! | 24 | the directory, JSON: `{"document": ..., "sections": {name: [first byte, bytes, CRC-32C]}}` |

use crate::error::{Error, Result};
use bytemuck::Pod;
use bytes::Bytes;
use memmap2::Mmap;
use recs_core::slab::{Slab, Texts};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"recsSERV";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;
const ALIGNMENT: usize = 64;
/// A larger directory is none.
const MAX_DIRECTORY_BYTES: usize = 64 << 20;

/// Arrays by name, and a document that says what they mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sections {
    /// In messages.
    pub(super) file: String,
    pub(super) document: Value,
    named: BTreeMap<String, Bytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directory {
    document: Value,
    sections: BTreeMap<String, [u64; 3]>,
}

impl Sections {
    pub(super) fn new(file: String) -> Self {
        Self { file, ..Self::default() }
    }

    pub(super) fn put<T: Pod>(&mut self, name: impl Into<String>, slab: &Slab<T>) {
        self.named.insert(name.into(), slab.bytes().clone());
    }

    pub(super) fn put_bytes(&mut self, name: impl Into<String>, bytes: &Bytes) {
        self.named.insert(name.into(), bytes.clone());
    }

    pub(super) fn put_texts(&mut self, name: &str, texts: &Texts) {
        let (bytes, ends) = texts.parts();
        self.put(format!("{name}.bytes"), bytes);
        self.put(format!("{name}.ends"), ends);
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::Core(recs_core::Error::corrupt(&self.file, reason.into()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// # Errors
    /// `Corrupt` for a section that is not there.
    pub(super) fn bytes(&self, name: &str) -> Result<Bytes> {
        self.named.get(name).cloned().ok_or_else(|| self.refuse(format!("it has no section {name:?}")))
    }

    /// # Errors
    /// `Corrupt` for a section that is not there, or of other numbers.
    pub(super) fn slab<T: Pod + Send + Sync>(&self, name: &str) -> Result<Slab<T>> {
        let refuse = || self.refuse(format!("its section {name:?} is no list of such numbers"));
        Slab::of_bytes(self.bytes(name)?).ok_or_else(refuse)
    }

    /// As [`Sections::slab`], of `len` numbers.
    ///
    /// # Errors
    /// `Corrupt` for another length, too.
    pub(super) fn slab_of<T: Pod + Send + Sync>(&self, name: &str, len: usize) -> Result<Slab<T>> {
        let slab: Slab<T> = self.slab(name)?;
        match slab.len() == len {
            true => Ok(slab),
            false => Err(self.refuse(format!("its section {name:?} has {} numbers, not {len}", slab.len()))),
        }
    }

    /// # Errors
    /// `Corrupt` for sections that are not there, or no texts.
    pub(super) fn texts(&self, name: &str) -> Result<Texts> {
        let texts =
            Texts::of_parts(self.slab(&format!("{name}.bytes"))?, self.slab(&format!("{name}.ends"))?);
        texts.ok_or_else(|| self.refuse(format!("its section {name:?} holds no texts")))
    }

    /// Bytes of all sections.
    pub(super) fn len(&self) -> u64 {
        self.named.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`; [`io::ErrorKind::InvalidInput`] for a directory that is too large.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        // Places depend on the directory's length, which depends on their digits: so it gets as much room as it can need.
        let mut sections: BTreeMap<String, [u64; 3]> =
            self.named.keys().map(|name| (name.clone(), [u64::MAX; 3])).collect();
        let encode = |sections: &BTreeMap<String, [u64; 3]>| {
            let directory = Directory { document: self.document.clone(), sections: sections.clone() };
            serde_json::to_vec(&directory).map_err(io::Error::from)
        };
        let room = encode(&sections)?.len();
        let begin = (HEAD_BYTES + room).next_multiple_of(ALIGNMENT);
        let mut at = begin;
        for (name, bytes) in &self.named {
            let crc = u64::from(crc32c::crc32c(bytes));
            sections.insert(name.clone(), [at as u64, bytes.len() as u64, crc]);
            at = (at + bytes.len()).next_multiple_of(ALIGNMENT);
        }
        let mut directory = encode(&sections)?;
        directory.resize(begin - HEAD_BYTES, b' ');
        if directory.len() > MAX_DIRECTORY_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a directory that is too large"));
        }
        out.write_all(MAGIC)?;
        for word in [VERSION, directory.len() as u32, crc32c::crc32c(&directory), 0] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&directory)?;
        for bytes in self.named.values() {
            out.write_all(bytes)?;
            out.write_all(&[0; ALIGNMENT][..bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])?;
        }
        Ok(())
    }

    /// Maps a file and checks all of it.
    ///
    /// Cost: reads it once.
    ///
    /// # Errors
    /// `Io` for a file that cannot be mapped, `Corrupt` for one that is damaged or none of these, `Version`.
    pub(super) fn map(path: &Path) -> Result<Self> {
        let failed = |source| Error::Core(recs_core::Error::io(path, source));
        let file = std::fs::File::open(path).map_err(failed)?;
        // SAFETY: files of this kind are renamed into place whole and never written again. Whoever cuts one short while it is
        // mapped ends the process by a signal; whatever bytes are found are checked before they are used.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Self::read(&Bytes::from_owner(map), path.display().to_string())
    }

    /// Reads a file that lies in memory, from a multiple of 64 on.
    ///
    /// # Errors
    /// `Corrupt` and `Version`, naming `file`.
    pub(super) fn read(bytes: &Bytes, file: String) -> Result<Self> {
        let mut sections = Self { file, ..Self::default() };
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map(u32::from_le_bytes).unwrap_or_default()
        };
        if cfg!(target_endian = "big") {
            return Err(sections.refuse("it is little-endian, this machine is not"));
        }
        if bytes.get(..8) != Some(MAGIC) {
            return Err(sections.refuse("it is no served model"));
        }
        if word(8) != VERSION {
            let (got, oldest, newest) = (word(8), VERSION, VERSION);
            return Err(Error::Core(recs_core::Error::Version { file: sections.file, got, oldest, newest }));
        }
        let end = HEAD_BYTES + word(12) as usize;
        let directory = bytes.get(HEAD_BYTES..end).filter(|of| of.len() <= MAX_DIRECTORY_BYTES);
        let directory = directory.filter(|of| crc32c::crc32c(of) == word(16));
        let directory = directory.ok_or_else(|| sections.refuse("its directory is damaged"))?;
        let directory: Directory = serde_json::from_slice(directory)
            .map_err(|e| sections.refuse(format!("its directory is none: {e}")))?;
        for (name, [from, len, crc]) in directory.sections {
            let range = usize::try_from(from).ok().zip(usize::try_from(len).ok());
            let range = range.and_then(|(from, len)| Some(from..from.checked_add(len)?));
            let range = range.filter(|range| range.start >= end && range.end <= bytes.len());
            let Some(range) = range.filter(|range| range.start.is_multiple_of(ALIGNMENT)) else {
                return Err(sections.refuse(format!("its section {name:?} lies outside of it")));
            };
            let section = bytes.slice(range);
            if u64::from(crc32c::crc32c(&section)) != crc {
                return Err(sections.refuse(format!("its section {name:?} is damaged")));
            }
            sections.named.insert(name, section);
        }
        sections.document = directory.document;
        Ok(sections)
    }
}

/// A copy in memory that begins at a multiple of 64.
#[cfg(any(test, feature = "testing"))]
pub(super) fn aligned(bytes: &[u8]) -> Bytes {
    let mut lines = vec![[0u64; 8]; bytes.len().div_ceil(64) + 1];
    let flat: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
    let skip = flat.as_ptr().align_offset(64);
    flat[skip..][..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(Slab::from(lines).bytes().clone()).slice(skip..skip + bytes.len())
}

/// Makes the checksums of a file fit whatever its bytes are, as far as it has a directory with room for them.
#[cfg(feature = "testing")]
pub(super) fn sign(bytes: &mut [u8]) -> Option<()> {
    let room = bytes.get(12..16).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)? as usize;
    let end = HEAD_BYTES.checked_add(room)?;
    let mut directory: Directory = serde_json::from_slice(bytes.get(HEAD_BYTES..end)?).ok()?;
    for [from, len, crc] in directory.sections.values_mut() {
        let (from, len) = (usize::try_from(*from).ok()?, usize::try_from(*len).ok()?);
        *crc = u64::from(crc32c::crc32c(bytes.get(from..from.checked_add(len)?)?));
    }
    let mut encoded = serde_json::to_vec(&directory).ok().filter(|encoded| encoded.len() <= room)?;
    encoded.resize(room, b' ');
    bytes[HEAD_BYTES..end].copy_from_slice(&encoded);
    bytes[16..20].copy_from_slice(&crc32c::crc32c(&encoded).to_le_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sections() -> Sections {
        let mut sections =
            Sections { file: "memory".into(), document: json!({"a": [1, "b"]}), ..Default::default() };
        sections.put("numbers", &Slab::from(vec![1.5f32, 2.5, -3.0]));
        sections.put("empty", &Slab::<u64>::default());
        sections.put_texts("names", &["", "é", "abc"].iter().collect());
        sections
    }

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        sections().write(&mut out).unwrap();
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let read = Sections::read(&aligned(&written()), "memory".into()).unwrap();
        assert_eq!(read, sections());
        assert_eq!(read.slab_of::<f32>("numbers", 3).unwrap()[..], [1.5, 2.5, -3.0]);
        assert_eq!(read.texts("names").unwrap().iter().collect::<Vec<_>>(), ["", "é", "abc"]);
        for refused in [
            read.slab::<f32>("none").map(drop),
            read.slab::<u64>("numbers").map(drop),
            read.slab_of::<f32>("numbers", 4).map(drop),
            read.texts("numbers").map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Core(recs_core::Error::Corrupt { .. }))));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.recs");
        std::fs::write(&path, written()).unwrap();
        assert_eq!(Sections::map(&path).unwrap().named, sections().named);
        assert!(Sections::map(&folder.path().join("none")).is_err());
    }

    proptest! {
        /// Changed, cut or lengthened: refused, or what was written; never a panic.
        #[test]
        fn damage_is_found(at in 0usize..2000, bit in 0u32..8, cut in 0usize..2000) {
            let whole = written();
            let mut changed = whole.clone();
            let at = at % whole.len();
            changed[at] ^= 1 << bit;
            match Sections::read(&aligned(&changed), "memory".into()) {
                // Zeros between the sections, and the unused word.
                Ok(read) => prop_assert_eq!(read, sections()),
                Err(Error::Core(recs_core::Error::Version { .. })) => prop_assert!((8..12).contains(&at)),
                Err(error) => prop_assert!(matches!(error, Error::Core(recs_core::Error::Corrupt { .. })), "{error}"),
            }
            let cut = cut % whole.len();
            // The last bytes are padding.
            let read = Sections::read(&aligned(&whole[..cut]), "memory".into());
            prop_assert!(read.is_err() || cut + ALIGNMENT > whole.len());
        }
    }
}
