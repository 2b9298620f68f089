//! gzip around a TFRecord file: detected on read, one member with a fixed header on write.

use super::frame::{HEADER_BYTES, parse_header};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use std::io::{BufReader, Chain, Cursor, Read, Write};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 128 << 10;

/// Decompresses when the stream begins with gzip's magic number, otherwise passes it through.
///
/// A plain TFRecord file may begin like that by chance: a first record of 35,615 bytes, or a multiple of 65,536 more,
/// has the magic number as low bytes of its length. Then the length's checksum matches, and the file is plain.
pub(super) fn open<R: Read>(mut inner: R) -> std::io::Result<Stream<R>> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    (&mut inner).take(HEADER_BYTES as u64).read_to_end(&mut head)?;
    let is_frame = head.as_slice().try_into().is_ok_and(|header| parse_header(header).is_some());
    // A file of one byte may be a cut off gzip file.
    let is_gzip = !is_frame && (head.starts_with(&MAGIC) || head == MAGIC[..1]);
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(inner));
    Ok(if is_gzip {
        Stream::Gzip(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole))))
    } else {
        Stream::Plain(whole)
    })
}

/// The bytes looked at, then the rest.
type Whole<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// Either form of file.
#[derive(Debug)]
pub(super) enum Stream<R: Read> {
    Gzip(Box<BufReader<MultiGzDecoder<Whole<R>>>>),
    Plain(Whole<R>),
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
