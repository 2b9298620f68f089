//! How candidates are refreshed.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What becomes of a product of the model that the list does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It stays, as available as it was: the list is of changes only.
    Keep,
    /// It stays, unavailable: histories go on telling of it, requests for available products do not get it.
    #[default]
    Unavailable,
    /// It goes, and with it the purchases of it that customers have: their histories are shorter, so their lists change.
    Remove,
}

/// How candidates are refreshed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RefreshOptions {
    /// What becomes of products that are not listed.
    pub missing: Missing,
    /// Where in its group's biases that of a new product stands, from 0 (the lowest) to 1.
    ///
    /// The mean of a group suits everybody whom the group suits, better than most of its products do: it is scored like one
    /// that sells as well as its bias says. 0.25 puts it among those that sell little: before a quarter of its like, so
    /// that it can be found, and behind those that are known to sell.
    pub bias_quantile: f64,
}

impl Default for RefreshOptions {
    fn default() -> Self {
        Self { missing: Missing::default(), bias_quantile: 0.25 }
    }
}

impl RefreshOptions {
    pub(super) fn validate(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.bias_quantile) {
            return Ok(());
        }
        let reason = format!("is {}, allowed are 0 to 1", self.bias_quantile);
        Err(Error::config("refresh.bias_quantile", reason))
    }
}
