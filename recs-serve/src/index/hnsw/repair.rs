//! Every node can be reached: those that nobody leads to get a link from a near one.

use super::build::{Scene, Worker};
use super::walk::{Layer, NONE};
use crate::error::{Error, Result};
use recs_core::observe::CancelToken;

/// Who leads to a node, in a tree that begins at node 0.
struct Tree {
    parent: Vec<u32>,
    queue: Vec<u32>,
}

impl Tree {
    /// Goes from `root` to all nodes that can be reached and were not yet.
    fn grow(&mut self, root: u32, parent: u32, links: &[u32], degree: usize) {
        self.parent[root as usize] = parent;
        self.queue.push(root);
        while let Some(node) = self.queue.pop() {
            for neighbour in (Layer { links, degree }).neighbours(node) {
                if self.parent[neighbour as usize] == NONE {
                    self.parent[neighbour as usize] = node;
                    self.queue.push(neighbour);
                }
            }
        }
    }
}

impl Scene<'_> {
    /// Links the nodes of a layer that cannot be reached from node 0. Gives their number.
    ///
    /// The link goes into a free place of a near node, or replaces a link that is no branch of the tree by which all others are
    /// reached: so nothing gets out of reach.
    ///
    /// # Errors
    /// [`Error::Index`] when no node has such a link, which takes more nodes in a row than links to a node;
    /// [`Error::Core`] when `cancel` says so.
    pub(super) fn repair(&self, links: &mut [u32], degree: usize, cancel: &CancelToken) -> Result<usize> {
        let (nodes, mut repaired) = (links.len() / degree, 0);
        if nodes == 0 {
            return Ok(0);
        }
        let mut tree = Tree { parent: vec![NONE; nodes], queue: Vec::new() };
        tree.grow(0, 0, links, degree);
        for node in 0..nodes as u32 {
            if tree.parent[node as usize] == NONE {
                cancel.check()?;
                let parent = self.adopt(node, &tree, links, degree);
                let refused =
                    || Error::index("memory", format!("node {node} cannot be linked: give it a larger `m`"));
                tree.grow(node, parent.ok_or_else(refused)?, links, degree);
                repaired += 1;
            }
        }
        Ok(repaired)
    }

    /// Finds a reachable node near `node` and makes it lead there.
    fn adopt(&self, node: u32, tree: &Tree, links: &mut [u32], degree: usize) -> Option<u32> {
        let query = self.codec.query(self.nodes.vector(node));
        let (nodes, mut worker) = (tree.parent.len(), Worker::default());
        let mut ef = self.config.ef_construction;
        loop {
            let layer = Layer { links: &*links, degree };
            worker.walk.search(0, nodes, ef, self.codes, layer, &query);
            for (near, _) in worker.walk.beam.nodes() {
                let row = &mut links[near as usize * degree..][..degree];
                // The last one that can go: links stand best first as a rule.
                let can_go = |&n: &u32| tree.parent[n as usize] != near;
                let place = row.iter().position(|&n| n == NONE).or_else(|| row.iter().rposition(can_go));
                if let Some(at) = place {
                    row[at] = node;
                    return Some(near);
                }
            }
            if worker.walk.beam.nodes().count() < ef {
                return None;
            }
            ef *= 4;
        }
    }
}
