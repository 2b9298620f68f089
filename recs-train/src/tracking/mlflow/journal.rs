//! `<run>.jsonl`: entries that the server does not have yet, in the order in which they shall be sent.
//!
//! One JSON object a line (see [`Entry`]), appended. A line is written by one `write`, so a killed process leaves whole
//! lines, or a last one without its newline, which is cut off when the file is opened again. [`Journal::sync`] reaches
//! the disk; before it, a power cut may cost the last seconds, a killed process nothing. Who has the file open holds an
//! exclusive lock of the operating system, which ends with the process. A lock is the file's and not its name's: who gets
//! one looks whether the name still means this file, which shortening replaces.

use super::entry::Entry;
use super::tail::{MAX_LINE_BYTES, last_line_end};
use crate::checkpoint::claim;
use same_file::Handle;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Room beyond the limit that only entries which end a run may use.
const RESERVE_BYTES: u64 = 64 << 10;
/// Sent bytes that are worth forgetting.
const MUCH_BYTES: u64 = 16 << 20;

/// An open spool file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
    limit: u64,
    /// Half a line may stand at the end, because a write failed.
    torn: bool,
}

/// A line, and where the next one begins.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// None: no entry of ours.
    pub(super) entry: Option<Entry>,
    pub(super) end: u64,
}

/// What waits in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) lines: u64,
    /// The last line is the run's end.
    pub(super) ended: bool,
}

impl Journal {
    fn new(path: &Path, file: File, len: u64, limit: u64) -> Self {
        Self { path: path.into(), file, len, limit, torn: false }
    }

