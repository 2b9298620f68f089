//! Linking nodes: in batches, each against the graph before it.
//!
//! Nodes of a batch look for neighbours at the same time in a graph that nobody changes meanwhile; then their neighbours are
//! told. So threads need no locks, and the graph is the same whatever their number (Manohar et al., ParlayANN,
//! <https://arxiv.org/abs/2305.04359>). Layers are linked from the top: a layer holds the first nodes, and those above it are
//! complete when it begins.

use super::HnswConfig;
use super::parts::{Parts, degree};
use super::space::{Choice, Nodes, Space};
use super::walk::{Codes, Layer, NONE, Walk};
use crate::error::Result;
use rayon::prelude::*;
use recs_core::kernel::Int8Codec;
use recs_core::observe::CancelToken;

/// A batch has at most this share of the nodes before it: those of one batch do not see each other.
const BATCH_SHARE: usize = 32;

/// Working memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) walk: Walk,
    choice: Choice,
}

/// Nodes, and what walks among them need.
#[derive(Clone, Copy)]
pub(super) struct Scene<'p> {
    pub(super) nodes: Nodes<'p>,
    pub(super) codec: &'p Int8Codec,
    pub(super) codes: Codes<'p>,
    pub(super) config: &'p HnswConfig,
}

impl Scene<'_> {
    /// Writes the neighbours of a new node, found among the first `nodes`, into its place.
    fn link(&self, node: u32, nodes: usize, layers: Layers<'_>, worker: &mut Worker, place: &mut [u32]) {
        let query = self.codec.query(self.nodes.vector(node));
        let mut entry = 0;
        for links in layers.above.iter().rev() {
            let above = Layer { links, degree: self.config.m };
            entry = worker.walk.descend(entry, self.codes, above, &query);
        }
        // Nodes of the layer above are the first to be linked here: until they are, there is no shorter way than from node 0.
        let entry = if (entry as usize) < nodes { entry } else { 0 };
        worker.walk.search(entry, nodes, self.config.ef_construction, self.codes, layers.this, &query);
        let nearest = worker.walk.beam.nodes().map(|found| found.0);
        self.nodes.choose_ranked(node, nearest, self.config.m, &mut worker.choice);
        place[..worker.choice.out.len()].copy_from_slice(&worker.choice.out);
    }

    /// The neighbours of a node after others have named it as theirs.
    fn told(&self, node: u32, named_by: &[(u32, u32)], layer: Layer<'_>, choice: &mut Choice) -> Vec<u32> {
        let mut all: Vec<u32> = layer.neighbours(node).chain(named_by.iter().map(|by| by.1)).collect();
        if all.len() > layer.degree {
            self.nodes.choose(node, &all, layer.degree, choice);
            all.clone_from(&choice.out);
        }
        all
    }
}

/// A layer that is being linked, and those above it, the lowest first, which are complete.
#[derive(Clone, Copy)]
struct Layers<'p> {
    this: Layer<'p>,
    above: &'p [Vec<u32>],
}

impl Parts {
    /// Links the nodes from `linked` on, of every layer, on the current rayon pool, and then whatever is out of reach.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the token says so or the vectors are too wide,
    /// [`Error::Index`](crate::Error::Index) when memory ends.
    pub(super) fn link(&mut self, space: &Space<'_>, linked: usize, cancel: &CancelToken) -> Result<()> {
        let firsts: Vec<u32> = self.firsts().collect();
        let (codec, codes) = space.encoded(self.firsts())?;
        let codes = Codes { bytes: &codes, stride: space.stride() };
        let scene =
            Scene { nodes: Nodes { space, firsts: &firsts }, codec: &codec, codes, config: &self.config };
        for l in (0..self.links.len()).rev() {
            let degree = degree(&self.config, l);
            let (below, above) = self.links.split_at_mut(l + 1);
            let links = &mut below[l];
            let (mut done, in_layer) = (linked.max(1), links.len() / degree);
            while done < in_layer {
                cancel.check()?;
                let batch = (done / BATCH_SHARE).max(1).min(in_layer - done);
                scene.batch(links, above, degree, done, batch);
                done += batch;
            }
            scene.repair(links, degree, cancel)?;
        }
        Ok(())
    }
}

impl Scene<'_> {
    fn batch(&self, links: &mut [u32], above: &[Vec<u32>], degree: usize, done: usize, batch: usize) {
        let (old, new) = links.split_at_mut(done * degree);
        let new = &mut new[..batch * degree];
        let before = Layer { links: old, degree };
        let layers = Layers { this: before, above };
        new.par_chunks_mut(degree).enumerate().for_each_init(Worker::default, |worker, (i, place)| {
            self.link((done + i) as u32, done, layers, worker, place);
        });
        let named = new.chunks_exact(degree).zip(done as u32..);
        let named = named.flat_map(|(row, by)| row.iter().take_while(|&&n| n != NONE).map(move |&n| (n, by)));
        let mut named: Vec<(u32, u32)> = named.collect();
        named.par_sort_unstable();
        let groups: Vec<&[(u32, u32)]> = named.chunk_by(|a, b| a.0 == b.0).collect();
        let after: Vec<Vec<u32>> = groups
            .par_iter()
            .map_init(Choice::default, |choice, named_by| self.told(named_by[0].0, named_by, before, choice))
            .collect();
        for (named_by, neighbours) in groups.iter().zip(after) {
            let place = &mut old[named_by[0].0 as usize * degree..][..degree];
            place.fill(NONE);
            place[..neighbours.len()].copy_from_slice(&neighbours);
        }
    }
}

impl Layer<'_> {
    /// Writes the neighbours of a node when some nodes are gone into its place.
    pub(super) fn mend(&self, node: u32, is_gone: &[bool], nodes: Nodes<'_>, place: &mut [u32]) {
        let is_here = |n: &u32| !is_gone[*n as usize];
        if self.neighbours(node).all(|n| is_here(&n)) {
            return;
        }
        let behind = self.neighbours(node).filter(|n| !is_here(n)).flat_map(|gone| self.neighbours(gone));
        let mut all: Vec<u32> =
            self.neighbours(node).chain(behind).filter(|n| is_here(n) && *n != node).collect();
        all.sort_unstable();
        all.dedup();
        let mut choice = Choice::default();
        nodes.choose(node, &all, self.degree, &mut choice);
        place.fill(NONE);
        place[..choice.out.len()].copy_from_slice(&choice.out);
    }
}
