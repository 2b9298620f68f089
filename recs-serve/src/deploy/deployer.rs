//! A server that serves what the registry says.

use super::cache::Cache;
use super::gate::{GateConfig, examine};
use super::{Live, ModelMemory, Serving, Split, Trial, Version};
use crate::error::{Error, Result};
use crate::index::IndexConfig;
use crate::model::ServingModel;
use crate::registry::{By, Canary, Deployment, Registry};
use crate::retriever::{Host, Request, Retriever};
use crate::workers::Workers;
use recs_core::artifact::ArtifactFiles;
use recs_core::observe::CancelToken;
use recs_core::store::TenantRoot;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
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

/// Fewer requests than these say nothing about a version.
const MIN_REQUESTS: u64 = 20;
/// Between two looks, however often they failed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Most changes of the registry that one look makes: as many as versions are kept, and the trials.
const MAX_CHANGES: usize = 8;

/// Follows the registry of a tenant: loads what is to be served, tries it, and swaps it in.
///
/// ```text
/// registry: a new number -> load, verify -> warm up, gate -> swap -> watch
///                                    unfit: what served before serves on, and the registry goes back
/// ```
#[derive(Debug)]
pub struct Deployer {
    root: TenantRoot,
    registry: Registry,
    live: Arc<Live>,
    host: Host,
    config: DeployConfig,
    cache: Option<Cache>,
    memory: ModelMemory,
    state: Mutex<State>,
}

/// What is needed to try a version, away from those who answer.
struct Trying {
    version: String,
    is_back: bool,
    host: Host,
    config: DeployConfig,
    recorded: Vec<Request>,
    live: Arc<Live>,
}

