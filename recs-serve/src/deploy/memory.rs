//! Room for the models of many tenants in one process.

use super::{Live, Serving};
use crate::error::{Error, Result};
use recs_core::tenant::TenantId;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How much memory models may take.
///
/// A model counts with all its bytes, whether they are this process's own or parts of a mapped file: what is used of a file takes
/// memory as well, if not for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Bytes of all models together. Beyond, those of the tenant that was asked last of all longest ago are put aside, and loaded
    /// again when it is asked. While a model is being loaded it takes its room twice.
    pub total_bytes: u64,
    /// Bytes of one tenant's models: a version with which there would be more is not served here, and the registry is left alone:
    /// another machine may have room.
    pub tenant_bytes: u64,
}

impl Default for MemoryConfig {
    /// No limit.
    fn default() -> Self {
        Self { total_bytes: u64::MAX, tenant_bytes: u64::MAX }
    }
}

/// Counts the models of the tenants of a process; one for all of their [`Deployer`](super::Deployer)s. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ModelMemory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    config: MemoryConfig,
    held: Mutex<Vec<Held>>,
}

#[derive(Debug)]
struct Held {
    tenant: TenantId,
    live: Weak<Live>,
    bytes: u64,
}

impl ModelMemory {
    /// Within these limits.
    ///
    /// # Errors
    /// [`Error::Config`] for a limit of nothing.
    pub fn new(config: MemoryConfig) -> Result<Self> {
        if config.total_bytes == 0 || config.tenant_bytes == 0 {
            return Err(Error::config("serve.memory", "models need more than 0 bytes"));
        }
        Ok(Self(Arc::new(Shared { config, held: Mutex::default() })))
    }

    /// Refuses a version with which a tenant would have more than it may.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(super) fn check(&self, version: &str, bytes: u64) -> Result<()> {
        let allowed = self.0.config.tenant_bytes.min(self.0.config.total_bytes);
        if bytes <= allowed {
            return Ok(());
        }
        let reason = format!("with it the tenant's models would take {bytes} bytes, allowed are {allowed}");
        Err(Error::NoRoom { version: version.to_owned(), reason })
    }

    /// Serves something else for a tenant, and puts others aside until all fit: at once, so that nobody who swaps is put aside.
    pub(super) fn swap(&self, tenant: &TenantId, live: &Arc<Live>, serving: Serving) -> Arc<Serving> {
        let bytes = serving.bytes();
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|held| held.live.strong_count() > 0 && !held.live.ptr_eq(&Arc::downgrade(live)));
        held.push(Held { tenant: tenant.clone(), live: Arc::downgrade(live), bytes });
        while held.iter().map(|held| held.bytes).sum::<u64>() > self.0.config.total_bytes {
            let others = held.iter().enumerate().filter(|(_, held)| held.bytes > 0);
            let others = others.filter_map(|(i, held)| Some((held.live.upgrade()?, i)));
            let oldest =
                others.filter(|(other, _)| !Arc::ptr_eq(other, live)).min_by_key(|(other, _)| other.used());
            let Some((other, i)) = oldest else { break };
            tracing::info!(tenant = %held[i].tenant, bytes = held[i].bytes, "its models make room for others");
            other.put_aside();
            held[i].bytes = 0;
        }
        live.swap(serving)
    }

    /// Bytes of all models.
    pub fn bytes(&self) -> u64 {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|held| held.bytes).sum()
    }
}
