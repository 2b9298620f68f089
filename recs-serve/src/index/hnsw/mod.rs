//! Approximate search over a graph of near neighbours (HNSW, <https://arxiv.org/abs/1603.09320>).
//!
//! ```text
//! vectors -> Parts (distinct vectors, codes, levels) -> link (batches) -> repair -> Image (memory or mapped file)
//! query   -> descend the upper layers -> walk the lowest with estimates -> score in f32 what estimates leave over
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`HnswConfig`] |
//! | `parts.rs` | nodes and links while they are made or changed |
//! | `build.rs` | linking in batches, without locks, the same graph for any number of threads |
//! | `select.rs` | which of the nearest become neighbours |
//! | `repair.rs` | nodes that nobody leads to are found and linked |
//! | `change.rs` | candidates inserted and deleted |
//! | `space.rs` | what is near, and who stands in whose way, when lengths differ |
//! | `walk.rs`, `beam.rs`, `visited.rs` | the walk, its best nodes, what it has met |
//! | `filtered.rs` | the walk when only some candidates may be returned |
//! | `image.rs` | the byte layout, in memory and on disk |

mod beam;
mod build;
mod change;
mod config;
mod filtered;
mod image;
mod parts;
mod repair;
mod select;
mod space;
mod visited;
mod walk;

pub use config::HnswConfig;
#[cfg(any(test, feature = "testing"))]
pub(super) use image::sign;
pub(super) use walk::Walk;

use super::vectors::Vectors;
use super::{Filter, Hit, Scratch, VectorIndex, check_query};
use crate::error::{Error, Result};
use image::Image;
use ndarray::Array2;
use parts::Parts;
use recs_core::artifact::Candidates;
use recs_core::kernel::Int8Query;
use recs_core::observe::CancelToken;
use recs_core::slab::Slab;
use space::Space;
use std::path::Path;
use std::sync::Arc;

/// Nodes that a scan estimates between two looks at the threshold.
const STRETCH: usize = 1024;

/// Finds most of the k best by looking at a small part of the vectors.
///
/// Nodes keep one byte a number of their vectors; what the walk finds is scored in f32 as far as the bound of
/// [`Int8Codec`](recs_core::kernel::Int8Codec) cannot exclude it. Candidates with equal vectors share a node. A build with the
/// same vectors and settings gives the same graph, whatever the number of threads, and no node is out of reach.
///
/// Immutable: [`HnswIndex::with_inserted`] and [`HnswIndex::with_deleted`] give a new index, so that one can be changed while
/// it is searched.
///
/// Memory beside the vectors: `dim`, rounded up to a multiple of 32, `+ 8 m + 8` bytes a vector, in one piece that can be a mapped file.
#[derive(Debug, Clone)]
pub struct HnswIndex {
    vectors: Vectors,
    image: Image,
}

/// Nodes that a scan estimates in the time in which a walk finds one to keep.
const JUMPS_FOR_EACH: usize = 200;
/// Nodes already kept that are moved for a new one in the time in which a scan estimates one.
const MOVES: usize = 16;

impl HnswIndex {
    /// Builds the graph, on the current rayon pool.
    ///
    /// Cost: O(n log n); see `benches/README.md`.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`, `dim` at most 1024, `len` at most 2^31.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::NonFinite`] naming the candidate, [`Error::Model`] for too many
    /// vectors, [`Error::Core`] for vectors that are too wide or when `cancel` says so, [`Error::Index`] when memory ends.
    pub fn build(vectors: Array2<f32>, config: &HnswConfig, cancel: &CancelToken) -> Result<Self> {
        Self::over(Vectors::own(vectors)?, config, cancel)
    }

    /// As [`HnswIndex::build`], sharing the vectors of a catalogue.
    ///
    /// # Errors
    /// As [`HnswIndex::build`].
    pub fn build_shared(
        candidates: Arc<Candidates>,
        config: &HnswConfig,
        cancel: &CancelToken,
    ) -> Result<Self> {
        Self::over(Vectors::shared(candidates)?, config, cancel)
    }

