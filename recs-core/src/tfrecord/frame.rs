//! Byte layout of one frame.

use super::crc::masked_crc32c;

/// Length and its checksum.
pub(super) const HEADER_BYTES: usize = 12;
/// Checksum of the data.
pub(super) const FOOTER_BYTES: usize = 4;

pub(super) fn header(len: u64) -> [u8; HEADER_BYTES] {
    let length = len.to_le_bytes();
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&length);
    header[8..].copy_from_slice(&masked_crc32c(&length).to_le_bytes());
    header
}

/// Length of the data; None when the checksum does not match.
pub(super) fn parse_header(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let mut length = [0; 8];
    length.copy_from_slice(&header[..8]);
    let mut crc = [0; 4];
    crc.copy_from_slice(&header[8..]);
    (u32::from_le_bytes(crc) == masked_crc32c(&length)).then(|| u64::from_le_bytes(length))
}
