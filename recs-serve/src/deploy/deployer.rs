//! A server that serves what the registry says.

use super::adopt::Adopted;
use super::cache::Cache;
use super::gate::GateConfig;
use super::load::is_away;
use super::part::Part;
use super::state::State;
use super::{Live, ModelMemory, Serving};
use crate::error::{Error, Result};
use crate::index::IndexConfig;
use crate::registry::{By, Deployment, Registry};
use crate::retriever::Host;
use recs_core::store::TenantRoot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;
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
    pub(super) memory: ModelMemory,
    state: Mutex<State>,
    /// Where versions are on this machine's disk.
    pub(super) places: Lock<BTreeMap<String, PathBuf>>,
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

    pub(super) fn swap(&self, serving: Serving) -> Arc<Serving> {
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
