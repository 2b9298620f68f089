//! A deployment of the registry -> what serves.

use super::deployer::Deployer;
use super::load::is_unfit;
use super::part::Part;
use super::state::State;
use super::watch::Watch;
use super::{Serving, Version};
use crate::error::{Error, Result};
use crate::registry::Deployment;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks whether the registry still wants what is being loaded.
const STILL_WANTED: Duration = Duration::from_secs(1);

/// What became of a deployment.
pub(super) enum Adopted {
    /// All of it serves.
    Whole,
    /// What is missing is tried again later.
    Partly,
    /// The registry says something else by now.
    Outdated,
}

/// A deployment while it is put together.
struct Adoption<'a> {
    /// Of the change that says so.
    number: u64,
    deployment: &'a Deployment,
    /// Its production served before.
    is_back: bool,
    /// What there is of it so far.
    serving: Serving,
    /// Why a trial is not.
    failure: Option<Error>,
    /// Requests are answered by `serving`.
    is_in_place: bool,
}

impl Deployer {
    /// Serves a deployment, production first.
    pub(super) async fn adopt(
        &self,
        state: &mut State,
        number: u64,
        deployment: &Deployment,
    ) -> Result<Adopted> {
        let seen = state.seen.unwrap_or(number.saturating_sub(1));
        let is_back = self.registry.went_back(seen, number).await?;
        let now = self.live.serving();
        let loaded = |version: &str| now.versions().find(|loaded| loaded.name() == version).cloned();
        // A version that serves without the registry's word serves until there is another.
        let mut serving = Serving { production: now.production.clone(), ..Serving::default() };
        for part in Part::ALL {
            part.put(&mut serving, part.of(deployment).and_then(loaded), deployment);
        }
        let (failure, is_in_place) = (None, false);
        let mut adoption = Adoption { number, deployment, is_back, serving, failure, is_in_place };
        let mut adopted = Adopted::Whole;
        for part in Part::ALL {
            let Some(version) = part.of(deployment) else { continue };
            let here = loaded(version);
            if here.is_none() && !state.may_try(version) {
                adopted = Adopted::Partly;
            } else if let Some(ended) = self.adopt_part(state, &mut adoption, part, version, here).await? {
                return Ok(ended);
            }
        }
        if deployment.production.is_some() {
            state.unspoken = None;
        }
        if !adoption.is_in_place {
            self.put_in_place(state, adoption.serving);
        }
        adoption.failure.map_or(Ok(adopted), Err)
    }

    /// Serves one part more; None to go on with the next. `here` is the version, where it serves already.
    async fn adopt_part(
        &self,
        state: &mut State,
        adoption: &mut Adoption<'_>,
        part: Part,
        version: &str,
        here: Option<Arc<Version>>,
    ) -> Result<Option<Adopted>> {
        let is_new = here.is_none();
        let found = match here {
            Some(here) => Ok(Some(here)),
            None => self.get(state, adoption.number, version, adoption.is_back).await,
        };
        let mut with = adoption.serving.clone();
        let fits = found.and_then(|found| {
            let Some(found) = found else { return Ok(false) };
            part.put(&mut with, Some(found), adoption.deployment);
            self.memory.check(version, with.bytes()).map(|()| true)
        });
        match fits {
            Ok(false) => Ok(Some(Adopted::Outdated)),
            Ok(true) => {
                state.failed.remove(version);
                (adoption.serving, adoption.is_in_place) = (with, is_new);
                if is_new {
                    self.put_in_place(state, adoption.serving.clone());
                }
                Ok(None)
            }
            Err(error) if self.config.roll_back && is_unfit(&error) => {
                let taken = self.take_back(part, version, adoption.number, &error).await;
                if taken.is_err() {
                    // It is still what the registry says, and no better the next time.
                    state.failed(version);
                }
                taken.map(Some)
            }
            Err(error) => {
                state.failed(version);
                // Trials wait for the version that they are compared with.
                if part == Part::Production {
                    return Err(error);
                }
                adoption.failure.get_or_insert(error);
                Ok(None)
            }
        }
    }

    /// Takes an unfit version out of the registry.
    async fn take_back(&self, part: Part, version: &str, number: u64, error: &Error) -> Result<Adopted> {
        tracing::error!(%error, version, part = part.name(), "a version is unfit to serve");
        match self.leave(part, Some(version), error.to_string()).await {
            // Another server was faster: look again.
            Err(Error::Registry { .. }) if self.registry.latest_number().await? != number => {}
            // Nobody reads logs at a first start: what is wrong with the version is told with what keeps it in place.
            Err(Error::Registry { reason }) => return Err(Error::registry(format!("{reason}, and {error}"))),
            done => drop(done?),
        }
        Ok(Adopted::Outdated)
    }

    /// Loads a version; None when the registry says something else before it is loaded.
    async fn get(
        &self,
        state: &mut State,
        number: u64,
        version: &str,
        is_back: bool,
    ) -> Result<Option<Arc<Version>>> {
        let load = self.load_as(version, is_back);
        tokio::select! {
            loaded = load => Ok(Some(Arc::new(Version::new(loaded?)))),
            () = self.changed(state, number) => Ok(None),
        }
    }

    /// Returns when there is a change after `number`. Watches what serves meanwhile.
    async fn changed(&self, state: &mut State, number: u64) {
        loop {
            tokio::time::sleep(STILL_WANTED).await;
            // While the store is away: what is being loaded may be here already.
            let _ = self.check_watched(state).await;
            if self.registry.latest_number_after(number).await.is_ok_and(|latest| latest > number) {
                return;
            }
        }
    }

    pub(super) fn put_in_place(&self, state: &mut State, serving: Serving) {
        fail::fail_point!("deploy-swap");
        let canary = serving.canary.as_ref().map(|trial| Arc::clone(&trial.version));
        let production = serving.production.clone();
        let before = self.swap(serving);
        let was = |part: Part| match part {
            Part::Production => before.production.as_ref(),
            _ => before.canary.as_ref().map(|trial| &trial.version),
        };
        for (part, version) in [(Part::Production, production), (Part::Canary, canary)] {
            if let (Some(now), Some(before)) = (&version, was(part))
                && Arc::ptr_eq(now, before)
            {
                continue;
            }
            state.watched.retain(|watch| watch.part != part);
            if let Some(version) = version {
                let (tenant, name) = (self.root.tenant(), version.name());
                tracing::info!(version = name, part = part.name(), %tenant, "serving");
                let (since, before) = (Instant::now(), version.counts());
                state.watched.push(Watch { part, version: Arc::downgrade(&version), since, before });
            }
        }
    }
}
