//! What must not be lost waits on this machine's disk until the store has it.
//!
//! ```text
//! {folder}/{process}/lock   {process}-000001.jsonl, ...     one line an entry; the last file is being written
//! ```
//! A folder belongs to the process that holds its lock. What a process that is gone has left is taken over by the next one that
//! looks.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const SEGMENT: &str = "jsonl";
/// What cannot be read any more keeps its bytes under this name.
const DAMAGED: &str = "damaged";

/// Files of one process.
#[derive(Debug)]
pub(super) struct Spool {
    /// Of all processes.
    base: PathBuf,
    folder: PathBuf,
    name: String,
    _lock: File,
    current: Option<Segment>,
    next: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    bytes: u64,
}

fn fault(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::Core(recs_core::Error::io(path, source))
}

impl Spool {
    /// A folder of this process's own below `base`, and in it what processes that are gone have left.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`] when the folder cannot be made or locked.
    pub(super) fn open(base: &Path) -> Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| Error::config("spool", format!("no random bytes: {e}")))?;
        let name = format!("{:016x}", u64::from_le_bytes(random));
        // Under a name that nobody looks at, until it is locked.
        let (new, folder) = (base.join(format!(".{name}")), base.join(&name));
        std::fs::create_dir_all(&new).map_err(fault(&new))?;
        let path = new.join(LOCK);
        let lock = File::create(&path).map_err(fault(&path))?;
        lock.lock().map_err(fault(&path))?;
        std::fs::rename(&new, &folder).map_err(fault(&folder))?;
        File::open(base).and_then(|base| base.sync_all()).map_err(fault(base))?;
        let spool = Self { base: base.to_owned(), folder, name, _lock: lock, current: None, next: 1 };
        spool.take_over();
        Ok(spool)
    }

    /// Moves the files of processes that are gone here. What cannot be moved is somebody else's, or stays for the next time.
    pub(super) fn take_over(&self) {
        for entry in std::fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let folder = entry.path();
            let is_new = entry.file_name().as_encoded_bytes().starts_with(b".");
            if folder == self.folder || is_new {
                continue;
            }
            if let Err(error) = self.take(&folder) {
                tracing::warn!(%error, "what another process has left cannot be taken over now");
            }
        }
    }

    fn take(&self, folder: &Path) -> Result<()> {
        let Ok(lock) = OpenOptions::new().write(true).open(folder.join(LOCK)) else { return Ok(()) };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(fault(folder)(e)),
        }
        // Somebody else may have taken everything just before.
        let left = if folder.exists() { segments(folder)? } else { Vec::new() };
        for segment in left {
            if let Some(name) = segment.file_name() {
                std::fs::rename(&segment, self.folder.join(name)).map_err(fault(&segment))?;
            }
        }
        // What is damaged stays, and its folder with it.
        let _ = std::fs::remove_file(folder.join(LOCK));
        let _ = std::fs::remove_dir(folder);
        Ok(())
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let sizes = segments(&self.folder).unwrap_or_default().into_iter();
        sizes.filter_map(|path| Some(path.metadata().ok()?.len())).sum()
    }

    /// Writes whole lines, and has the disk keep them. A failure leaves nothing of them.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`].
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<()> {
        if self.current.is_none() {
            let path = self.folder.join(format!("{}-{:06}.{SEGMENT}", self.name, self.next));
            let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(fault(&path))?;
            // The name must be kept as well as the bytes.
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fault(&path))?;
            self.next += 1;
            self.current = Some(Segment { file, path, bytes: 0 });
        }
        let Some(segment) = &mut self.current else { return Ok(()) };
        let written = segment.file.write_all(lines).and_then(|()| segment.file.sync_data());
        fail::fail_point!("spool-appended");
        match written {
            Ok(()) => segment.bytes += lines.len() as u64,
            Err(source) => {
                let error = fault(&segment.path)(source);
                if segment.file.set_len(segment.bytes).is_err() {
                    // Half a line may stay: the next ones go elsewhere.
                    self.current = None;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Bytes of the file that is being written.
    pub(super) fn current_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| segment.bytes)
    }

    /// Ends the file that is being written; the next line begins another.
    pub(super) fn seal(&mut self) {
        self.current = None;
    }

    /// Files that are not written any more, the oldest first.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`].
    pub(super) fn sealed(&self) -> Result<Vec<PathBuf>> {
        let mut sealed = segments(&self.folder)?;
        sealed.retain(|path| self.current.as_ref().is_none_or(|current| current.path != *path));
        Ok(sealed)
    }

    /// Forgets a file that the store has.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`].
    pub(super) fn remove(&self, segment: &Path) -> Result<()> {
        match std::fs::remove_file(segment) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(fault(segment)),
        }
    }

    /// Puts a file aside that holds lines that nobody can read.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`].
    pub(super) fn put_aside(&self, segment: &Path) -> Result<()> {
        std::fs::rename(segment, segment.with_extension(DAMAGED)).map_err(fault(segment))
    }
}

/// A process that ends in order leaves nothing but what the store has not.
impl Drop for Spool {
    fn drop(&mut self) {
        self.current = None;
        if segments(&self.folder).is_ok_and(|left| left.is_empty()) {
            let _ = std::fs::remove_file(self.folder.join(LOCK));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

fn segments(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(fault(folder))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut segments: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|of| of == SEGMENT)).collect();
    segments.sort_unstable();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_leaves_is_taken_over_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Spool::open(folder.path()).unwrap();
        first.append(b"1\n").unwrap();
        first.seal();
        first.append(b"2\n").unwrap();
        first.append(b"3\n").unwrap();
        assert_eq!((first.sealed().unwrap().len(), first.current_bytes()), (1, 4));
        let second = Spool::open(folder.path()).unwrap();
        assert!(second.sealed().unwrap().is_empty(), "the first one lives");
        drop(first);
        second.take_over();
        let left = second.sealed().unwrap();
        let texts: Vec<_> = left.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["1\n", "2\n3\n"]);
        let third = Spool::open(folder.path()).unwrap();
        assert!(third.sealed().unwrap().is_empty());
        left.iter().for_each(|path| second.remove(path).unwrap());
        drop((second, third));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of nothing");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_no_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        spool.append(b"1\n").unwrap();
        // Written to, it says that there is no room.
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let segment = spool.current.as_mut().unwrap();
        let file = std::mem::replace(&mut segment.file, full);
        assert!(spool.append(b"2\n").is_err());
        drop(file);
        spool.append(b"3\n").unwrap();
        spool.seal();
        let texts: Vec<_> =
            spool.sealed().unwrap().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["1\n", "3\n"]);
    }
}
