//! Alerts as HTTP requests.

use super::{Alert, Notifier, failed};
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use serde_json::json;
use std::fmt;
use url::Url;

/// What the other side reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookForm {
    /// The [`Alert`] as it is.
    Alert,
    /// `{"text": ...}`: incoming webhooks of Slack, Mattermost, Rocket.Chat and Google Chat.
    Text,
}

/// Posts alerts to a URL. Any answer from 200 to 299 is a delivery.
#[derive(Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: Url,
    form: WebhookForm,
    name: String,
}

impl Webhook {
    /// To this address, by the host's client, whose time-outs hold. With `https` the client needs a TLS provider.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no http or https URL.
    pub fn new(http: reqwest::Client, url: &str, form: WebhookForm) -> Result<Self> {
        // Not shown: whoever knows the path may post.
        let refuse = || Error::config("webhook", "is no http or https URL");
        let url = Url::parse(url).map_err(|_| refuse())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(refuse)?;
        Ok(Self { name: format!("webhook {host}"), http, url, form })
    }
}

/// Without the path, which is a secret with most services.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).field("form", &self.form).finish_non_exhaustive()
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<()>> {
        let body = match self.form {
            WebhookForm::Alert => json!(alert),
            WebhookForm::Text => json!({ "text": alert.headline() }),
        };
        Box::pin(async move {
            let sent = self.http.post(self.url.clone()).json(&body).send().await;
            let answer = sent.map_err(|e| failed(&self.name, source_of(&e.without_url())))?;
            match answer.status() {
                status if status.is_success() => Ok(()),
                status => Err(failed(&self.name, format!("the answer was {status}"))),
            }
        })
    }
}

/// What went wrong, with its causes: reqwest's own message does not name them.
fn source_of(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
