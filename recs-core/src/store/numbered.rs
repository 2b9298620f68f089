//! Changing state as a run of numbered immutable files.

use super::Store;
use crate::error::{Error, Result};
use bytes::Bytes;

/// `000001.json`, `000002.json`, …: the highest number is the state; a change is the creation of the next number, which
/// exactly one of several writers wins. Works on every store that can create a file only if it is absent.
#[derive(Debug, Clone)]
pub struct NumberedLog {
    store: Store,
}

const MAX_ENTRY_BYTES: u64 = 16 << 20;

impl NumberedLog {
    /// The log in the folder that `store` is.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Name of an entry's file.
    pub fn file_name(number: u64) -> String {
        format!("{number:06}.json")
    }

    /// Number of the latest entry; 0 for an empty log.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn latest_number(&self) -> Result<u64> {
        let numbers = self.store.list("").await?;
        Ok(numbers.iter().filter_map(|p| p.strip_suffix(".json")?.parse().ok()).max().unwrap_or(0))
    }

    /// As [`NumberedLog::latest_number`], for whoever has seen the entry `seen`: entries are never deleted, so a log that ends
    /// before it is not there at all, as in a folder whose disk was taken away.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming that entry, [`Error::Store`].
    pub async fn latest_number_after(&self, seen: u64) -> Result<u64> {
        match self.latest_number().await? {
            number if number < seen => Err(Error::NotFound { path: self.store.show(&Self::file_name(seen)) }),
            number => Ok(number),
        }
    }

    /// The latest entry and its number.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn latest(&self) -> Result<Option<(u64, Bytes)>> {
        match self.latest_number().await? {
            0 => Ok(None),
            number => Ok(Some((number, self.get(number).await?))),
        }
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get(&self, number: u64) -> Result<Bytes> {
        self.store.get(&Self::file_name(number), MAX_ENTRY_BYTES).await
    }

    /// Adds the entry after `seen`, the number that the change is based on.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when somebody else was first: read the latest entry and decide again.
    pub async fn append(&self, seen: u64, entry: Bytes) -> Result<u64> {
        self.store.create(&Self::file_name(seen + 1), entry).await.map(|_| seen + 1)
    }

    /// As [`NumberedLog::append`], of an entry that nobody else writes, because it holds something random: when it is there
    /// already, it was sent twice because the first answer was lost on the way, and is no conflict.
    ///
    /// # Errors
    /// As [`NumberedLog::append`].
    pub async fn append_unique(&self, seen: u64, entry: Bytes) -> Result<u64> {
        match self.append(seen, entry.clone()).await {
            Err(Error::AlreadyExists { .. }) if self.get(seen + 1).await? == entry => Ok(seen + 1),
            done => done,
        }
    }

    /// Adds an entry that does not depend on the ones before, retrying when others are faster.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn push(&self, entry: Bytes) -> Result<u64> {
        let mut seen = self.latest_number().await?;
        loop {
            match self.append(seen, entry.clone()).await {
                Err(Error::AlreadyExists { .. }) => seen += 1,
                done => return done,
            }
        }
    }
}
