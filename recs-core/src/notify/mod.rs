//! Telling people that something needs them.
//!
//! | file | what |
//! |---|---|
//! | `webhook.rs` | `Webhook`: an alert as JSON, or as Slack and its like read it (feature `webhooks`) |
//! | `mail.rs` | `Mail`: an alert by SMTP (feature `smtp`) |

#[cfg(feature = "smtp")]
mod mail;
#[cfg(feature = "webhooks")]
mod webhook;

#[cfg(feature = "smtp")]
pub use mail::{Encryption, Mail, MailConfig};
#[cfg(feature = "webhooks")]
pub use webhook::{Webhook, WebhookForm};

use crate::error::Result;
use crate::tenant::TenantId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether an alert begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// What was measured is beyond the limit.
    Firing,
    /// It is not any more.
    Resolved,
}

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Whose.
    pub tenant: TenantId,
    /// Name of the rule, e.g. `error_rate`.
    pub rule: String,
    /// Begins or ends.
    pub state: AlertState,
    /// What was measured.
    pub value: f64,
    /// What is allowed.
    pub limit: f64,
    /// One sentence for people.
    pub text: String,
    /// When, RFC 3339.
    pub at: String,
}

impl Alert {
    /// One line: state, tenant and text.
    pub fn headline(&self) -> String {
        let state = match self.state {
            AlertState::Firing => "FIRING",
            AlertState::Resolved => "resolved",
        };
        format!("[{state}] {}: {}", self.tenant, self.text)
    }
}

/// Where alerts go.
pub trait Notifier: fmt::Debug + Send + Sync {
    /// A name for logs and errors, without secrets.
    fn name(&self) -> &str;

    /// Delivers an alert, or says why not. May take as long as the way takes; whoever calls bounds it. The alert may be handed in
    /// again after a failure, so it may arrive twice.
    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<()>>;
}

/// Keeps alerts in memory: for tests, and for hosts that show them.
#[derive(Debug, Default)]
pub struct CollectAlerts(Mutex<Vec<Alert>>);

impl CollectAlerts {
    /// Those so far.
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Notifier for CollectAlerts {
    fn name(&self) -> &str {
        "memory"
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(alert.clone());
        Box::pin(async { Ok(()) })
    }
}

/// Hands an alert to all of several; each is tried whatever becomes of the others.
///
/// # Errors
/// The first failure.
pub async fn notify_all(notifiers: &[Arc<dyn Notifier>], alert: &Alert) -> Result<()> {
    let sent = futures::future::join_all(notifiers.iter().map(|notifier| notifier.notify(alert))).await;
    sent.into_iter().collect()
}

#[cfg(any(feature = "smtp", feature = "webhooks"))]
fn failed(by: &str, reason: impl fmt::Display) -> crate::Error {
    crate::Error::Notify { by: by.into(), reason: reason.to_string() }
}
