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
use crate::index::{IndexConfig, ScratchPool, VectorIndex};
use crate::model::{Buyers, Popular, ServingModel};
use crate::workers::Workers;
use catalogue::Catalogue;
use query::QueryEncoder;
use recs_core::artifact::{ModelArtifact, ModelMetadata, Probe};
use recs_core::model::{InputCounter, InputSnapshot, TowerModel};
use recs_core::observe::CancelToken;
use recs_core::schema::Schema;
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
/// Memory beside what [`ServingModel`] holds, which may be a mapped file: about 8 bytes a product, and for a catalogue that is
/// searched by a graph the graph.
#[derive(Debug)]
pub struct Retriever {
    metadata: ModelMetadata,
    customers: Buyers,
    popular: Popular,
    catalogue: Catalogue,
    encoder: QueryEncoder,
    tower: TowerModel,
    /// Vectors end with a bias.
    has_bias: bool,
    inverse_temperature: f32,
    index: Arc<dyn VectorIndex>,
    scratch: Arc<ScratchPool>,
    host: Host,
    schema: Schema,
    inputs: Option<InputSnapshot>,
    probe: Arc<[Probe]>,
    /// Of the model and its index.
    bytes: u64,
}

/// A product of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product<'r> {
    /// Its id.
    pub id: &'r str,
    /// For people; empty where unknown.
    pub name: &'r str,
    /// Empty where unknown.
    pub category: &'r str,
    /// Whether it may be recommended when only available products are asked for.
    pub available: bool,
    /// Training rows.
    pub popularity: u64,
    /// Its embedding.
    pub vector: &'r [f32],
}

impl Retriever {
    /// Serves a model by the index that fits its size, see [`Index::auto`](crate::index::Index::auto). Hand over the only reference to the artifact, and
    /// vectors and tables are not copied.
    ///
    /// # Errors
    /// [`Error::Model`] for a model that cannot be searched, [`Error::Core`] when parts of the artifact contradict each other or
    /// are not finite.
    pub fn new(artifact: Arc<ModelArtifact>, host: Host) -> Result<Self> {
        let model = ServingModel::new(artifact)?;
        let index = host.workers.install(|| model.index(&IndexConfig::default(), &CancelToken::new()))?;
        Self::over(model, Arc::new(index), host)
    }

    /// Serves a model by an index of yours over the same vectors in the same order.
    ///
    /// # Errors
    /// As [`Retriever::new`], and [`Error::Model`] for an index of another size or width.
    pub fn with_index(artifact: Arc<ModelArtifact>, index: Arc<dyn VectorIndex>, host: Host) -> Result<Self> {
        Self::over(ServingModel::new(artifact)?, index, host)
    }

    /// As [`Retriever::new`], of a model that is ready; a graph is built by `threads` threads of its own, so that those of the
    /// host go on answering; 0 means one for each core.
    ///
    /// # Errors
    /// As [`Retriever::new`].
    pub fn serving(model: ServingModel, host: Host, threads: usize) -> Result<Self> {
        let index = match model.has_graph(&IndexConfig::default()) {
            true => Workers::new(threads)?
                .install(|| model.index(&IndexConfig::default(), &CancelToken::new()))?,
            false => model.index(&IndexConfig::default(), &CancelToken::new())?,
        };
        Self::over(model, Arc::new(index), host)
    }

    /// As [`Retriever::with_index`], of a model that is ready.
    ///
    /// # Errors
    /// As [`Retriever::with_index`].
    pub fn over(model: ServingModel, index: Arc<dyn VectorIndex>, host: Host) -> Result<Self> {
        let bytes = model.bytes() + if model.codes.is_some() { 0 } else { index.extra_bytes() };
        let ServingModel {
            metadata,
            config,
            vocabulary,
            tower,
            products,
            customers,
            popular,
            inputs,
            probe,
            ..
        } = model;
        let (expected, got) = ((products.len(), config.embedding_dim()), (index.len(), index.dim()));
        if expected != got {
            let reason = format!(
                "its index holds {} vectors of {}, the model has {} of {}",
                got.0, got.1, expected.0, expected.1
            );
            return Err(Error::model(reason));
        }
        Ok(Self {
            encoder: QueryEncoder::new(&config, vocabulary, &products.ids)?,
            has_bias: config.has_bias(),
            tower,
            inverse_temperature: 1.0 / config.temperature,
            metadata,
            customers,
            popular,
            catalogue: Catalogue::new(products),
            index,
            scratch: Arc::clone(host.workers.scratch()),
            host,
            schema: config.schema,
            inputs,
            probe,
            bytes,
        })
    }

