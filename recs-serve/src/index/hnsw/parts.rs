//! A graph while it is made or changed: what [`Image`](super::image::Image) packs.

use super::HnswConfig;
use super::walk::{Layer, NONE};
use crate::error::{Error, Result};
use memmap2::MmapMut;
use recs_core::hash::fingerprint64;

/// Most layers. Three nodes in a million billion would be higher with the smallest `m`.
pub(super) const MAX_LAYERS: usize = 16;

/// The parts of a graph.
///
/// Nodes are distinct vectors; each stands for all candidates that have its vector. They are numbered by their highest
/// layer, the highest first, so that layer l holds the nodes 0 to `links[l].len() / degree(l)`, and node 0 is where searches
/// begin.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: HnswConfig,
    /// Numbers given out, those of deleted candidates too.
    pub(super) candidates: usize,
    /// Neighbours by layer, the lowest first.
    pub(super) links: Vec<Vec<u32>>,
    /// The candidates of each node, ascending.
    pub(super) members: Vec<Vec<u32>>,
}

impl Parts {
    /// Nodes for all rows of `flat`, without neighbours.
    pub(super) fn new(flat: &[f32], dim: usize, config: &HnswConfig) -> Self {
        let mut members = distinct(flat, dim);
        let level = |of: &[u32]| level(of[0], config);
        // In the order in which they are linked: by layer, and in it by chance, not by whatever orders the catalogue.
        members.sort_by_cached_key(|of| (usize::MAX - level(of), shuffled(of[0], config.seed)));
        let levels: Vec<usize> = members.iter().map(|of| level(of)).collect();
        let top = levels.first().copied().unwrap_or(0);
        let in_layer = |l: usize| levels.partition_point(|&level| level >= l);
        let links = (0..=top).map(|l| vec![NONE; in_layer(l) * degree(config, l)]).collect();
        Self { config: config.clone(), candidates: flat.len() / dim, links, members }
    }

    pub(super) fn nodes(&self) -> usize {
        self.members.len()
    }

    /// One candidate of each node.
    pub(super) fn firsts(&self) -> impl ExactSizeIterator<Item = u32> + Clone + '_ {
        self.members.iter().map(|of| of[0])
    }

    pub(super) fn layer(&self, l: usize) -> Layer<'_> {
        Layer { links: &self.links[l], degree: degree(&self.config, l) }
    }

    /// Nodes of a layer.
    pub(super) fn in_layer(&self, l: usize) -> usize {
        self.links[l].len() / degree(&self.config, l)
    }
}

/// Most neighbours of a node.
pub(super) fn degree(config: &HnswConfig, layer: usize) -> usize {
    if layer == 0 { 2 * config.m } else { config.m }
}

/// Zeroed memory that begins at a page, in large pages where the system has them.
///
/// # Errors
/// [`Error::Index`] when there is no memory.
pub(super) fn pages(bytes: usize) -> Result<MmapMut> {
    let map = MmapMut::map_anon(bytes.max(1)).map_err(|e| Error::index("memory", e.to_string()))?;
    // Only a wish: fewer pages to look up when a walk jumps from node to node.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

/// Candidates with equal vectors together, each group ascending, ordered by their first.
fn distinct(flat: &[f32], dim: usize) -> Vec<Vec<u32>> {
    let bits = |i: u32| flat[i as usize * dim..][..dim].iter().map(|x| (x + 0.0).to_bits());
    let hash = |i: u32| fingerprint64(&bits(i).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let mut order: Vec<(u64, u32)> = (0..(flat.len() / dim) as u32).map(|i| (hash(i), i)).collect();
    order.sort_unstable();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let same_hash = order.chunk_by(|a, b| a.0 == b.0);
    for found in same_hash {
        // Nearly always one group; others when two vectors share a hash.
        let first = groups.len();
        for &(_, i) in found {
            match groups[first..].iter_mut().find(|g| bits(g[0]).eq(bits(i))) {
                Some(group) => group.push(i),
                None => groups.push(vec![i]),
            }
        }
    }
    groups.sort_unstable_by_key(|g| g[0]);
    groups
}

fn shuffled(candidate: u32, seed: u64) -> u64 {
    fingerprint64(&[u64::from(candidate).to_le_bytes(), seed.to_le_bytes()].concat())
}

/// The highest layer of a node: l with probability `m^-l - m^-(l+1)`.
fn level(candidate: u32, config: &HnswConfig) -> usize {
    let bits = shuffled(candidate, !config.seed) >> 11;
    let uniform = (bits as f64 + 1.0) / (1u64 << 53) as f64;
    let level = -uniform.ln() / (config.m as f64).ln();
    (level as usize).min(MAX_LAYERS - 1)
}
