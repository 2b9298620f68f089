//! Candidates inserted and deleted: a new index, made of the old one.

use super::parts::{Parts, degree};
use super::space::{Nodes, Space};
use super::walk::NONE;
use super::{HnswIndex, Vectors, too_many};
use crate::error::{Error, Result};
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use recs_core::observe::CancelToken;
use std::collections::HashMap;

impl HnswIndex {
    /// An index with more candidates, numbered from [`len`](super::VectorIndex::len) on. New nodes are in the lowest layer only:
    /// when they outnumber the old ones, build anew.
    ///
    /// Cost: that of building for the new candidates, and a copy of everything else; while it lasts a table of all vectors.
    ///
    /// # Shapes
    /// `vectors` `[more, dim]`.
    ///
    /// # Errors
    /// [`Error::Dimension`] for another width, and as [`HnswIndex::build`].
    pub fn with_inserted(&self, vectors: &Array2<f32>, cancel: &CancelToken) -> Result<Self> {
        let dim = self.image.codec.dim();
        if vectors.ncols() != dim {
            return Err(Error::Dimension { what: "candidate", expected: dim, got: vectors.ncols() });
        }
        too_many(self.vectors.len() + vectors.nrows())?;
        let all = concatenate(Axis(0), &[self.vectors.view(), vectors.view()]);
        let all = all.map_err(|e| Error::model(format!("its vectors cannot be put together: {e}")))?;
        let all = Vectors::own(all)?;
        let mut parts = self.image.unpack();
        let linked = parts.nodes();
        parts.append(all.flat(), dim);
        parts.link(&Space::new(&all, parts.firsts()), linked, cancel)?;
        Self::packed(all, &parts)
    }

    /// An index without some candidates: they are never returned, their numbers are not given out again. Who led to them
    /// leads to their neighbours now. Numbers that are deleted already, or do not exist, are passed over.
    ///
    /// The vectors of deleted candidates are kept: an index that was changed often is best built anew.
    ///
    /// Cost: a choice of neighbours for each node that led to a deleted one; all links, codes and checksums are made anew.
    ///
    /// # Errors
    /// [`Error::Index`] when memory ends.
    pub fn with_deleted(&self, candidates: &[u32]) -> Result<Self> {
        let mut parts = self.image.unpack();
        let firsts: Vec<u32> = parts.firsts().collect();
        let mut deleted = candidates.to_vec();
        deleted.sort_unstable();
        parts.members.par_iter_mut().for_each(|of| of.retain(|c| deleted.binary_search(c).is_err()));
        let left: Vec<u32> = parts.members.iter().filter_map(|of| of.first().copied()).collect();
        let space = Space::new(&self.vectors, left.into_iter());
        parts.forget(Nodes { space: &space, firsts: &firsts });
        // Nothing new is linked, but what got out of reach.
        parts.link(&space, parts.nodes(), &CancelToken::new())?;
        Self::packed(self.vectors.clone(), &parts)
    }
}

impl Parts {
    /// Adds the rows of `flat` that have no number yet: to the node with the same vector, or as a node of the lowest layer.
    fn append(&mut self, flat: &[f32], dim: usize) {
        let bits = |candidate: u32| {
            let row = &flat[candidate as usize * dim..][..dim];
            row.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<u32>>()
        };
        let mut node_of: HashMap<Vec<u32>, usize> = self.firsts().map(bits).zip(0..).collect();
        let total = flat.len() / dim;
        for candidate in self.candidates as u32..total as u32 {
            let next = self.members.len();
            let node = *node_of.entry(bits(candidate)).or_insert(next);
            if node == next {
                self.members.push(Vec::new());
            }
            self.members[node].push(candidate);
        }
        self.candidates = total;
        self.links[0].resize(self.members.len() * degree(&self.config, 0), NONE);
    }

    /// Takes nodes without candidates out; `nodes` still has them.
    ///
    /// A node that led to some gets the best of its other neighbours and of theirs (Singh et al., FreshDiskANN,
    /// <https://arxiv.org/abs/2105.09613>).
    fn forget(&mut self, nodes: Nodes<'_>) {
        let is_gone: Vec<bool> = self.members.iter().map(Vec::is_empty).collect();
        for l in 0..self.links.len() {
            let (layer, mut links) = (self.layer(l), self.links[l].clone());
            let places = links.par_chunks_mut(layer.degree).enumerate().filter(|(node, _)| !is_gone[*node]);
            places.for_each(|(node, place)| layer.mend(node as u32, &is_gone, nodes, place));
            self.links[l] = links;
        }
        self.close_up(&is_gone);
    }

    /// Numbers the nodes that are left anew, in their order.
    fn close_up(&mut self, is_gone: &[bool]) {
        let mut number = vec![NONE; is_gone.len()];
        let here = number.iter_mut().zip(is_gone).filter(|(_, gone)| !**gone);
        here.zip(0..).for_each(|((number, _), next)| *number = next);
        for l in 0..self.links.len() {
            let rows =
                self.links[l].chunks_exact(degree(&self.config, l)).zip(is_gone).filter(|(_, gone)| !**gone);
            let renumber = |&n: &u32| if n == NONE { NONE } else { number[n as usize] };
            self.links[l] = rows.flat_map(|(row, _)| row.iter().map(renumber)).collect();
        }
        while self.links.len() > 1 && self.links.last().is_some_and(Vec::is_empty) {
            self.links.pop();
        }
        self.members.retain(|of| !of.is_empty());
    }
}