    /// As [`HnswIndex::build`], sharing vectors end to end.
    ///
    /// # Errors
    /// As [`HnswIndex::build`].
    pub(crate) fn of_slab(
        vectors: Slab<f32>,
        dim: usize,
        config: &HnswConfig,
        cancel: &CancelToken,
    ) -> Result<Self> {
        Self::over(Vectors::of_slab(vectors, dim)?, config, cancel)
    }

    fn over(vectors: Vectors, config: &HnswConfig, cancel: &CancelToken) -> Result<Self> {
        config.check()?;
        too_many(vectors.len())?;
        let mut parts = Parts::new(vectors.flat(), vectors.dim(), config);
        parts.link(&Space::new(&vectors, parts.firsts()), 0, cancel)?;
        Self::packed(vectors, &parts)
    }

    fn packed(vectors: Vectors, parts: &Parts) -> Result<Self> {
        let image = Image::pack(parts, &vectors, crc(&vectors))?;
        Ok(Self { vectors, image })
    }

    /// Maps a file that [`HnswIndex::bytes`] were written to; `candidates` are those it was built of.
    ///
    /// Cost: reads the file and the vectors once, for their checksums.
    ///
    /// # Errors
    /// [`Error::Index`] for a file that cannot be read, is damaged, of another version or of other vectors;
    /// [`Error::NonFinite`] and [`Error::Model`] as [`HnswIndex::build`].
    pub fn open(path: &Path, candidates: Arc<Candidates>) -> Result<Self> {
        let vectors = Vectors::shared(candidates)?;
        let image = Image::open(path, vectors.len(), vectors.dim())?;
        Self::joined(vectors, image, &path.display().to_string())
    }

    /// As [`HnswIndex::open`], of vectors end to end.
    ///
    /// # Errors
    /// As [`HnswIndex::open`].
    pub(crate) fn open_slab(path: &Path, vectors: Slab<f32>, dim: usize) -> Result<Self> {
        let vectors = Vectors::of_slab(vectors, dim)?;
        let image = Image::open(path, vectors.len(), vectors.dim())?;
        Self::joined(vectors, image, &path.display().to_string())
    }

    /// As [`HnswIndex::open`], from the bytes of a file that is not on this machine's disk; they are copied.
    ///
    /// # Errors
    /// As [`HnswIndex::open`].
    pub fn read(bytes: &[u8], candidates: Arc<Candidates>) -> Result<Self> {
        let vectors = Vectors::shared(candidates)?;
        let image = Image::copied(bytes, vectors.len(), vectors.dim())?;
        Self::joined(vectors, image, "memory")
    }

    fn joined(vectors: Vectors, image: Image, name: &str) -> Result<Self> {
        if image.vectors_crc != crc(&vectors) {
            return Err(Error::index(name, "it is of other vectors: build it again"));
        }
        Ok(Self { vectors, image })
    }

    /// The index as a file; `image.rs` has the layout.
    pub fn bytes(&self) -> &[u8] {
        self.image.bytes()
    }

    /// Settings.
    pub fn config(&self) -> &HnswConfig {
        &self.image.config
    }

    /// The same graph, searched with another `ef_search`. Copies nothing; [`HnswIndex::bytes`] have the one it was built with.
    ///
    /// # Errors
    /// [`Error::Config`] for one out of range.
    pub fn with_ef_search(&self, ef_search: usize) -> Result<Self> {
        let mut index = self.clone();
        index.image.config.ef_search = ef_search;
        index.image.config.check()?;
        Ok(index)
    }

    /// Where the walk of the lowest layer begins.
    fn entry(&self, query: &Int8Query, walk: &mut Walk) -> u32 {
        let codes = self.image.codes();
        (1..self.image.layers())
            .rev()
            .fold(0, |entry, l| walk.descend(entry, codes, self.image.layer(l), query))
    }

