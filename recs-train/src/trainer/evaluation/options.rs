//! What a report looks at.

use crate::error::{Error, Result};
use recs_core::schema::Schema;
use serde::{Deserialize, Serialize};

/// Settings of a report. They change what is reported, never the model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Whether products that a customer bought before may be recommended.
    pub seen: Seen,
    /// How sure the numbers are.
    pub bootstrap: BootstrapConfig,
    /// Which parts of the rows are reported apart.
    pub slices: SliceConfig,
}

/// What becomes of products that a row's customer is known to have bought, on other days than the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// They are candidates like all others: right where people buy things again.
    #[default]
    Keep,
    /// They are taken out of ranking and lists. Rows whose own product is thereby removed cannot be hit by any list: they are
    /// left out of the rows scored, and counted apart.
    Remove,
}

/// Settings of the bootstrap.
///
/// Customers are resampled, each with all of their rows (a cluster bootstrap; Efron and Tibshirani 1993, "An Introduction to
/// the Bootstrap", section 8): rows of one customer depend on each other, and resampling rows would promise far narrower
/// intervals than another set of customers keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// Samples, 100 to 100,000; 0: none, and no intervals.
    pub samples: usize,
    /// Seed of the samples: the same for any number of threads.
    pub seed: u64,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { samples: 1000, seed: 7 }
    }
}

/// Which slices are reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SliceConfig {
    /// By the customer's known purchases: `new` (none), `1-9`, `10-99`, `100+`.
    pub customers: bool,
    /// By the product's training rows: `head`, the most bought products that together make 80 % of the training rows (of
    /// equally bought ones those first in the catalogue), and `long_tail`, all others, among them products without training
    /// rows.
    pub products: bool,
    /// `repurchase` of a product that the customer is known to have bought, and `first_purchase`.
    pub repurchases: bool,
    /// By the values of text fields of the query, by their names in the schema: the 20 values with most rows, and `other`.
    /// A field has the role `city` or an embedding of its own. Unless set: the field with the role `city`, where there is
    /// one with more than one value.
    pub fields: Option<Vec<String>>,
}

impl Default for SliceConfig {
    fn default() -> Self {
        Self { customers: true, products: true, repurchases: true, fields: None }
    }
}

impl EvaluateOptions {
    pub(crate) fn validate(&self) -> Result<()> {
        match self.bootstrap.samples {
            0 | 100..=100_000 => Ok(()),
            n => {
                let reason = format!("is {n}, allowed are 0 and 100 to 100,000");
                Err(Error::config("train.evaluation.bootstrap.samples", reason))
            }
        }
    }

    /// Checks ranges, and that rows can be sliced as asked.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self, schema: &Schema) -> Result<()> {
        self.validate()?;
        self.slices.columns(schema).map(|_| ())
    }
}