    /// Version, sizes, settings and results of the model.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.metadata
    }

    /// A product by its number in the catalogue.
    pub fn product(&self, number: usize) -> Option<Product<'_>> {
        let products = &self.catalogue.products;
        Some(Product {
            id: products.ids.get(number)?,
            name: products.names.get(number)?,
            category: products.categories.get(*products.category_of.get(number)? as usize)?,
            available: *products.available.get(number)? != 0,
            popularity: *products.popularity.get(number)?,
            vector: self.catalogue.vector(u32::try_from(number).ok()?),
        })
    }

    /// The number of a product. O(log n).
    pub fn number(&self, product_id: &str) -> Option<usize> {
        self.catalogue.find(product_id).map(|number| number as usize)
    }

    /// Bytes of the model's arrays and of its index, in memory or in mapped files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of customers that it was trained on.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// Whether its query tower reads the city.
    pub(crate) fn reads_city(&self) -> bool {
        self.encoder.reads_city()
    }

    /// Where a customer bought most in training.
    pub(crate) fn home(&self, customer_id: &str) -> Option<&str> {
        Some(self.customers.segment(self.customers.position(customer_id)?))
    }

    /// Each customer's home, and purchases in the training rows.
    pub(crate) fn purchases_by_city(&self) -> impl Iterator<Item = (&str, u64)> {
        let purchases = |c| self.customers.purchases(c).1.iter().map(|&n| u64::from(n)).sum();
        (0..self.customers.len()).map(move |c| (self.customers.segment(c), purchases(c)))
    }

    /// Revenues as the training rows had them, in equal shares; empty for a model that does not read them.
    pub(crate) fn usual_revenues(&self) -> Vec<f32> {
        self.inputs.as_ref().map_or_else(Vec::new, |inputs| self.encoder.usual_revenues(inputs, &self.schema))
    }

    /// Id of a customer by its number; they ascend by code point.
    pub fn customer(&self, number: usize) -> Option<&str> {
        self.customers.ids.get(number)
    }

    /// Purchases after its training rows, by which it can be judged.
    pub(crate) fn probe(&self) -> &[Probe] {
        &self.probe
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.host.workers
    }

    /// Unix seconds, by the host's clock.
    pub(crate) fn now(&self) -> i64 {
        self.host.clock.unix_seconds()
    }

    /// Number of products.
    pub fn products(&self) -> usize {
        self.catalogue.len()
    }

    /// Counts inputs over the bins of the training rows; None for a model that does not know them.
    pub(crate) fn input_counter(&self) -> Option<InputCounter> {
        Some(self.inputs.as_ref()?.counter(&self.schema))
    }

    /// Counts what the query tower reads for a request, or would read if it were asked.
    pub(crate) fn count_inputs(&self, request: &Request, counter: &mut InputCounter) -> Result<()> {
        counter.push(&self.encode(&[(request, &self.plan(request))], self.now())?);
        Ok(())
    }

    /// True where requests that come together are answered in less work than one by one.
    pub fn gains_together(&self) -> bool {
        self.index.gains_together()
    }

    /// True where an answer waits for others, an index across a network say: it must not run on a thread that others wait for.
    pub fn waits(&self) -> bool {
        self.index.waits()
    }

    /// Multiply-adds of one search that scores everything: what deciding where to run it goes by.
    pub fn search_cost(&self) -> usize {
        self.index.len().saturating_mul(self.index.dim())
    }
}
