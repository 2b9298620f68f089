//! What the host lends: everything that is one for a whole process.

use recs_core::observe::{Observer, Silent};
use std::fmt;
use std::sync::Arc;

/// The host's HTTP client, where warnings go, and how its stores are opened. The library installs nothing of its own.
///
/// With `https` the client needs a TLS provider, which is the host's choice: install one for the process, or give the
/// client a configured one. Give tracking a client of its own: connections are kept by the runtime that made them.
#[derive(Clone)]
pub struct MlflowHost {
    pub(super) http: reqwest::Client,
    pub(super) warnings: Arc<dyn Observer>,
    pub(super) store_options: Vec<(String, String)>,
}

impl MlflowHost {
    /// With this client; warnings go nowhere.
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, warnings: Arc::new(Silent), store_options: Vec::new() }
    }

    /// Tells `observer` what goes wrong, as [`Event::Warning`](recs_core::observe::Event::Warning) of the stage
    /// `tracking`: once an outage, once a refused entry (the first 20), once for losses.
    #[must_use]
    pub fn with_warnings(mut self, observer: Arc<dyn Observer>) -> Self {
        self.warnings = observer;
        self
    }

    /// Options by which a replay opens the stores that files come from, e.g. [`recs_core::store::env_options`].
    #[must_use]
    pub fn with_store_options(mut self, options: impl IntoIterator<Item = (String, String)>) -> Self {
        self.store_options = options.into_iter().collect();
        self
    }
}

impl fmt::Debug for MlflowHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options hold secrets.
        f.debug_struct("MlflowHost").finish_non_exhaustive()
    }
}
