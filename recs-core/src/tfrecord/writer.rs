//! Records into a stream.

use super::frame::header;
use super::{crc::masked_crc32c, gzip};
use crate::error::{Error, Result};
use flate2::write::GzEncoder;
use std::io::Write;

/// gzip level unless told otherwise; zlib's own default, which TensorFlow uses.
pub const DEFAULT_GZIP_LEVEL: u32 = 6;

/// Writes records as one gzip member or as a plain file. Equal records and level give equal bytes.
#[derive(Debug)]
pub struct RecordWriter<W: Write> {
    sink: Sink<W>,
    records: u64,
}

#[derive(Debug)]
enum Sink<W: Write> {
    Gzip(Box<GzEncoder<W>>),
    Plain(W),
}

impl<W: Write> RecordWriter<W> {
    /// A gzip file; `level` 0 to 9.
    ///
    /// # Errors
    /// [`Error::Config`] for another level.
    pub fn gzip(inner: W, level: u32) -> Result<Self> {
        if level > 9 {
            return Err(Error::config("gzip_level", format!("is {level}, allowed are 0 to 9")));
        }
        Ok(Self { sink: Sink::Gzip(Box::new(gzip::encoder(inner, level))), records: 0 })
    }

    /// A file without compression.
    pub fn plain(inner: W) -> Self {
        Self { sink: Sink::Plain(inner), records: 0 }
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Appends one record.
    ///
    /// # Errors
    /// [`Error::Io`] when the sink fails.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        let write = |sink: &mut dyn Write| {
            sink.write_all(&header(data.len() as u64))?;
            sink.write_all(data)?;
            sink.write_all(&masked_crc32c(data).to_le_bytes())
        };
        match &mut self.sink {
            Sink::Gzip(encoder) => write(encoder),
            Sink::Plain(inner) => write(inner),
        }
        .map_err(|e| Error::io("TFRecord output", e))?;
        self.records += 1;
        Ok(())
    }

    /// Ends the file and gives the sink back, flushed. A writer that is dropped instead leaves a truncated gzip file,
    /// which readers refuse.
    ///
    /// # Errors
    /// [`Error::Io`] when the sink fails.
    pub fn finish(self) -> Result<W> {
        let ended = match self.sink {
            Sink::Gzip(encoder) => encoder.finish(),
            Sink::Plain(inner) => Ok(inner),
        };
        ended.and_then(|mut inner| inner.flush().map(|()| inner)).map_err(|e| Error::io("TFRecord output", e))
    }
}
