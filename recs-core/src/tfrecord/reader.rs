//! Records out of a stream, every checksum verified, nothing larger than the limit ever allocated.

use super::frame::{FOOTER_BYTES, HEADER_BYTES, parse_header};
use super::{crc::masked_crc32c, gzip};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Largest record read unless told otherwise: 64 MiB.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 64 << 20;

/// Where a record stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Zero-based record number in the file.
    pub record: u64,
    /// Offset of the record's data in the decompressed stream.
    pub offset_bytes: u64,
}

/// Reads the records of one file, gzip or plain, one at a time.
///
/// Memory: one record plus 256 KiB of buffers, whatever the file's size or its claims.
///
/// ```
/// use recs_core::tfrecord::{RecordReader, RecordWriter};
/// let mut file = Vec::new();
/// let mut writer = RecordWriter::gzip(&mut file, 6)?;
/// writer.write(b"hello")?;
/// writer.finish()?;
/// let mut reader = RecordReader::new(file.as_slice(), "hello.tfrecord.gz")?;
/// assert_eq!(reader.read()?.map(|(_, data)| data.to_vec()), Some(b"hello".to_vec()));
/// assert!(reader.read()?.is_none());
/// # Ok::<(), recs_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RecordReader<R: Read> {
    stream: gzip::Stream<R>,
    file: String,
    max_record_bytes: u64,
    next: Position,
    buffer: Vec<u8>,
}

impl RecordReader<File> {
    /// Opens a local file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Self::new(file, path.display().to_string())
    }
}

impl<R: Read> RecordReader<R> {
    /// Reads from any stream; `file` is named in errors. gzip is recognised by its first bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the first bytes cannot be read.
    pub fn new(inner: R, file: impl Into<String>) -> Result<Self> {
        let file = file.into();
        let stream = gzip::open(inner).map_err(|e| Error::io(&file, e))?;
        Ok(Self {
            stream,
            file,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            next: Position::default(),
            buffer: Vec::new(),
        })
    }

    /// Sets the largest record that is read.
    pub fn with_max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// Name of the file in errors.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The next record and where it stands; None at the clean end of the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a cut-off file, a bad checksum or broken gzip, [`Error::TooLarge`] for a record above the
    /// limit, [`Error::Io`] when reading fails; with file, record and byte.
    pub fn read(&mut self) -> Result<Option<(Position, &[u8])>> {
        let mut header = [0; HEADER_BYTES];
        let got = self.fill(&mut header)?;
        if got == 0 {
            return Ok(None);
        }
        if got < HEADER_BYTES {
            return Err(self.corrupt(got, "the file ends inside a record's length"));
        }
        let Some(len) = parse_header(&header) else {
            return Err(self.corrupt(0, "the checksum of a record's length does not match"));
        };
        if len > self.max_record_bytes {
            return Err(Error::TooLarge {
                file: format!(
                    "{}, record {}, at byte {}",
                    self.file, self.next.record, self.next.offset_bytes
                ),
                what: "a record (bytes)",
                size: len,
                limit: self.max_record_bytes,
                remedy: "raise the limit if the file is meant to hold such records",
            });
        }
        let position = Position { offset_bytes: self.next.offset_bytes + HEADER_BYTES as u64, ..self.next };
        self.read_data(len)?;
        self.next.record += 1;
        self.next.offset_bytes = position.offset_bytes + len + FOOTER_BYTES as u64;
        Ok(Some((position, &self.buffer)))
    }

    /// Data and checksum. The buffer grows with what is really there, not with what the length claims.
    fn read_data(&mut self, len: u64) -> Result<()> {
        self.buffer.clear();
        let read = (&mut self.stream).take(len).read_to_end(&mut self.buffer);
        let at = HEADER_BYTES + self.buffer.len();
        read.map_err(|e| self.failed(at, e))?;
        if (self.buffer.len() as u64) < len {
            return Err(self.corrupt(at, "the file ends inside a record"));
        }
        let mut footer = [0; FOOTER_BYTES];
        if self.fill(&mut footer)? < FOOTER_BYTES {
            return Err(self.corrupt(at, "the file ends inside a record's checksum"));
        }
        if u32::from_le_bytes(footer) != masked_crc32c(&self.buffer) {
            return Err(self.corrupt(HEADER_BYTES, "the checksum of a record's data does not match"));
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.stream.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(got, e)),
            }
        }
        Ok(got)
    }

    fn failed(&self, done: usize, error: std::io::Error) -> Error {
        match (error.kind(), &self.stream) {
            (ErrorKind::UnexpectedEof, gzip::Stream::Gzip(_)) => {
                self.corrupt(done, "the gzip stream is cut off")
            }
            (ErrorKind::InvalidInput | ErrorKind::InvalidData, gzip::Stream::Gzip(_)) => {
                self.corrupt(done, &format!("the gzip stream is broken: {error}"))
            }
            _ => Error::io(&self.file, error),
        }
    }

    fn corrupt(&self, done: usize, reason: &str) -> Error {
        Error::Corrupt {
            file: self.file.clone(),
            record: Some(self.next.record),
            offset_bytes: Some(self.next.offset_bytes + done as u64),
            reason: reason.into(),
        }
    }
}
