//! What was served last, for a start while the store is away.

use super::cache::Cache;
use super::deployer::Deployer;
use super::part::Part;
use super::state::State;
use super::{Serving, Version};
use crate::error::{Error, Result};
use crate::registry::Deployment;
use recs_core::artifact::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

const FILE: &str = "deployment.json";

/// A deployment that was served whole, and where its versions are on this machine's disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// Of the change that said so.
    pub(super) number: u64,
    /// Of that entry: another store, or one that was begun anew, has another.
    pub(super) entry: Digest,
    pub(super) deployment: Deployment,
    /// Files of the versions, by name.
    pub(super) places: BTreeMap<String, PathBuf>,
}

impl Remembered {
    /// What is remembered; nothing where the file is damaged or of another release.
    pub(super) fn read(cache: &Cache) -> Option<Self> {
        serde_json::from_slice(&fs::read(cache.file(FILE)).ok()?).ok()
    }

    /// Remembers it. That is a help and no duty: a disk that takes no file is told, and nothing else.
    pub(super) fn write(&self, cache: &Cache) {
        let written = serde_json::to_vec_pretty(self)
            .map_err(|e| recs_core::Error::document(FILE, e.to_string()))
            .and_then(|json| cache.write(FILE, &json));
        if let Err(error) = written {
            tracing::warn!(%error, "what is served is not remembered for a start without the store");
        }
    }

    pub(super) fn forget(cache: &Cache) {
        let _ = fs::remove_file(cache.file(FILE));
    }
}

impl Deployer {
    /// Remembers what is served, and deletes the files of what is not served any more.
    pub(super) async fn remember(&self, state: &State, number: u64, deployment: &Deployment) {
        let Some(cache) = self.cache.as_ref().filter(|_| number > 0) else { return };
        let before = deployment.previous.iter().chain(&state.unspoken).map(String::as_str);
        cache.prune(&deployment.served().chain(before).collect::<Vec<_>>());
        let Ok(Some(entry)) = self.registry.digest(number).await else { return };
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let places = places.into_iter().filter(|(version, _)| deployment.served().any(|of| of == version));
        let (deployment, places) = (deployment.clone(), places.collect());
        Remembered { number, entry, deployment, places }.write(cache);
    }

    /// Before the first look: a store that does not have the change that was served last is away, if it is the same store. One that
    /// has models and not that change was begun anew.
    pub(super) async fn recall(&self, state: &mut State) -> Result<()> {
        let Some(cache) = self.cache.as_ref().filter(|_| state.latest == 0) else { return Ok(()) };
        let Some(Remembered { number, entry, .. }) = Remembered::read(cache) else { return Ok(()) };
        let found = self.registry.digest(number).await?;
        let is_empty = found.is_none() && self.root.model_log()?.latest_number().await? == 0;
        match is_empty || found == Some(entry) {
            true => state.latest = number,
            false => Remembered::forget(cache),
        }
        Ok(())
    }

    /// Serves what was served last, from this machine's disk; the next look asks the store again.
    ///
    /// # Errors
    /// `away`, where nothing is remembered or the files are gone.
    pub(super) async fn serve_remembered(&self, state: &mut State, away: Error) -> Result<bool> {
        let Some(remembered) = self.cache.as_ref().and_then(Remembered::read) else { return Err(away) };
        let Remembered { deployment, places, .. } = remembered;
        let mut serving = Serving::default();
        for part in Part::ALL {
            let Some((version, place)) = part.of(&deployment).and_then(|of| places.get_key_value(of)) else {
                continue;
            };
            let loaded = self.on_disk(version, place.clone()).await.unwrap_or_else(|error| {
                tracing::warn!(%error, version, "what was served last cannot be served");
                None
            });
            part.put(&mut serving, loaded.map(|loaded| Arc::new(Version::new(loaded))), &deployment);
        }
        if serving.production.is_none() {
            return Err(away);
        }
        let tenant = self.root.tenant();
        tracing::error!(error = %away, %tenant, "the store is away: what was served last is served from this machine's disk");
        self.put_in_place(state, serving);
        Ok(true)
    }
}
