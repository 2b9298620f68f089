//! Passwords and tokens: named in configuration, fetched when needed, shown by nothing.
//!
//! ```text
//! password = "env:SHOP_PASSWORD" ──> SecretRef ── SecretProvider ──> Secret ──> driver
//! ```
//!
//! | file | what |
//! |---|---|
//! | `reference.rs` | [`SecretRef`]: where a secret lies, `env:NAME` |
//! | `provider.rs` | [`SecretProvider`], the contract; [`EnvSecrets`], [`FileSecrets`] and [`Secrets`], which asks one of several |

mod provider;
mod reference;

pub use provider::{EnvSecrets, FileSecrets, SecretProvider, Secrets};
pub use reference::SecretRef;

use serde::Deserialize;
use std::fmt;

/// A password or token: read, and shown by nothing. There is no `Serialize`, and `Debug` writes `Secret(..)`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the driver or header that needs it and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
