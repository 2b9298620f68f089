//! Files of a version that others make and read.

use super::{ArtifactFiles, Digest, DigestReader, Manifest};
use crate::error::{Error, Result};
use crate::store::TenantRoot;
use std::io::{self, Read, Write};

type Fill = dyn FnOnce(&mut (dyn Write + Send)) -> Result<()> + Send;

/// A file that is published with a model and that this crate does not read: an index, say, or a model in another form.
pub struct Attachment {
    pub(super) name: String,
    pub(super) fill: Box<Fill>,
}

impl Attachment {
    /// `fill` writes it, on a thread of tokio's for blocking work; `name` is a relative path in the version's folder.
    pub fn new(
        name: impl Into<String>,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<()> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), fill: Box::new(fill) }
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ArtifactFiles {
    /// Streams a file that the manifest lists into `keep`, on a thread of tokio's for blocking work. `keep` gets a reader that
    /// ends where the manifest says, and whose last read fails for other content than the manifest's: what was kept before is to
    /// be thrown away then. Memory: a few chunks.
    ///
    /// # Errors
    /// Those of `keep`, [`Error::NotFound`] for a file that the manifest does not list, [`Error::Store`]; [`Error::Digest`].
    pub async fn read_attachment<T: Send + 'static>(
        root: &TenantRoot,
        manifest: &Manifest,
        name: &str,
        keep: impl FnOnce(&mut (dyn Read + Send)) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = root.model(&manifest.model_version)?;
        let shown = folder.show(name);
        let Some(expected) = manifest.files.get(name).cloned() else {
            return Err(Error::NotFound { path: shown });
        };
        folder
            .get_with(name, move |source| {
                let mut verified = Verified::new(source, expected, shown);
                let kept = keep(&mut verified);
                match verified.fault {
                    Some(fault) => Err(fault),
                    None => kept,
                }
            })
            .await
    }
}

/// Reads as many bytes as there should be, and fails at their end if they are others.
struct Verified<R> {
    /// None once they were verified.
    source: Option<DigestReader<io::Take<R>>>,
    expected: Digest,
    shown: String,
    fault: Option<Error>,
}

impl<R: Read> Verified<R> {
    fn new(source: R, expected: Digest, shown: String) -> Self {
        // One more, so that a longer file is found out.
        let source = DigestReader::new(source.take(expected.size_bytes.saturating_add(1)));
        Self { source: Some(source), expected, shown, fault: None }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(source) = &mut self.source else { return Ok(0) };
        let n = source.read(buf)?;
        if n > 0 || buf.is_empty() {
            return Ok(n);
        }
        if let Some(source) = self.source.take()
            && let Err(fault) = self.expected.verify(&self.shown, &source.finish()?)
        {
            let told = io::Error::new(io::ErrorKind::InvalidData, fault.to_string());
            self.fault = Some(fault);
            return Err(told);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(found: &[u8], expected: &[u8]) -> (io::Result<usize>, Vec<u8>, Option<Error>) {
        let mut verified = Verified::new(found, Digest::of(expected), "file".into());
        let mut kept = Vec::new();
        (verified.read_to_end(&mut kept), kept, verified.fault)
    }

    #[test]
    fn what_was_listed_comes_whole() {
        for size in [0, 1, 100_000] {
            let bytes: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let (read, kept, fault) = read(&bytes, &bytes);
            assert!(read.unwrap() == size && kept == bytes && fault.is_none());
        }
    }

    #[test]
    fn other_bytes_are_refused_and_no_more_of_them_read() {
        let expected = [7; 1000];
        let (mut changed, endless) = (expected, [7; 100_000]);
        changed[999] = 8;
        for found in [&changed[..], &expected[..999], &[], &endless] {
            let (read, kept, fault) = read(found, &expected);
            assert!(read.is_err() && kept.len() <= 1001, "{} bytes", kept.len());
            assert!(matches!(fault, Some(Error::Digest { .. })), "{fault:?}");
        }
    }
}