impl Trying {
    /// Indexes a model and examines it.
    fn run(self, model: ServingModel, place: Option<&Path>) -> Result<Arc<Retriever>> {
        if model.metadata.model_version != self.version {
            let found = &model.metadata.model_version;
            return Err(Error::model(format!("its version is {found:?}, not {:?}", self.version)));
        }
        let index = || match place {
            Some(place) => Cache::index(place, &model, &self.config.index),
            None => model.index(&self.config.index, &CancelToken::new()),
        };
        // Everything but a graph is a moment's work.
        let index = match model.has_graph(&self.config.index) {
            true => Workers::new(self.config.build_threads)?.install(index)?,
            false => index()?,
        };
        let retriever = Arc::new(Retriever::over(model, Arc::new(index), self.host)?);
        fail::fail_point!("deploy-built");
        let production = self.live.serving().production.clone().filter(|_| !self.is_back);
        let production = production.as_ref().map(|version| version.retriever().as_ref());
        let health = examine(&retriever, self.recorded, production, &self.config.gate)?;
        tracing::info!(version = retriever.metadata().model_version, ?health, "a version is fit to serve");
        Ok(retriever)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Number of the change that is served.
    seen: Option<u64>,
    /// A version that serves without the registry's word.
    unspoken: Option<String>,
    watched: Vec<Watch>,
}

#[derive(Debug, Clone)]
struct Watch {
    part: Part,
    /// Somebody else serves it: whoever makes room takes it with them.
    version: Weak<Version>,
    since: Instant,
    /// What it had answered and failed at then.
    before: (u64, u64),
}

impl Deployer {
    /// Serves nothing before [`Deployer::refresh`].
    ///
    /// # Errors
    /// None in practice.
    pub fn new(root: &TenantRoot, live: Arc<Live>, host: Host, config: DeployConfig) -> Result<Self> {
        let (registry, state) = (Registry::new(root)?, Mutex::default());
        let cache = config.cache.as_deref().map(|folder| Cache::new(folder, root));
        let memory = ModelMemory::default();
        Ok(Self { root: root.clone(), registry, live, host, config, cache, memory, state })
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
    /// is rolled back, see [`DeployConfig::roll_back`].
    ///
    /// Cost: listing a folder of the store while nothing changed.
    ///
    /// # Errors
    /// Those of [`Registry::current`] and [`Deployer::load`]; then what was served is served on, and the next call tries again.
    pub async fn refresh(&self) -> Result<bool> {
        let mut state = self.state.lock().await;
        if self.live.is_aside() {
            return Ok(false);
        }
        self.check_watched(&mut state).await?;
        if state.seen == Some(self.registry.latest_number().await?) {
            return Ok(false);
        }
        for _ in 0..MAX_CHANGES {
            let (number, deployment) = self.registry.current().await?;
            match self.prepare(&deployment).await {
                Ok(serving) => {
                    if deployment.production.is_some() {
                        state.unspoken = None;
                    }
                    self.put_in_place(&mut state, serving);
                    state.seen = Some(number);
                    if let Some(cache) = &self.cache {
                        let before = deployment.previous.iter().map(String::as_str);
                        cache.prune(&deployment.served().chain(before).collect::<Vec<_>>());
                    }
                    return Ok(true);
                }
                Err((part, error)) if self.config.roll_back && is_unfit(&error) => {
                    tracing::error!(%error, part = part.name(), "a version is unfit to serve");
                    match self.take_back(part, &deployment, &error).await {
                        // Another server was faster: look again.
                        Err(Error::Registry { .. }) if self.registry.latest_number().await? != number => {}
                        done => drop(done?),
                    }
                }
                Err((_, error)) => return Err(error),
            }
        }
        Err(Error::registry("others change it all the time: try again"))
    }

    /// Loads a version, from the store with every digest verified or from this machine's disk with every checksum, warms it up,
    /// and examines it as the [gate](GateConfig) says; on a thread that stands back behind those who answer.
    ///
    /// # Errors
    /// Those of [`ArtifactFiles::fetch`], [`ArtifactFiles::open`] and [`Retriever::new`]; [`Error::Unfit`].
    pub async fn load(&self, version: &str) -> Result<Arc<Retriever>> {
        self.load_as(version, false).await
    }

    /// `is_back`: it served before, and is not compared with what serves now.
    async fn load_as(&self, version: &str, is_back: bool) -> Result<Arc<Retriever>> {
        fail::fail_point!("deploy-load");
        let place = match &self.cache {
            Some(cache) => Some(self.fetched(cache, version).await?),
            None => None,
        };
        if let Some(place) = place.clone() {
            let trial = self.trial(version, is_back);
            let mapped = move || Cache::map(&place).map(|model| trial.run(model, Some(&place))).transpose();
            match self.host.workers.aside("mapping a model", mapped).await {
                Ok(Some(retriever)) => return Ok(retriever),
                Ok(None) => {}
                // The fault may be the file's: the store has the last word.
                Err(error) => {
                    tracing::warn!(%error, version, "a file of the cache is of no use: it is made again")
                }
            }
        }
        let files = twice(|| async { Ok(ArtifactFiles::fetch(&self.root, version).await?) }).await?;
        let trial = self.trial(version, is_back);
        fail::fail_point!("deploy-fetched");
        let read = move || {
            let model = ServingModel::new(Arc::new(files.open()?))?.prepared(&trial.config.index)?;
            let model = match &place {
                Some(place) => Cache::keep(place, model),
                None => model,
            };
            trial.run(model, place.as_deref())
        };
        self.host.workers.aside("reading a model", read).await
    }

    fn trial(&self, version: &str, is_back: bool) -> Trying {
        Trying {
            version: version.to_owned(),
            is_back,
            host: self.host.clone(),
            config: self.config.clone(),
            recorded: self.live.recorded(),
            live: Arc::clone(&self.live),
        }
    }

    /// Where the version is kept on this machine's disk, or is to be; what it [brings along](crate::model::publish) is there.
    async fn fetched(&self, cache: &Cache, version: &str) -> Result<PathBuf> {
        let (manifest, digest) = ArtifactFiles::manifest(&self.root, version).await?;
        let place = cache.place(version, &digest.sha256);
        match twice(|| Cache::fetch(&place, &self.root, &manifest)).await {
            // A disk that takes no file costs memory, no failure.
            Err(error @ Error::Core(recs_core::Error::Io { .. })) => {
                tracing::warn!(%error, version, "a version is read into memory instead of mapped");
            }
            done => done?,
        }
        Ok(place)
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

    /// Refreshes until the tenant is [removed](Live::end), `every` so often and whenever [`Live::nudge`] says so; failures are logged and told to `failed`, and
    /// make the looks rarer, up to five minutes.
    pub async fn follow(self: Arc<Self>, every: Duration, failed: impl Fn(&Error) + Send) {
        let mut wait = every;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.live.nudged() => {}
            }
            if self.live.is_over() {
                return;
            }
            let done = match self.live.is_called_back() {
                true => self.come_back().await,
                false => self.refresh().await.map(drop),
            };
            wait = match done {
                Ok(()) => every,
                Err(error) => {
                    let tenant = self.root.tenant();
                    tracing::error!(%error, %tenant, "what is served may be out of date");
                    failed(&error);
                    // Fetching a large model again and again helps nobody.
                    (2 * wait).min(LONGEST_WAIT.max(every))
                }
            };
        }
    }

