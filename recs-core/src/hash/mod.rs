//! Stable hashes: the same number in every process, language and year.

mod fingerprint;

pub use fingerprint::fingerprint64;

/// Bin of `text` among `bins`, as TensorFlow's `to_hash_bucket_fast` and the Keras `Hashing` layer compute it:
/// Fingerprint64 of the UTF-8 bytes modulo the number of bins, on the unsigned value.
///
/// # Panics
/// When `bins` is zero.
pub fn hash_bucket(text: &[u8], bins: u64) -> u64 {
    fingerprint64(text) % bins
}
