//! SHA-256 of a file while it is written or read.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};

/// Size and SHA-256 of a file, as manifests list them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
}

impl Digest {
    /// Digest of a buffer.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Hasher::default();
        hash.update(bytes);
        hash.digest()
    }

    /// Compares with what was found in `file`.
    ///
    /// # Errors
    /// [`Error::Digest`] naming the file, and whether size or content differs.
    pub fn verify(&self, file: &str, found: &Self) -> Result<()> {
        let differs = |what, expected: String, got: String| {
            Err(Error::Digest { file: file.into(), what, expected, got })
        };
        if self.size_bytes != found.size_bytes {
            return differs("size_bytes", self.size_bytes.to_string(), found.size_bytes.to_string());
        }
        if self.sha256 != found.sha256 {
            return differs("sha256", self.sha256.clone(), found.sha256.clone());
        }
        Ok(())
    }
}

#[derive(Debug, Default, Clone)]
struct Hasher {
    sha256: Sha256,
    size_bytes: u64,
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    fn digest(self) -> Digest {
        use std::fmt::Write as _;
        let mut sha256 = String::with_capacity(64);
        for byte in self.sha256.finalize() {
            let _ = write!(sha256, "{byte:02x}");
        }
        Digest { size_bytes: self.size_bytes, sha256 }
    }
}

/// Passes bytes on and keeps their digest.
#[derive(Debug)]
pub struct DigestWriter<W> {
    inner: W,
    hash: Hasher,
}

impl<W: Write> DigestWriter<W> {
    /// Writes into `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Hasher::default() }
    }

    /// The sink and the digest of what went into it.
    pub fn finish(self) -> (W, Digest) {
        (self.inner, self.hash.digest())
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on and keeps their digest.
#[derive(Debug)]
pub struct DigestReader<R> {
    inner: R,
    hash: Hasher,
}

impl<R: Read> DigestReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Hasher::default() }
    }

    /// Reads what is left, then gives the digest of the whole.
    ///
    /// # Errors
    /// Those of the source.
    pub fn finish(mut self) -> std::io::Result<Digest> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok(self.hash.digest())
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}