    /// The versions of a deployment, those loaded already taken from what serves.
    async fn prepare(&self, deployment: &Deployment) -> Result<Serving, (Part, Error)> {
        let now = self.live.serving();
        let is_back = self.registry.latest_is_rollback().await.map_err(|e| (Part::Production, e))?;
        let get = async |version: &str| match now.versions().find(|loaded| loaded.name() == version) {
            Some(loaded) => Ok(Arc::clone(loaded)),
            None => Ok(Arc::new(Version::new(self.load_as(version, is_back).await?))),
        };
        // A version that serves without the registry's word serves until there is another.
        let mut serving = Serving { production: now.production.clone(), ..Serving::default() };
        let fits = |serving: &Serving, version: &str| self.memory.check(version, serving.bytes());
        if let Some(version) = &deployment.production {
            serving.production = Some(get(version).await.map_err(|e| (Part::Production, e))?);
            fits(&serving, version).map_err(|e| (Part::Production, e))?;
        }
        if let Some(Canary { version, share }) = &deployment.canary {
            let split = Split::new(*share, version.clone());
            let loaded = get(version).await.map_err(|e| (Part::Canary, e))?;
            serving.canary = Some(Trial { version: loaded, split });
            fits(&serving, version).map_err(|e| (Part::Canary, e))?;
        }
        if let Some(version) = &deployment.shadow {
            serving.shadow = Some(get(version).await.map_err(|e| (Part::Shadow, e))?);
            fits(&serving, version).map_err(|e| (Part::Shadow, e))?;
        }
        Ok(serving)
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

    /// Takes an unfit version out of the registry.
    async fn take_back(&self, part: Part, deployment: &Deployment, error: &Error) -> Result<Deployment> {
        let canary = deployment.canary.as_ref().map(|canary| canary.version.as_str());
        let version = match part {
            Part::Production => deployment.production.as_deref(),
            Part::Canary => canary,
            Part::Shadow => deployment.shadow.as_deref(),
        };
        self.leave(part, version, error.to_string()).await
    }

    async fn leave(&self, part: Part, version: Option<&str>, why: String) -> Result<Deployment> {
        let by = self.by(why);
        match part {
            Part::Production => self.registry.rollback(version, &by).await,
            Part::Canary => self.registry.end_canary(version, &by).await,
            Part::Shadow => self.registry.end_shadow(version, &by).await,
        }
    }

    /// Goes back when the version that came into production lately fails at its requests, and ends a trial that does.
    async fn check_watched(&self, state: &mut State) -> Result<()> {
        let longest = Duration::from_secs(self.config.watch_seconds);
        // A trial is watched as long as it lasts.
        let is_watched =
            |watch: &Watch| matches!(watch.part, Part::Canary) || watch.since.elapsed() <= longest;
        state.watched.retain(|watch| watch.version.strong_count() > 0 && is_watched(watch));
        let watched = state.watched.clone();
        for Watch { part, version, before, .. } in watched {
            let Some(version) = version.upgrade() else { continue };
            let (answered, failed) = version.counts();
            let (answered, failed) = (answered - before.0, failed - before.1);
            let total = answered + failed;
            if total < MIN_REQUESTS || failed as f64 <= total as f64 * self.config.max_failures {
                continue;
            }
            let reason = format!("it failed at {failed} of {total} requests");
            tracing::error!(
                version = version.name(),
                reason,
                part = part.name(),
                "a version is unfit to serve"
            );
            if self.config.roll_back {
                match self.leave(part, Some(version.name()), reason).await {
                    // Others decided already, or there is nothing to go back to.
                    Err(Error::Registry { reason }) => tracing::warn!(reason, "the registry stays as it is"),
                    done => drop(done?),
                }
            }
            // Said and done once.
            state.watched.retain(|watch| !watch.version.ptr_eq(&Arc::downgrade(&version)));
        }
        Ok(())
    }

    fn by(&self, why: String) -> By {
        let now = jiff::Timestamp::from_second(self.host.clock.unix_seconds());
        By { at: now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string(), who: "server".into(), why }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Production,
    Canary,
    Shadow,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// What came damaged, or while it was being put in place, may be whole the second time: a version is not blamed for its way.
async fn twice<T, F: Future<Output = Result<T>>>(get: impl Fn() -> F) -> Result<T> {
    match get().await {
        Err(Error::Core(recs_core::Error::Digest { .. } | recs_core::Error::NotFound { .. })) => get().await,
        done => done,
    }
}

/// True when the version is at fault, and not the way to it: trying again does not help.
fn is_unfit(error: &Error) -> bool {
    use recs_core::Error as Core;
    match error {
        Error::Core(Core::Store { .. } | Core::Io { .. } | Core::Cancelled | Core::Worker { .. })
        | Error::Registry { .. }
        | Error::Worker { .. } => false,
        Error::Core(_) => true,
        other => matches!(
            other,
            Error::Unfit { .. } | Error::Model { .. } | Error::NonFinite { .. } | Error::Index { .. }
        ),
    }
}
