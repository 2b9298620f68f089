//! A model as it is served: all that answering needs and nothing else, in arrays that can be parts of a mapped file.
//!
//! ```text
//! ModelArtifact -> ServingModel::new -> Retriever
//!                       write -> index.recs -> map
//! ```
//!
//! | file | what |
//! |---|---|
//! | `sections.rs` | the file: named arrays, each with its checksum |
//! | `publish.rs` | [`publish()`]: it goes with the version that is published |
//! | `products.rs`, `customers.rs`, `popular.rs` | catalogue, purchases, bestsellers |
//! | `towers.rs` | vocabulary and query tower |
//! | `hostile.rs` | what a file must stand whoever wrote it (feature `testing`) |

mod customers;
#[cfg(feature = "testing")]
mod hostile;
mod popular;
mod products;
mod publish;
mod sections;
mod towers;

pub(crate) use customers::Buyers;
#[cfg(feature = "testing")]
pub use hostile::ask_all;
pub(crate) use popular::{Popular, Ranked, Segment};
pub(crate) use products::Products;
pub use publish::publish;
pub(crate) use publish::{GRAPH_FILE, SERVED_FILE};

use crate::error::{Error, Result};
use crate::index::{HnswIndex, Index, IndexConfig};
use recs_core::artifact::{ModelArtifact, ModelMetadata, Probe};
use recs_core::kernel::{Int8Blocks, Int8Codec};
use recs_core::model::{InputSnapshot, ModelConfig, TowerModel};
use recs_core::observe::CancelToken;
use recs_core::schema::Tower;
use recs_core::vocab::Vocabulary;
use sections::Sections;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// A model, ready to be served.
///
/// Mapped from a file it takes hardly any memory of its own: the system reads what is used, keeps it as long as there is room,
/// and shares it between processes.
#[derive(Debug, Clone)]
pub struct ServingModel {
    pub(crate) metadata: ModelMetadata,
    pub(crate) config: ModelConfig,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) tower: TowerModel,
    pub(crate) products: Products,
    pub(crate) customers: Buyers,
    pub(crate) popular: Popular,
    /// What the inputs looked like in training.
    pub(crate) inputs: Option<InputSnapshot>,
    /// Purchases that it is judged by before it serves.
    pub(crate) probe: Arc<[Probe]>,
    /// Codes of the products' vectors, for a catalogue that is searched exactly.
    pub(crate) codes: Option<Int8Blocks>,
}

impl ServingModel {
    /// Takes what serving needs out of a model. Hand over the only reference, and its vectors and tables are not copied.
    ///
    /// # Errors
    /// [`Error::Core`] when parts of the model contradict each other.
    pub fn new(artifact: Arc<ModelArtifact>) -> Result<Self> {
        let artifact = Arc::unwrap_or_clone(artifact);
        artifact.config.validate()?;
        let candidates = Arc::unwrap_or_clone(artifact.candidates);
        let customers = Buyers::new(Arc::unwrap_or_clone(artifact.customers), &candidates)?;
        let products = Products::new(candidates)?;
        let query = Arc::clone(&artifact.weights.query);
        Ok(Self {
            tower: TowerModel::new(&artifact.config, Tower::Query, query)?,
            popular: Popular::new(&products.popularity, &customers),
            inputs: InputSnapshot::of_stats(&artifact.training_stats, "training_stats.json")?,
            metadata: artifact.metadata,
            config: artifact.config,
            vocabulary: artifact.vocabulary,
            products,
            customers,
            probe: artifact.probe,
            codes: None,
        })
    }

