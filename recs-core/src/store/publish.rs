//! All-or-nothing publication of a set of files.

use super::Store;
use crate::artifact::Digest;
use crate::error::Result;
use bytes::Bytes;
use std::io::Write;

/// Files that become visible together: data files first, to names that nothing refers to, then one manifest by
/// conditional put. Until [`Publication::commit`] returned, readers see nothing; a publication that fails is taken back
/// by [`Publication::abort`], and what a killed process leaves is never referred to.
#[derive(Debug)]
pub struct Publication {
    store: Store,
    written: Vec<String>,
}

impl Publication {
    /// Begins a publication in the folder that `store` is.
    pub fn new(store: Store) -> Self {
        Self { store, written: Vec::new() }
    }

    /// The folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Notes a file that is written by other means (in parallel, say), so that [`Publication::abort`] removes it.
    pub fn expect(&mut self, path: &str) {
        self.written.push(path.to_owned());
    }

    /// Writes a data file.
    ///
    /// # Errors
    /// Those of [`Store::put`].
    pub async fn put(&mut self, path: &str, bytes: Bytes) -> Result<Digest> {
        self.expect(path);
        self.store.put(path, bytes).await
    }

    /// Streams a data file.
    ///
    /// # Errors
    /// Those of [`Store::put_with`].
    pub async fn put_with<T, F>(&mut self, path: &str, write: F) -> Result<(T, Digest)>
    where
        F: FnOnce(&mut (dyn Write + Send)) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.expect(path);
        self.store.put_with(path, write).await
    }

    /// Makes everything visible by creating the manifest.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) when another writer published here first; nothing of
    /// theirs is touched, but files of equal names have been replaced, so give every publication a folder of its own.
    pub async fn commit(self, manifest: &str, bytes: Bytes) -> Result<Digest> {
        self.store.create(manifest, bytes).await
    }

    /// Deletes what was written. Errors of single deletions are ignored: nothing refers to the files.
    pub async fn abort(self) {
        for path in &self.written {
            let _ = self.store.delete(path).await;
        }
    }
}
