//! The folder of one run's checkpoints.

use super::file::{Checkpoint, io, write};
use super::{Tensor, claim};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";
const MAKING: &str = ".making";
/// A lock file has a process id; anything longer is not read.
const LOCK_BYTES: u64 = 32;

/// A folder that is ours until this is dropped, or the process is gone: the lock is the operating system's.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Numbers of the checkpoints, ascending.
    numbers: Vec<u64>,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, claims it, and removes what a killed process did not finish.
    ///
    /// # Errors
    /// [`Error::CheckpointBusy`] when somebody else has it, [`Error::Core`] when it cannot be used.
    pub(crate) fn claim(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(io(path))?;
        let lock = lock(path)?;
        match std::fs::remove_file(path.join(MAKING)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(path)(e).into()),
            _ => {}
        }
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io(path))? {
            let name = entry.map_err(io(path))?.file_name();
            numbers.extend(name.to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(Self { path: path.into(), numbers, _lock: lock })
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(name_of(number))
    }

    /// The newest checkpoint that is whole, None in a folder without any; `damaged` hears of newer ones, which are removed.
    ///
    /// # Errors
    /// [`Error::CheckpointDamaged`] when none is whole, [`Error::Core`] for one that cannot be read or is of another format
    /// version.
    pub(crate) fn newest(
        &mut self,
        mut damaged: impl FnMut(&recs_core::Error),
    ) -> Result<Option<Checkpoint>> {
        use recs_core::Error as Core;
        let mut reasons = Vec::new();
        for &number in self.numbers.iter().rev() {
            match Checkpoint::open(&self.file(number)) {
                Ok(checkpoint) => {
                    reasons.iter().for_each(|_| self.drop_newest());
                    return Ok(Some(checkpoint));
                }
                Err(e @ (Core::Corrupt { .. } | Core::Digest { .. } | Core::TooLarge { .. })) => {
                    damaged(&e);
                    reasons.push(e.to_string());
                }
                Err(e) => return Err(e.into()),
            }
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        Err(Error::CheckpointDamaged { folder: self.path.clone(), reasons })
    }

    /// Writes the next checkpoint and gives its path.
    ///
    /// # Errors
    /// [`Error::Core`]; the folder is then as before.
    pub(crate) fn write(&mut self, state: String, tensors: &[Tensor<'_>]) -> Result<PathBuf> {
        let number = self.numbers.last().map_or(1, |last| last + 1);
        let path = self.file(number);
        write(&self.path.join(MAKING), &path, state, tensors)?;
        self.numbers.push(number);
        Ok(path)
    }

    /// Removes all but the newest `keep`. One that cannot be removed stays; it does no harm.
    pub(crate) fn prune(&mut self, keep: usize) {
        let old = self.numbers.len().saturating_sub(keep);
        for number in self.numbers.drain(..old).collect::<Vec<_>>() {
            let _ = std::fs::remove_file(self.file(number));
        }
    }

    /// Path of the newest.
    pub(crate) fn latest(&self) -> Option<PathBuf> {
        self.numbers.last().map(|&number| self.file(number))
    }

    /// Removes the newest. One that cannot be removed stays; the run will end there as it did.
    pub(crate) fn drop_newest(&mut self) {
        if let Some(number) = self.numbers.pop() {
            let _ = std::fs::remove_file(self.file(number));
        }
    }

    /// Removes every checkpoint.
    ///
    /// # Errors
    /// [`Error::Core`].
    pub(crate) fn clear(&mut self) -> Result<()> {
        // The oldest first: what is left by a kill in between is the newest.
        for number in std::mem::take(&mut self.numbers) {
            let path = self.file(number);
            std::fs::remove_file(&path).map_err(io(&path))?;
        }
        Ok(())
    }
}

fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:012}{SUFFIX}")
}

/// Number of a file that we named; twelve digits leave room for the next one.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    digits.parse().ok().filter(|&number| digits.len() == 12 && name_of(number) == name)
}

/// The lock of a folder, with our process id in it for those who are refused.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let options = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options().map_err(io(&path))?;
    if !claim(&file).map_err(io(&path))? {
        let mut text = String::new();
        let _ = file.take(LOCK_BYTES).read_to_string(&mut text);
        let writer = match text.trim().parse::<u32>() {
            Ok(pid) => format!("process {pid}"),
            Err(_) => "another process".into(),
        };
        return Err(Error::CheckpointBusy { folder: folder.into(), writer });
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io(&path))?;
    Ok(file)
}