    /// A new file, locked.
    pub(super) fn create(path: &Path, limit: u64) -> Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        file.lock()?;
        Ok(Self::new(path, file, 0, limit))
    }

    /// A file of an earlier run; None while another process has it.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Option<Self>> {
        Self::of(path, OpenOptions::new().read(true).append(true).open(path)?, limit)
    }

    /// The same of a file that was opened by this name.
    fn of(path: &Path, file: File, limit: u64) -> Result<Option<Self>> {
        if !claim(&file)? || Handle::from_file(file.try_clone()?)? != Handle::from_path(path)? {
            // In the second case it was shortened just now: somebody is at it.
            return Ok(None);
        }
        let len = file.metadata()?.len();
        // What another limit let in must still be ended.
        let mut journal = Self::new(path, file, len, limit.max(len));
        journal.cut_torn_line()?;
        Ok(Some(journal))
    }

    /// A process or machine that died may have left half a line, of which nothing can be known.
    fn cut_torn_line(&mut self) -> Result<()> {
        let whole = last_line_end(&self.file, self.len)?;
        if whole < self.len {
            self.file.set_len(whole)?;
            self.len = whole;
        }
        Ok(())
    }

    /// Bytes of whole lines.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `entries`, as many as there is room for; returns how many were kept. An entry that ends the run may use
    /// a reserve, so that a full file still ends properly.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<usize> {
        let (mut lines, mut kept) = (Vec::new(), 0);
        if self.torn {
            lines.push(b'\n');
        }
        for entry in entries {
            let before = lines.len();
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
            let reserve = if matches!(entry, Entry::End { .. }) { RESERVE_BYTES } else { 0 };
            if self.len + lines.len() as u64 > self.limit + reserve {
                lines.truncate(before);
                continue;
            }
            kept += 1;
        }
        self.write(&lines)?;
        Ok(kept)
    }

    fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Err(e) = self.file.write_all(lines) {
            // On a full disk a part may be there.
            self.torn = self.file.set_len(self.len).is_err();
            if self.torn {
                self.len = self.file.metadata().map_or(self.len, |m| m.len());
            }
            return Err(e);
        }
        self.torn = false;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Lines from `from` on, at most `max_lines`, and no more once `max_bytes` are read.
    pub(super) fn read(&self, from: u64, max_lines: usize, max_bytes: u64) -> Result<Vec<Line>> {
        let (mut lines, mut end, mut text) = (Vec::new(), from, Vec::new());
        let mut reader = self.reader(from)?;
        while lines.len() < max_lines && end - from < max_bytes {
            text.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            end += read as u64;
            lines.push(Line { entry: serde_json::from_slice(&text).ok(), end });
        }
        Ok(lines)
    }

    /// Counts what waits from `from` on.
    pub(super) fn waiting(&self, from: u64) -> Result<Waiting> {
        let mut waiting = Waiting { lines: 0, ended: false };
        let mut from = from;
        loop {
            let lines = self.read(from, 4096, 1 << 20)?;
            let Some(last) = lines.last() else { return Ok(waiting) };
            waiting.lines += lines.len() as u64;
            waiting.ended = matches!(last.entry, Some(Entry::End { .. }));
            from = last.end;
        }
    }

    fn reader(&self, from: u64) -> Result<BufReader<std::io::Take<&File>>> {
        if from > self.len {
            return Err(Error::new(ErrorKind::InvalidData, "the spool is shorter than its progress says"));
        }
        let mut file = &self.file;
        // Writes append wherever the position is.
        file.seek(SeekFrom::Start(from))?;
        Ok(BufReader::with_capacity(64 << 10, file.take(self.len - from)))
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    /// True when much of the file is sent and little is not.
    pub(super) fn wants_shortening(&self, sent: u64) -> bool {
        let much = (self.limit / 4).min(MUCH_BYTES);
        sent >= much && self.len - sent <= much
    }

    /// Forgets the first `sent` bytes: a new file, locked, with the rest takes the place of this one.
    pub(super) fn forget(&mut self, sent: u64) -> Result<()> {
        let new = self.path.with_extension("jsonl.new");
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().read(true).append(true).create_new(true).open(&new)?;
        file.lock()?;
        let len = std::io::copy(&mut self.reader(sent)?, &mut file)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        // The old file's room is free again with this, unless somebody has just opened it, who then sees what it is.
        (self.file, self.len) = (file, len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::mlflow::entry::Outcome;

    fn tag(value: &str) -> Entry {
        Entry::Tag { key: "k".into(), value: value.into() }
    }

    fn entries(journal: &Journal, from: u64) -> Vec<Entry> {
        journal.read(from, 100, 1 << 20).unwrap().into_iter().filter_map(|line| line.entry).collect()
    }

    #[test]
    fn what_was_appended_is_read_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&folder.path().join("a.jsonl"), 1 << 20).unwrap();
        assert_eq!(journal.append(&[tag("1"), tag("2")]).unwrap(), 2);
        let lines = journal.read(0, 1, 1 << 20).unwrap();
        assert_eq!(lines.len(), 1);
        journal.append(&[tag("3\n\u{2028}")]).unwrap();
        assert_eq!(entries(&journal, lines[0].end), [tag("2"), tag("3\n\u{2028}")]);
        assert_eq!(journal.waiting(0).unwrap(), Waiting { lines: 3, ended: false });
        let sent = lines[0].end;
        journal.forget(sent).unwrap();
        journal.append(&[tag("4")]).unwrap();
        assert_eq!(entries(&journal, 0), [tag("2"), tag("3\n\u{2028}"), tag("4")]);
        assert!(Journal::open(&folder.path().join("a.jsonl"), 1 << 20).unwrap().is_none());
    }

    #[test]
    fn half_a_line_is_cut_off_and_a_foreign_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"op\":\"tag\",\"key\":\"k\",\"value\":\"1\"}\nwhat\n{\"op\":\"ta").unwrap();
        let journal = Journal::open(&path, 1 << 20).unwrap().unwrap();
        let lines = journal.read(0, 100, 1 << 20).unwrap();
        assert_eq!(lines.iter().map(|l| l.entry.clone()).collect::<Vec<_>>(), [Some(tag("1")), None]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), journal.len());
    }

    /// Whoever waits for the lock of a file that is being shortened gets that of one that no longer has a name.
    #[test]
    fn a_file_that_was_shortened_or_removed_meanwhile_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let early = || OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let mut owner = Journal::create(&path, 1 << 20).unwrap();
        owner.append(&[tag("1")]).unwrap();
        let waiting = early();
        owner.forget(owner.len()).unwrap();
        assert!(Journal::of(&path, waiting, 1 << 20).unwrap().is_none());
        let waiting = early();
        std::fs::remove_file(&path).unwrap();
        drop(owner);
        assert_eq!(Journal::of(&path, waiting, 1 << 20).unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Room on the disk and descriptors: those of one file.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_forgotten_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&folder.path().join("a.jsonl"), 1 << 20).unwrap();
        for _ in 0..5 {
            journal.append(&[tag(&"1".repeat(1000))]).unwrap();
            journal.forget(journal.len()).unwrap();
        }
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        assert_eq!(open.filter(|file| file.starts_with(folder.path())).count(), 1);
    }

    #[test]
    fn a_file_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let owner = Journal::create(&path, 1 << 20).unwrap();
        assert!(Journal::open(&path, 1 << 20).unwrap().is_none());
        drop(owner);
        assert!(Journal::open(&path, 1 << 20).unwrap().is_some());
    }

    #[test]
    fn a_full_file_takes_the_end_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&folder.path().join("a.jsonl"), 100).unwrap();
        assert_eq!(journal.append(&[tag("1"), tag(&"2".repeat(100)), tag("3")]).unwrap(), 2);
        assert_eq!(journal.append(&[tag("4")]).unwrap(), 0);
        assert_eq!(journal.append(&[Entry::End { status: Outcome::Finished, timestamp: 1 }]).unwrap(), 1);
        assert_eq!(journal.waiting(0).unwrap(), Waiting { lines: 3, ended: true });
        drop(journal);
        let mut journal = Journal::open(&folder.path().join("a.jsonl"), 10).unwrap().unwrap();
        assert_eq!(journal.append(&[Entry::End { status: Outcome::Killed, timestamp: 1 }]).unwrap(), 1);
    }
}
