//! The folders of a tenant. Every path in the store is made here.

use super::{NumberedLog, Store, Table};
use crate::error::{Error, Result};
use crate::hash::fingerprint64;
use crate::tenant::TenantId;

/// `{store}/tenants/{tenant}`: everything of one tenant, and nothing of another.
#[derive(Debug, Clone)]
pub struct TenantRoot {
    tenant: TenantId,
    root: Store,
}

impl Store {
    /// The part of this store that belongs to `tenant`.
    ///
    /// # Errors
    /// None in practice: a [`TenantId`] is always a plain path segment.
    pub fn tenant(&self, tenant: &TenantId) -> Result<TenantRoot> {
        Ok(TenantRoot { tenant: tenant.clone(), root: self.child(&format!("tenants/{tenant}"))? })
    }

    /// Log of the API keys that belong to no tenant: hashes, never keys.
    ///
    /// # Errors
    /// None in practice.
    pub fn operator_key_log(&self) -> Result<NumberedLog> {
        Ok(NumberedLog::new(self.child("operator/keys")?))
    }
}

impl TenantRoot {
    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// A name for a folder on this machine's disk that belongs to this tenant of this store: another store's is another.
    pub fn local_name(&self) -> String {
        format!("{}-{:016x}", self.tenant, fingerprint64(self.root.url().as_bytes()))
    }

    /// `{root}`.
    pub fn store(&self) -> &Store {
        &self.root
    }

    /// `{root}/datasets/{run_id}`: `raw_data/`, `vocabularies/vocabularies.json`, `metadata.json`.
    ///
    /// # Errors
    /// [`Error::Config`] when `run_id` is not 1 to 128 of letters, digits, `-`, `_` and `.`, not starting with `.`.
    pub fn dataset(&self, run_id: &str) -> Result<Store> {
        self.root.child(&format!("datasets/{}", plain("run_id", run_id)?))
    }

    /// `{root}/models/{version}`.
    ///
    /// # Errors
    /// As [`TenantRoot::dataset`].
    pub fn model(&self, version: &str) -> Result<Store> {
        self.root.child(&format!("models/{}", plain("model version", version)?))
    }

    /// `{root}/warehouse/{layer}/{table}`.
    ///
    /// # Errors
    /// As [`TenantRoot::dataset`].
    pub fn table(&self, layer: &str, table: &str) -> Result<Store> {
        self.root.child(&format!("warehouse/{}/{}", plain("layer", layer)?, plain("table", table)?))
    }

    /// `{root}/warehouse/predictions/{table}-{date}`, `date` as in 2026-01-31: a table of one day, so that days go as a whole.
    ///
    /// # Errors
    /// As [`TenantRoot::dataset`].
    pub fn day_table(&self, table: &str, date: &str) -> Result<Table> {
        Table::new(self.table("predictions", &format!("{table}-{date}"))?)
    }

    /// `{root}/experiments`: what trainings and searches said, a file each.
    ///
    /// # Errors
    /// None in practice.
    pub fn experiments(&self) -> Result<Store> {
        self.root.child("experiments")
    }

    /// Log of finished datasets: the latest entry names the newest run.
    ///
    /// # Errors
    /// None in practice.
    pub fn dataset_log(&self) -> Result<NumberedLog> {
        Ok(NumberedLog::new(self.root.child("registry/datasets")?))
    }

    /// Log of what serves: labels of model versions after each change.
    ///
    /// # Errors
    /// None in practice.
    pub fn deployment_log(&self) -> Result<NumberedLog> {
        Ok(NumberedLog::new(self.root.child("registry/deployments")?))
    }

    /// Log of the tenant's API keys: hashes, never keys.
    ///
    /// # Errors
    /// None in practice.
    pub fn key_log(&self) -> Result<NumberedLog> {
        Ok(NumberedLog::new(self.root.child("registry/keys")?))
    }

    /// Log of published model versions: the latest entry names the newest version.
    ///
    /// # Errors
    /// None in practice.
    pub fn model_log(&self) -> Result<NumberedLog> {
        Ok(NumberedLog::new(self.root.child("registry/models")?))
    }
}

/// What runs, versions and tables may be called.
const PLAIN: &str = "1 to 128 letters, digits, -, _ and . not starting with .";

/// True for a name that a run, a version or a table may have: 1 to 128 letters, digits, `-`, `_` and `.`, not starting with `.`.
pub fn is_plain_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

fn plain<'a>(what: &str, name: &'a str) -> Result<&'a str> {
    match is_plain_name(name) {
        true => Ok(name),
        false => Err(Error::config(what, format!("{name:?}: {PLAIN}"))),
    }
}
