//! Objects of a store: whole ones, and streams for the `std::io` codecs.

use super::bridge;
use crate::artifact::Digest;
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use std::io::{Read, Write};
use std::sync::Arc;

/// An object store, or a folder of one. Cheap to clone.
///
/// Paths are relative, separated by `/`, without `.` and `..`; anything else is refused.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
}

/// How often a file is tried again whose folder went away while it was made.
const FOLDER_RACES: usize = 16;

/// A local folder goes with its last file. Who creates a file in it at that moment is told that the folder exists, or that
/// it does not.
fn lost_its_folder(error: &object_store::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let object_store::Error::Generic { source, .. } = error else { return false };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), AlreadyExists | NotFound);
        }
        cause = e.source();
    }
    false
}

impl Store {
    /// Wraps a store that the host built. `url` is shown in errors and must hold no secret.
    pub fn new(inner: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { inner, prefix: Path::default(), url: url.trim_end_matches('/').into() }
    }

    pub(super) fn at_prefix(mut self, prefix: &Path) -> Self {
        self.prefix = prefix.clone();
        self
    }

    /// Where it is, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store of a folder inside this one.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not relative and plain.
    pub fn child(&self, folder: &str) -> Result<Self> {
        let prefix = self.path(folder)?;
        Ok(Self { inner: Arc::clone(&self.inner), prefix, url: self.show(folder).into() })
    }

    /// `path` with the store's URL in front, for errors and reports.
    pub fn show(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn path(&self, path: &str) -> Result<Path> {
        let refuse = || Error::config("path", format!("{path:?} is no plain relative path"));
        let parsed = Path::parse(path).map_err(|_| refuse())?;
        if path.is_empty() || parsed.as_ref() != path || path.split('/').any(|s| s == "." || s == "..") {
            return Err(refuse());
        }
        Ok(self.prefix.parts().chain(parsed.parts()).collect())
    }

    /// Size in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn size_bytes(&self, path: &str) -> Result<u64> {
        let meta = self.inner.head(&self.path(path)?).await.map_err(|e| Error::store(self.show(path), e))?;
        Ok(meta.size)
    }

    /// A whole object of at most `max_bytes`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`], [`Error::Store`].
    pub async fn get(&self, path: &str, max_bytes: u64) -> Result<Bytes> {
        let failed = |e| Error::store(self.show(path), e);
        let found = self.inner.get(&self.path(path)?).await.map_err(failed)?;
        if found.meta.size > max_bytes {
            return Err(Error::TooLarge {
                file: self.show(path),
                what: "its size (bytes)",
                size: found.meta.size,
                limit: max_bytes,
                remedy: "this is no file of ours, or the limit wants raising",
            });
        }
        found.bytes().await.map_err(failed)
    }

    /// Reads an object as a stream in a blocking thread. Memory: a few chunks, whatever the object's size.
    ///
    /// # Errors
    /// Those of `read`, [`Error::NotFound`], [`Error::Store`].
    pub async fn get_with<T, F>(&self, path: &str, read: F) -> Result<T>
    where
        F: FnOnce(&mut (dyn Read + Send)) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let found = self.inner.get(&self.path(path)?).await.map_err(|e| Error::store(self.show(path), e))?;
        bridge::download(found, self.show(path), read).await
    }

    /// Puts a whole object, replacing one that is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        self.inner
            .put(&self.path(path)?, bytes.into())
            .await
            .map_err(|e| Error::store(self.show(path), e))?;
        Ok(digest)
    }

    /// Puts a whole object only when none is there: of several writers exactly one succeeds.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for everybody else, [`Error::Store`].
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Digest> {
        let (digest, to) = (Digest::of(&bytes), self.path(path)?);
        let mut tries = 0;
        loop {
            match self.inner.put_opts(&to, bytes.clone().into(), PutMode::Create.into()).await {
                Err(e) if tries < FOLDER_RACES && lost_its_folder(&e) => tries += 1,
                done => return done.map(|_| digest).map_err(|e| Error::store(self.show(path), e)),
            }
        }
    }

    /// Streams an object out of a blocking thread: `write` fills it, nothing is visible before `write` succeeded and
    /// the last byte is stored; after a failure nothing is left. Memory: a few chunks, whatever the object's size.
    ///
    /// # Errors
    /// Those of `write`, [`Error::Store`].
    pub async fn put_with<T, F>(&self, path: &str, write: F) -> Result<(T, Digest)>
    where
        F: FnOnce(&mut (dyn Write + Send)) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        bridge::upload(&*self.inner, &self.path(path)?, self.show(path), write).await
    }

    /// Deletes an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.inner.delete(&self.path(path)?).await.map_err(|e| Error::store(self.show(path), e)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Paths of all objects below `folder` (the whole store for an empty one), relative to this store, sorted.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let at = if folder.is_empty() { self.prefix.clone() } else { self.path(folder)? };
        let found = self.inner.list(Some(&at)).map_ok(|meta| meta.location).try_collect::<Vec<Path>>().await;
        let found = found.map_err(|e| Error::store(self.show(folder), e))?;
        let skip = self.prefix.parts().count();
        let mut paths: Vec<String> =
            found.into_iter().map(|p| p.parts().skip(skip).collect::<Path>().to_string()).collect();
        paths.sort_unstable();
        Ok(paths)
    }
}