    /// Makes now what [`Retriever`](crate::retriever::Retriever) would make each time: the codes of an exact search.
    ///
    /// # Errors
    /// [`Error::Core`] for vectors that are not finite.
    pub fn prepared(mut self, config: &IndexConfig) -> Result<Self> {
        if self.codes.is_none() {
            let Products { vectors, dim, .. } = &self.products;
            self.codes = Index::codes(vectors, *dim, config)?;
        }
        Ok(self)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Core`] with what `out` said; `path` is named.
    pub fn write(&self, out: &mut impl Write, path: &Path) -> Result<()> {
        self.write_all(out).map_err(|source| Error::Core(recs_core::Error::io(path, source)))
    }

    pub(crate) fn write_all(&self, out: &mut impl Write) -> std::io::Result<()> {
        self.sections("").write(out)
    }

    /// Bytes of its arrays, in memory or in a mapped file. What makes up the index beside the vectors is in it if it was
    /// [`prepared`](ServingModel::prepared).
    pub fn bytes(&self) -> u64 {
        self.sections("").len()
    }

    /// Its arrays by name; copies none.
    fn sections(&self, file: &str) -> Sections {
        let mut sections = Sections::new(file.to_owned());
        self.products.put(&mut sections);
        self.customers.put(&mut sections);
        self.popular.put(&mut sections);
        let vocabulary = towers::put_vocabulary(&self.vocabulary, &mut sections);
        let tables = towers::put_tower(&self.tower, &mut sections);
        if let Some(codes) = &self.codes {
            let Int8Codec { scales, residual, code_length, length } = codes.codec();
            sections.put_bytes("codes.lines", codes.lines());
            sections.put("codes.scales", &scales.clone().into());
            sections.put("codes.bounds", &vec![*residual, *code_length, *length].into());
        }
        sections.document = json!({
            "metadata": self.metadata, "config": self.config, "vocabulary": vocabulary, "tables": tables,
            "inputs": self.inputs, "probe": *self.probe,
        });
        sections
    }

    /// The index that fits the catalogue, see [`Index::auto`], on the current rayon pool.
    ///
    /// # Errors
    /// As [`Index::auto`].
    pub fn index(&self, config: &IndexConfig, cancel: &CancelToken) -> Result<Index> {
        let (vectors, dim) = (self.products.vectors.clone(), self.products.dim);
        Index::of_slab(vectors, dim, self.codes.clone(), config, cancel)
    }

    /// True for a catalogue that is searched by a graph.
    pub(crate) fn has_graph(&self, config: &IndexConfig) -> bool {
        Index::is_graph(self.products.vectors.len(), self.products.dim, config)
    }

    /// Maps the graph of the products' vectors.
    ///
    /// # Errors
    /// As [`HnswIndex::open`].
    pub(crate) fn open_graph(&self, path: &Path) -> Result<HnswIndex> {
        HnswIndex::open_slab(path, self.products.vectors.clone(), self.products.dim)
    }

    /// Maps a file that [`ServingModel::write`] wrote.
    ///
    /// Cost: reads it once, for the checksums.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file that cannot be read, is damaged, or was not written by this version.
    pub fn map(path: &Path) -> Result<Self> {
        Self::of_sections(&Sections::map(path)?)
    }

    fn of_sections(sections: &Sections) -> Result<Self> {
        let metadata: ModelMetadata = towers::document(sections, "metadata")?;
        let config: ModelConfig = towers::document(sections, "config")?;
        config.validate()?;
        let products = Products::read(sections, config.embedding_dim())?;
        let codes = if sections.has("codes.lines") {
            Some(codes(sections, products.len(), products.dim)?)
        } else {
            None
        };
        let vocabulary = towers::vocabulary(sections, &config.schema)?;
        Ok(Self {
            tower: towers::tower(sections, &config, &vocabulary)?,
            vocabulary: Arc::new(vocabulary),
            customers: Buyers::read(sections, products.len())?,
            popular: Popular::read(sections, products.len())?,
            inputs: towers::document(sections, "inputs")?,
            // Files that were written before there was one have none.
            probe: towers::document::<Option<Vec<Probe>>>(sections, "probe")?.unwrap_or_default().into(),
            metadata,
            config,
            products,
            codes,
        })
    }
}

fn codes(sections: &Sections, products: usize, dim: usize) -> Result<Int8Blocks> {
    let bounds = sections.slab_of("codes.bounds", 3)?;
    let scales = sections.slab::<f32>("codes.scales")?.to_vec();
    let codec = Int8Codec { scales, residual: bounds[0], code_length: bounds[1], length: bounds[2] };
    if codec.dim() != dim {
        return Err(sections.refuse(format!("codes of {} numbers, the vectors have {dim}", codec.dim())));
    }
    Ok(Int8Blocks::of_parts(codec, products, sections.bytes("codes.lines")?, &sections.file)?)
}
