//! A version from the store to a retriever that is fit to serve.

use super::Live;
use super::cache::Cache;
use super::deployer::{DeployConfig, Deployer};
use super::gate::examine;
use crate::error::{Error, Result};
use crate::model::ServingModel;
use crate::retriever::{Host, Request, Retriever};
use crate::workers::Workers;
use recs_core::artifact::ArtifactFiles;
use recs_core::observe::CancelToken;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// What is needed to try a version, away from those who answer.
struct Trying {
    version: String,
    cancel: CancelToken,
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
            Some(place) => Cache::index(place, &model, &self.config.index, &self.cancel),
            None => model.index(&self.config.index, &self.cancel),
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

impl Deployer {
    /// Loads a version, from the store with every digest verified or from this machine's disk with every checksum, warms it up,
    /// and examines it as the [gate](super::GateConfig) says; on a thread that stands back behind those who answer.
    ///
    /// # Errors
    /// Those of [`ArtifactFiles::fetch`], [`ArtifactFiles::open`] and [`Retriever::new`]; [`Error::Unfit`].
    pub async fn load(&self, version: &str) -> Result<Arc<Retriever>> {
        self.load_as(version, false).await
    }

    /// `is_back`: it served before, and is not compared with what serves now. Dropped, it stops building an index.
    pub(super) async fn load_as(&self, version: &str, is_back: bool) -> Result<Arc<Retriever>> {
        fail::fail_point!("deploy-load");
        let unwanted = CancelOnDrop(CancelToken::new());
        let place = match &self.cache {
            Some(cache) => Some(self.fetched(cache, version).await?),
            None => None,
        };
        if let Some(place) = place.clone() {
            match self.mapped(self.trial(version, is_back, &unwanted), place).await {
                Ok(Some(retriever)) => return Ok(retriever),
                Ok(None) => {}
                Err(unfit @ Error::Unfit { .. }) => return Err(unfit),
                // The fault may be the file's: the store has the last word.
                Err(error) => {
                    tracing::warn!(%error, version, "a file of the cache is of no use: it is made again")
                }
            }
        }
        let files = twice(|| async { Ok(ArtifactFiles::fetch(&self.root, version).await?) }).await?;
        let trial = self.trial(version, is_back, &unwanted);
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

    /// A version from this machine's disk alone; None where there is no sound file of it.
    pub(super) async fn on_disk(&self, version: &str, place: PathBuf) -> Result<Option<Arc<Retriever>>> {
        let unwanted = CancelOnDrop(CancelToken::new());
        self.mapped(self.trial(version, true, &unwanted), place).await
    }

    async fn mapped(&self, trial: Trying, place: PathBuf) -> Result<Option<Arc<Retriever>>> {
        let mapped = move || Cache::map(&place).map(|model| trial.run(model, Some(&place))).transpose();
        self.host.workers.aside("mapping a model", mapped).await
    }

    fn trial(&self, version: &str, is_back: bool, unwanted: &CancelOnDrop) -> Trying {
        Trying {
            version: version.to_owned(),
            cancel: unwanted.0.clone(),
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
        let places = || self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places().insert(version.to_owned(), place.clone());
        match twice(|| Cache::fetch(&place, &self.root, &manifest)).await {
            // A disk that takes no file costs memory, no failure.
            Err(error @ Error::Core(recs_core::Error::Io { .. })) => {
                tracing::warn!(%error, version, "a version is read into memory instead of mapped");
            }
            done => done?,
        }
        Ok(place)
    }
}

/// Nobody waits any more.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
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
pub(super) fn is_unfit(error: &Error) -> bool {
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

/// True when the store is at fault, or the way to it: what it holds may be as it was.
pub(super) fn is_away(error: &Error) -> bool {
    use recs_core::Error as Core;
    matches!(error, Error::Core(Core::Store { .. } | Core::Io { .. } | Core::NotFound { .. }))
}
