//! A folder or a URL -> a store.

use super::Store;
use crate::error::{Error, Result};
use object_store::ObjectStoreScheme;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use std::path::Path;
use std::sync::Arc;

impl Store {
    /// Opens a store: a folder (`./data`, created when missing), `file:///…`, `memory:///`, and with the features
    /// `gcs`, `s3` and `azure` `gs://bucket/…`, `s3://bucket/…`, `az://container/…`. Cloud credentials come from
    /// `options` only, under object_store's names (e.g. `google_service_account`).
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that is not understood or whose feature is off, [`Error::Io`] for a folder that
    /// cannot be made.
    pub fn open<K, V>(url: &str, options: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: AsRef<str>,
        V: Into<String>,
    {
        if !url.contains("://") {
            return Self::local(Path::new(url));
        }
        let refuse = |reason: String| Error::config("store", format!("{url}: {reason}"));
        let parsed = url::Url::parse(url).map_err(|e| refuse(e.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Error::config(
                "store",
                "a URL with a user or password is refused: pass credentials as options",
            ));
        }
        let (scheme, _) = ObjectStoreScheme::parse(&parsed).map_err(|e| refuse(e.to_string()))?;
        match scheme {
            ObjectStoreScheme::Local => {
                let path = parsed.to_file_path().map_err(|()| refuse("is no local path".into()))?;
                Self::local(&path)
            }
            ObjectStoreScheme::Memory => Ok(Self::new(Arc::new(InMemory::new()), url)),
            _ => {
                let (store, prefix) = object_store::parse_url_opts(&parsed, options)
                    .map_err(|e| refuse(format!("{e} (is the feature gcs, s3 or azure of recs-core on?)")))?;
                Ok(Self::new(Arc::from(store), url).at_prefix(&prefix))
            }
        }
    }

    /// A store in a local folder, which is created when missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn local(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let folder = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
        let shown = folder.display().to_string();
        let inner = LocalFileSystem::new_with_prefix(&folder).map_err(|e| Error::store(&shown, e))?;
        // What is there when a write returns is there after a loss of power: cursors, labels and keys are such files.
        Ok(Self::new(Arc::new(inner.with_automatic_cleanup(true).with_fsync(true)), &shown))
    }

    /// A store in memory: for tests and notebooks.
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "memory://")
    }
}

/// Options of cloud stores among the variables of the environment: those that begin with `AWS_`, `GOOGLE_` or `AZURE_`, in
/// lower case, as [`Store::open`] takes them. For hosts that keep credentials there; the library never looks by itself.
pub fn env_options() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?.to_ascii_lowercase();
        let is_ours = ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix));
        Some((is_ours.then_some(name)?, value.into_string().ok()?))
    })
}
