//! A server that serves what the registry says.

use super::cache::Cache;
use super::gate::GateConfig;
use super::load::{is_away, is_unfit};
use super::remembered::Remembered;
use super::watch::Watch;
use super::{Live, ModelMemory, Serving, Split, Trial, Version};
use crate::error::{Error, Result};
use crate::index::IndexConfig;
use crate::registry::{By, Deployment, Registry};
use crate::retriever::Host;
use recs_core::store::TenantRoot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How versions are deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// What a version must fulfil before it serves.
    pub gate: GateConfig,
    /// Changes the registry when a version proves unfit: production goes back to the version before, trials end. Otherwise this
    /// server goes on with what it served.
    pub roll_back: bool,
    /// So long after a version came into production its failures are watched.
    pub watch_seconds: u64,
    /// More failures than this share of the requests (of 20 at least), and it is rolled back.
    pub max_failures: f64,
    /// Which index a catalogue is searched by.
    pub index: IndexConfig,
    /// Threads that build an index while others answer.
    pub build_threads: usize,
    /// A folder on this machine's disk where versions are kept as they are served, to be mapped: then a version takes hardly any
    /// memory of its own, and one that served before is back in a moment. Of those that are not in the registry any more, not
    /// even to go back to, the files are deleted. Processes may share it. None: versions are read into memory.
    /// What was served last is known from there while the store is away.
    pub cache: Option<PathBuf>,
}

impl Default for DeployConfig {
    fn default() -> Self {
        Self {
            gate: GateConfig::default(),
            roll_back: true,
            watch_seconds: 300,
            max_failures: 0.02,
            index: IndexConfig::default(),
            build_threads: 1,
            cache: None,
        }
    }
}

/// Between two tries to load a version that could not be loaded, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Between two looks whether the registry still wants what is being loaded.
const STILL_WANTED: Duration = Duration::from_secs(1);
/// Most changes of the registry that one look makes: as many as versions are kept, and the trials.
const MAX_CHANGES: usize = 8;

/// Follows the registry of a tenant: loads what is to be served, tries it, and swaps it in.
///
/// ```text
/// registry: a new number -> load, verify -> warm up, gate -> swap -> watch
///                                    unfit: what served before serves on, and the registry goes back
/// ```
/// Production comes first: a trial that cannot be loaded is left out, and holds up nothing else. What is being loaded is given up
/// when the registry says something else meanwhile.
#[derive(Debug)]
pub struct Deployer {
    pub(super) root: TenantRoot,
    pub(super) registry: Registry,
    pub(super) live: Arc<Live>,
    pub(super) host: Host,
    pub(super) config: DeployConfig,
    pub(super) cache: Option<Cache>,
    memory: ModelMemory,
    state: Mutex<State>,
    /// Where versions are on this machine's disk.
    pub(super) places: Lock<BTreeMap<String, PathBuf>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Number of the change that is served, all of it.
    seen: Option<u64>,
    /// Number of the change that is remembered on this machine's disk.
    remembered: Option<u64>,
    /// The latest change that there is known to be.
    latest: u64,
    /// A version that serves without the registry's word.
    unspoken: Option<String>,
    /// Versions that could not be loaded, for a fault that is not theirs.
    failed: BTreeMap<String, Failed>,
    pub(super) watched: Vec<Watch>,
}

#[derive(Debug)]
struct Failed {
    wait: Duration,
    until: Instant,
}

impl State {
    fn may_try(&self, version: &str) -> bool {
        self.failed.get(version).is_none_or(|failed| failed.until <= Instant::now())
    }

    fn failed(&mut self, version: &str) {
        let wait = self.failed.get(version).map_or(FIRST_WAIT, |failed| (2 * failed.wait).min(LONGEST_WAIT));
        let failed = Failed { wait, until: Instant::now() + wait };
        self.failed.insert(version.to_owned(), failed);
    }
}

/// What became of a deployment.
enum Adopted {
    /// All of it serves.
    Whole,
    /// What is missing is tried again later.
    Partly,
    /// The registry says something else by now.
    Outdated,
}

impl Deployer {
    /// Serves nothing before [`Deployer::refresh`].
    ///
    /// # Errors
    /// None in practice.
    pub fn new(root: &TenantRoot, live: Arc<Live>, host: Host, config: DeployConfig) -> Result<Self> {
        let (registry, state) = (Registry::new(root)?, Mutex::default());
        let cache = config.cache.as_deref().map(|folder| Cache::new(folder, root));
        let (memory, places) = (ModelMemory::default(), Lock::default());
        Ok(Self { root: root.clone(), registry, live, host, config, cache, memory, state, places })
    }

