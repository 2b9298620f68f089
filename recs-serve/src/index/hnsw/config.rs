//! Settings of the graph.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of a [`HnswIndex`](super::HnswIndex).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HnswConfig {
    /// Neighbours of a new node, and most neighbours of a node in the upper layers, 2 to 256; in the lowest layer a node has up
    /// to twice as many. More: better recall, more memory (8 bytes each), slower.
    pub m: usize,
    /// Nodes that the search for neighbours keeps while building, `m` to 10,000.
    pub ef_construction: usize,
    /// Nodes that a search keeps at least, 1 to 100,000; never fewer than the hits asked for. More: better recall, slower.
    pub ef_search: usize,
    /// What decides which nodes are in the upper layers.
    pub seed: u64,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef_search: 128, seed: 0 }
    }
}

impl HnswConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, is: usize, from: usize, to: usize| {
            if (from..=to).contains(&is) {
                return Ok(());
            }
            Err(Error::config(format!("index.{name}"), format!("is {is}, allowed are {from} to {to}")))
        };
        refuse("m", self.m, 2, 256)?;
        refuse("ef_construction", self.ef_construction, self.m, 10_000)?;
        refuse("ef_search", self.ef_search, 1, 100_000)
    }
}