    /// Leaves the candidates of the best nodes in `scratch.picked`.
    fn walk(&self, query: &Int8Query, k: usize, scratch: &mut Scratch) {
        let entry = self.entry(query, &mut scratch.walk);
        let ef = self.image.config.ef_search.max(k);
        let (codes, layer) = (self.image.codes(), self.image.layer(0));
        scratch.walk.search(entry, self.image.nodes(), ef, codes, layer, query);
        let of = self.image.candidates_of();
        scratch.shortlist.reset(k, query.slack());
        for (node, estimate) in scratch.walk.beam.nodes() {
            of.node(node).iter().for_each(|&candidate| scratch.shortlist.push(candidate, estimate));
        }
        scratch.shortlist.take(&mut scratch.picked);
    }

    /// True when walking for so many costs more than estimating all nodes one after the other, which reads memory in order: a
    /// walk meets some nodes for each that it keeps, anywhere in memory, and keeps them sorted.
    fn is_wide(&self, k: usize) -> bool {
        let (met, sorting) = (k.saturating_mul(JUMPS_FOR_EACH), k.saturating_mul(k) / MOVES);
        k > self.image.config.ef_search && met.saturating_add(sorting) > self.image.nodes()
    }

    /// Leaves what may be among the k best of all that pass in `scratch.picked`: every node is estimated.
    fn scan(&self, query: &Int8Query, k: usize, filter: &Filter, scratch: &mut Scratch) {
        let (codes, of) = (self.image.codes(), self.image.candidates_of());
        scratch.shortlist.reset(k, query.slack());
        let walk = &mut scratch.walk;
        for start in (0..self.image.nodes()).step_by(STRETCH) {
            walk.fresh.clear();
            walk.fresh.extend(start as u32..self.image.nodes().min(start + STRETCH) as u32);
            walk.estimate_fresh(codes, query);
            for (&node, &estimate) in walk.fresh.iter().zip(&walk.estimates) {
                if estimate >= scratch.shortlist.floor() {
                    let passing = of.node(node).iter().filter(|&&candidate| filter.passes(candidate));
                    passing.for_each(|&candidate| scratch.shortlist.push(candidate, estimate));
                }
            }
        }
        scratch.shortlist.take(&mut scratch.picked);
    }
}

/// Refuses more vectors than a graph holds.
fn too_many(vectors: usize) -> Result<()> {
    match vectors > beam::MAX_NODES {
        true => Err(Error::model(format!("{vectors} vectors; a graph holds {} at most", beam::MAX_NODES))),
        false => Ok(()),
    }
}

/// Checksum of the vectors' bytes.
fn crc(vectors: &Vectors) -> u32 {
    crc32c::crc32c(bytemuck::cast_slice(vectors.flat()))
}

impl VectorIndex for HnswIndex {
    fn len(&self) -> usize {
        self.vectors.len()
    }

    fn dim(&self) -> usize {
        self.vectors.dim()
    }

    fn extra_bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        check_query(query, 0, self.dim())?;
        let k = k.min(self.image.live);
        scratch.best.reset(k);
        if k == 0 {
            out.clear();
            return Ok(());
        }
        if filter.is_few(self.len()) {
            filter.passing(self.len(), &mut scratch.picked);
            scratch.picked.retain(|&candidate| self.image.is_live(candidate));
        } else {
            let rounded = self.image.codec.query(query);
            let is_done = if filter.is_open() && self.is_wide(k) {
                false
            } else if filter.is_open() {
                self.walk(&rounded, k, scratch);
                true
            } else {
                self.walk_filtered(&rounded, k, filter, scratch)
            };
            if !is_done || scratch.picked.len() < k {
                self.scan(&rounded, k, filter, scratch);
            }
        }
        self.vectors.score(query, &scratch.picked, &mut scratch.scores, &mut scratch.best);
        scratch.best.take_sorted_into(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