    /// Shares room with the deployers of other tenants: what was not asked for long makes room, and comes back when it is asked for,
    /// which takes [`Deployer::follow`].
    #[must_use]
    pub fn with_memory(mut self, memory: ModelMemory) -> Self {
        self.memory = memory;
        self
    }

    /// The labels that it follows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whose models it loads.
    pub fn root(&self) -> &TenantRoot {
        &self.root
    }

    /// Looks whether the registry says something else than is served, and serves that; true when it did. What is unfit to serve
    /// is rolled back, see [`DeployConfig::roll_back`]. While nothing is served and the store is away, what was served last is served
    /// from this machine's disk.
    ///
    /// Cost: listing a folder of the store while nothing changed.
    ///
    /// # Errors
    /// Those of [`Registry::current`] and [`Deployer::load`]; then what could be loaded is served, or what was served before, and the
    /// next call tries again.
    pub async fn refresh(&self) -> Result<bool> {
        let mut state = self.state.lock().await;
        state.failed.clear();
        self.look(&mut state).await
    }

    async fn look(&self, state: &mut State) -> Result<bool> {
        if self.live.is_aside() {
            return Ok(false);
        }
        match self.follow_registry(state).await {
            Err(error) if is_away(&error) && self.live.serving().production.is_none() => {
                self.serve_remembered(state, error).await
            }
            done => done,
        }
    }

    async fn follow_registry(&self, state: &mut State) -> Result<bool> {
        self.check_watched(state).await?;
        self.recall(state).await?;
        for _ in 0..MAX_CHANGES {
            if state.seen == Some(self.registry.latest_number_after(state.latest).await?) {
                return Ok(false);
            }
            let (number, deployment) = self.registry.current().await?;
            state.latest = state.latest.max(number);
            let adopted = self.adopt(state, number, &deployment).await;
            let is_whole = matches!(adopted, Ok(Adopted::Whole));
            // A trial that cannot be loaded keeps nobody from knowing what serves.
            if is_whole || self.serves_production(&deployment) && state.remembered != Some(number) {
                self.remember(state, number, &deployment).await;
                state.remembered = Some(number);
            }
            match adopted? {
                Adopted::Whole => {
                    state.seen = Some(number);
                    return Ok(true);
                }
                Adopted::Partly => return Ok(false),
                Adopted::Outdated => {}
            }
        }
        Err(Error::registry("others change it all the time: try again"))
    }

    fn serves_production(&self, deployment: &Deployment) -> bool {
        let serving = self.live.serving();
        let name = serving.production.as_ref().map(|version| version.name());
        name.is_some() && name == deployment.production.as_deref()
    }

