//! gzip around a TFRecord file: detected on read, one member with a fixed header on write.

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use std::io::{BufRead, BufReader, Read, Write};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 128 << 10;

/// Decompresses when the stream begins with gzip's magic number, otherwise passes it through.
///
/// A plain TFRecord file cannot begin like that by chance: bytes 1f 8b would be the low bytes of a length whose
/// checksum is verified, and no record of 35,615 bytes plus a multiple of 65,536 passes for a gzip header.
pub(super) fn open<R: Read>(inner: R) -> std::io::Result<Stream<R>> {
    let mut buffered = BufReader::with_capacity(BUFFER_BYTES, inner);
    let head = buffered.fill_buf()?;
    // gzip: magic, then compression method 8. A plain frame has the length's third byte there.
    if head.len() >= 3 && head[..2] == MAGIC && head[2] == 8 || head.len() < 3 && head.first() == Some(&MAGIC[0]) {
        Ok(Stream::Gzip(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(buffered)))))
    } else {
        Ok(Stream::Plain(buffered))
    }
}

/// Either form of file.
#[derive(Debug)]
pub(super) enum Stream<R: Read> {
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<R>>>>),
    Plain(BufReader<R>),
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Gzip(inner) => inner.read(buf),
            Self::Plain(inner) => inner.read(buf),
        }
    }
}

/// One member without name or time: equal input gives equal bytes.
pub(super) fn encoder<W: Write>(inner: W, level: u32) -> GzEncoder<W> {
    GzBuilder::new().mtime(0).operating_system(255).write(inner, Compression::new(level))
}
