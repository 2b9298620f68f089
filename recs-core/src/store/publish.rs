//! All-or-nothing publication of a set of files.

use super::writer::Writer;
use super::{NumberedLog, Store};
use crate::artifact::Digest;
use crate::error::{Error, Result};
use bytes::Bytes;
use std::io::Write;

/// Where writers of a folder claim it.
const CLAIMS: &str = "_writer";

/// Files that become visible together: data files first, to names that nothing refers to, then one manifest by
/// conditional put. Until [`Publication::commit`] returned, readers see nothing; a publication that fails is taken back
/// by [`Publication::abort`], and what a killed process leaves is never referred to.
///
/// A folder has one writer at a time: it holds the latest entry of the numbered log `_writer/`, created before the first
/// data file and deleted at the end. The claim of a process that was killed on this machine is taken over.
#[derive(Debug)]
pub struct Publication {
    store: Store,
    manifest: String,
    claim: u64,
    written: Vec<String>,
}

impl Publication {
    /// Claims the folder that `store` is, for files that `manifest` will refer to.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the manifest is there, [`Error::BeingWritten`] when another writer is at it.
    pub async fn begin(store: Store, manifest: &str) -> Result<Self> {
        refuse_existing(&store, manifest).await?;
        let claims = NumberedLog::new(store.child(CLAIMS)?);
        let busy =
            |writer: &Writer| Error::BeingWritten { path: store.show(CLAIMS), writer: writer.to_string() };
        let seen = match claims.latest().await {
            Ok(None) => 0,
            Ok(Some((number, entry))) => match Writer::parse(&entry) {
                writer if writer.is_dead() => number,
                writer => return Err(busy(&writer)),
            },
            // It finished between the two looks.
            Err(Error::NotFound { .. }) => return Err(busy(&Writer::default())),
            Err(e) => return Err(e),
        };
        let claim = match claims.append(seen, Writer::this().to_json()).await {
            Err(Error::AlreadyExists { .. }) => return Err(busy(&Writer::default())),
            claim => claim?,
        };
        let publication = Self { store, manifest: manifest.to_owned(), claim, written: Vec::new() };
        // The writer before may have committed and left between the first look and the claim.
        match refuse_existing(&publication.store, manifest).await {
            Ok(()) => Ok(publication),
            Err(e) => {
                publication.release().await;
                Err(e)
            }
        }
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

    /// Makes everything visible by creating the manifest, or takes everything back.
    ///
    /// # Errors
    /// Those of [`Store::create`]. When the store does not say whether the manifest was created, nothing is deleted.
    pub async fn commit(self, bytes: Bytes) -> Result<Digest> {
        let error = match self.store.create(&self.manifest, bytes.clone()).await {
            Ok(digest) => {
                self.release().await;
                return Ok(digest);
            }
            Err(e) => e,
        };
        // A reply may be lost, and the repeated request then finds what the first one made.
        match self.store.get(&self.manifest, bytes.len() as u64).await {
            Ok(found) if found == bytes => {
                self.release().await;
                Ok(Digest::of(&bytes))
            }
            Err(Error::NotFound { .. }) => {
                self.abort().await;
                Err(error)
            }
            _ => Err(error),
        }
    }

    /// Deletes what was written. Errors of single deletions are ignored: nothing refers to the files.
    pub async fn abort(self) {
        for path in &self.written {
            let _ = self.store.delete(path).await;
        }
        self.release().await;
    }

    /// Gives the folder up; what is left of a claim here is taken over once this process is gone.
    async fn release(&self) {
        // The latest goes last: while it is there, nobody else can claim.
        for number in 1..=self.claim {
            let _ = self.store.delete(&format!("{CLAIMS}/{}", NumberedLog::file_name(number))).await;
        }
    }
}

async fn refuse_existing(store: &Store, manifest: &str) -> Result<()> {
    match store.size_bytes(manifest).await {
        Err(Error::NotFound { .. }) => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Err(Error::AlreadyExists { path: store.show(manifest) }),
    }
}
