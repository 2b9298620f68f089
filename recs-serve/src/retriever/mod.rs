//! Requests -> ranked products, each with the reason why it is there.
//!
//! ```text
//! Request -> known customer?  yes -> model ----------------------------+
//!              no -> known city? yes -> model, customer unknown --------+-> rank -> pins, boosts, caps -> Recommendations
//!                      no -> segment of customer or city? yes -> its bestsellers -+        |
//!                              no -> bestsellers of everybody -----------+    too few: bestsellers fill up
//! ```
//!
//! | file | what |
//! |---|---|
//! | `request.rs` | [`Request`] and its checks |
//! | `answer.rs` | [`Recommendations`], [`Item`], [`Reason`] |
//! | `recommend.rs` | [`Retriever::recommend`], [`Retriever::recommend_batch`] |
//! | `draft.rs` | the list while it is filled: pins, then ranked products, within the cap |
//! | `rules.rs` | exclude, allow, categories, boosts and pins in numbers of the catalogue |
//! | `query.rs` | request -> row of the query tower, by the roles of the schema |
//! | `fallback.rs` | bestsellers of segments and of everybody |
//! | `examine.rs` | what a model says about itself before it serves |
//! | `catalogue.rs` | products by id and category; what a model must fulfil to be served |
//! | `similar.rs` | [`Retriever::similar`] |

mod answer;
mod catalogue;
mod draft;
mod examine;
mod fallback;
mod query;
mod recommend;
mod request;
mod rules;
mod similar;

pub use answer::{Ignored, IgnoredValue, Item, Parts, Reason, Recommendations, Shortfall};
#[cfg(feature = "http")]
pub(crate) use request::TIMESTAMPS;
pub use request::{DEFAULT_K, MAX_BATCH, MAX_BOOST, Request};
pub use similar::Similar;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::index::{Index, IndexConfig, ScratchPool, VectorIndex};
use crate::workers::Workers;
use catalogue::Catalogue;
use fallback::Fallback;
use query::QueryEncoder;
use recs_core::artifact::{CUSTOMERS_FILE, Candidates, Customers, ModelArtifact, ModelMetadata};
use recs_core::model::TowerModel;
use recs_core::observe::CancelToken;
use recs_core::schema::Tower;
use std::sync::Arc;

/// What the host lends to its models: threads and the time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// Threads that score; share them between models.
    pub workers: Workers,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Host {
    /// These threads, and the system's clock.
    pub fn new(workers: Workers) -> Self {
        Self { workers, clock: Arc::new(SystemClock) }
    }
}

/// A loaded model that answers requests. Immutable: a new version is a new retriever, swapped in.
///
/// Memory beside the artifact's catalogue, customers, vocabularies and query tower: about 24 bytes a product, a byte for each number of a vector, and 8 bytes for
/// each distinct product of each segment. The candidate tower is not kept: its embeddings are in the catalogue.
#[derive(Debug)]
pub struct Retriever {
    metadata: ModelMetadata,
    customers: Arc<Customers>,
    catalogue: Catalogue,
    fallback: Fallback,
    encoder: QueryEncoder,
    tower: TowerModel,
    /// Vectors end with a bias.
    has_bias: bool,
    inverse_temperature: f32,
    index: Arc<dyn VectorIndex>,
    scratch: ScratchPool,
    host: Host,
}

impl Retriever {
    /// Serves a model by the index that fits its size, see [`Index::auto`]. Hand over the only reference to the artifact, and
    /// nothing is copied.
    ///
    /// # Errors
    /// [`Error::Model`] when parts of the artifact contradict each other, [`Error::NonFinite`] for a vector that cannot
    /// be searched, [`Error::Core`] when schema, vocabulary and weights do not fit.
    pub fn new(artifact: Arc<ModelArtifact>, host: Host) -> Result<Self> {
        let index = host.workers.install(|| index_of(&artifact))?;
        Self::with_index(artifact, Arc::new(index), host)
    }

    /// As [`Retriever::new`], by `threads` threads of its own, so that those of the host go on answering; 0 means one for each
    /// core.
    pub(crate) fn built_by(artifact: ModelArtifact, host: Host, threads: usize) -> Result<Self> {
        let index = Workers::new(threads)?.install(|| index_of(&artifact))?;
        Self::with_index(Arc::new(artifact), Arc::new(index), host)
    }

    /// Serves a model by an index of yours over the same vectors in the same order.
    ///
    /// # Errors
    /// As [`Retriever::new`], and [`Error::Model`] for an index of another size or width.
    pub fn with_index(artifact: Arc<ModelArtifact>, index: Arc<dyn VectorIndex>, host: Host) -> Result<Self> {
        let artifact = Arc::unwrap_or_clone(artifact);
        artifact.config.validate()?;
        let catalogue = Catalogue::new(artifact.candidates)?;
        artifact.customers.validate(&catalogue.candidates, CUSTOMERS_FILE)?;
        let (expected, got) =
            ((catalogue.len(), artifact.config.embedding_dim()), (index.len(), index.dim()));
        if expected != got {
            let reason = format!(
                "its index holds {} vectors of {}, the model has {} of {}",
                got.0, got.1, expected.0, expected.1
            );
            return Err(Error::model(reason));
        }
        let query = Arc::clone(&artifact.weights.query);
        Ok(Self {
            fallback: Fallback::new(&catalogue.candidates, &artifact.customers),
            encoder: QueryEncoder::new(&artifact.config, artifact.vocabulary, &catalogue.candidates.ids)?,
            has_bias: artifact.config.has_bias(),
            tower: TowerModel::new(&artifact.config, Tower::Query, query)?,
            inverse_temperature: 1.0 / artifact.config.temperature,
            metadata: artifact.metadata,
            customers: artifact.customers,
            catalogue,
            index,
            scratch: ScratchPool::new(),
            host,
        })
    }

    /// Version, sizes, settings and results of the model.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.metadata
    }

    /// The catalogue.
    pub fn candidates(&self) -> &Arc<Candidates> {
        &self.catalogue.candidates
    }

    /// Number of products.
    pub fn products(&self) -> usize {
        self.catalogue.len()
    }

    /// Multiply-adds of one search that scores everything: what deciding where to run it goes by.
    pub fn search_cost(&self) -> usize {
        self.index.len().saturating_mul(self.index.dim())
    }
}

fn index_of(artifact: &ModelArtifact) -> Result<Index> {
    Index::auto(Arc::clone(&artifact.candidates), &IndexConfig::default(), &CancelToken::new())
}