    /// Serves a deployment, production first.
    async fn adopt(&self, state: &mut State, number: u64, deployment: &Deployment) -> Result<Adopted> {
        let seen = state.seen.unwrap_or(number.saturating_sub(1));
        let is_back = self.registry.went_back(seen, number).await?;
        let now = self.live.serving();
        let loaded = |version: &str| now.versions().find(|loaded| loaded.name() == version).cloned();
        // A version that serves without the registry's word serves until there is another.
        let mut serving = Serving { production: now.production.clone(), ..Serving::default() };
        for part in Part::ALL {
            let version = part.of(deployment).and_then(loaded);
            part.put(&mut serving, version, deployment);
        }
        let (mut adopted, mut failure, mut is_in_place) = (Adopted::Whole, None, false);
        for part in Part::ALL {
            let Some(version) = part.of(deployment) else { continue };
            let found = match loaded(version) {
                Some(version) => Ok(Some(version)),
                None if !state.may_try(version) => {
                    adopted = Adopted::Partly;
                    continue;
                }
                None => self.get(state, number, version, is_back).await,
            };
            let mut with = serving.clone();
            let fits = found.and_then(|found| {
                let Some(found) = found else { return Ok(false) };
                part.put(&mut with, Some(found), deployment);
                self.memory.check(version, with.bytes()).map(|()| true)
            });
            match fits {
                Ok(true) => serving = with,
                Ok(false) => return Ok(Adopted::Outdated),
                Err(error) if self.config.roll_back && is_unfit(&error) => {
                    let taken = self.take_back(part, version, number, &error).await;
                    if taken.is_err() {
                        // It is still what the registry says, and no better the next time.
                        state.failed(version);
                    }
                    return taken;
                }
                Err(error) => {
                    state.failed(version);
                    // Trials wait for the version that they are compared with.
                    if part == Part::Production {
                        return Err(error);
                    }
                    failure = failure.or(Some(error));
                    continue;
                }
            }
            state.failed.remove(version);
            is_in_place = loaded(version).is_none();
            if is_in_place {
                self.put_in_place(state, serving.clone());
            }
        }
        if deployment.production.is_some() {
            state.unspoken = None;
        }
        if !is_in_place {
            self.put_in_place(state, serving);
        }
        failure.map_or(Ok(adopted), Err)
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

    /// Remembers what is served, and deletes the files of what is not served any more.
    async fn remember(&self, state: &State, number: u64, deployment: &Deployment) {
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
    async fn recall(&self, state: &mut State) -> Result<()> {
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
    async fn serve_remembered(&self, state: &mut State, away: Error) -> Result<bool> {
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

    /// Serves a version that the registry does not speak of, until it does.
    ///
    /// # Errors
    /// Those of [`Deployer::load`].
    pub async fn serve(&self, version: &str) -> Result<()> {
        let mut state = self.state.lock().await;
        self.serve_unspoken(&mut state, version.to_owned()).await
    }

    async fn serve_unspoken(&self, state: &mut State, version: String) -> Result<()> {
        let retriever = self.load(&version).await?;
        self.memory.check(&version, retriever.bytes())?;
        state.unspoken = Some(version);
        self.swap(Serving::only(retriever));
        Ok(())
    }

    /// Serves again what had made room.
    async fn come_back(&self) -> Result<()> {
        let come = async {
            self.state.lock().await.seen = None;
            self.refresh().await?;
            let mut state = self.state.lock().await;
            match state.unspoken.clone().filter(|_| self.live.serving().production.is_none()) {
                Some(version) => self.serve_unspoken(&mut state, version).await,
                None => Ok(()),
            }
        };
        let done = come.await;
        self.live.give_up();
        done
    }

    fn swap(&self, serving: Serving) -> Arc<Serving> {
        self.memory.swap(self.root.tenant(), &self.live, serving)
    }

    /// Refreshes until the tenant is [removed](Live::end), `every` so often and whenever [`Live::nudge`] says so; failures are logged and
    /// told to `failed`. A version that cannot be loaded is tried again after 5 seconds, then more and more rarely, up to every five
    /// minutes.
    pub async fn follow(self: Arc<Self>, every: Duration, failed: impl Fn(&Error) + Send) {
        let mut last = String::new();
        loop {
            let is_nudged = tokio::select! {
                () = tokio::time::sleep(every) => false,
                () = self.live.nudged() => true,
            };
            if self.live.is_over() {
                return;
            }
            let done = match self.live.is_called_back() {
                true => self.come_back().await,
                false => {
                    let mut state = self.state.lock().await;
                    if is_nudged {
                        state.failed.clear();
                    }
                    self.look(&mut state).await.map(drop)
                }
            };
            let said = done.as_ref().err().map(Error::to_string).unwrap_or_default();
            if let Err(error) = done {
                failed(&error);
                // Once: it may be the same for hours.
                if said != last {
                    let tenant = self.root.tenant();
                    tracing::error!(%error, %tenant, "what is served may be out of date");
                }
            }
            last = said;
        }
    }

    fn put_in_place(&self, state: &mut State, serving: Serving) {
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

    pub(super) async fn leave(&self, part: Part, version: Option<&str>, why: String) -> Result<Deployment> {
        let by = self.by(why);
        match part {
            Part::Production => self.registry.rollback(version, &by).await,
            Part::Canary => self.registry.end_canary(version, &by).await,
            Part::Shadow => self.registry.end_shadow(version, &by).await,
        }
    }

    fn by(&self, why: String) -> By {
        let now = jiff::Timestamp::from_second(self.host.clock.unix_seconds());
        By { at: now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string(), who: "server".into(), why }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Production,
    Canary,
    Shadow,
}

impl Part {
    /// Production first: the others are compared with it.
    const ALL: [Self; 3] = [Self::Production, Self::Canary, Self::Shadow];

    /// The version of a deployment that is to serve here.
    fn of(self, deployment: &Deployment) -> Option<&str> {
        match self {
            Self::Production => deployment.production.as_deref(),
            Self::Canary => Some(deployment.canary.as_ref()?.version.as_str()),
            Self::Shadow => deployment.shadow.as_deref(),
        }
    }

    /// Puts a version where it serves; without one production stays.
    fn put(self, serving: &mut Serving, version: Option<Arc<Version>>, deployment: &Deployment) {
        match self {
            Self::Production => serving.production = version.or(serving.production.take()),
            Self::Canary => {
                let split = deployment.canary.as_ref().map(|of| Split::new(of.share, of.version.clone()));
                serving.canary = version.zip(split).map(|(version, split)| Trial { version, split });
            }
            Self::Shadow => serving.shadow = version,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}
