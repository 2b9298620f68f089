//! The masked CRC-32C that TFRecord frames and LevelDB tables carry.

/// CRC-32C (Castagnoli) of `bytes`, rotated right by 15 bits plus `0xa282ead8`. Uses the CPU's instruction where it has one.
///
/// ```
/// // The checksum of eight zero bytes, the length field of an empty record.
/// assert_eq!(recs_core::tfrecord::masked_crc32c(&[0; 8]), 0x0798_0329);
/// ```
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
