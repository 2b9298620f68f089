//! Alerts by mail.

use super::{Alert, Notifier, failed};
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// TLS from the first byte, port 465.
    #[default]
    Tls,
    /// TLS after a greeting, port 587; refused where the server does not offer it.
    StartTls,
    /// Not at all, port 25: for a server on this machine.
    None,
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// Name of the server.
    pub host: String,
    /// None: the usual one of `encryption`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the way to it is protected.
    #[serde(default)]
    pub encryption: Encryption,
    /// Who writes, e.g. `recs <recs@example.com>`.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// Mails alerts, each on a connection of its own: they are few.
#[derive(Clone)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    name: String,
}

impl Mail {
    /// By this server, with name and password where it asks for them. Encryption takes the TLS provider that the host installed
    /// for the process.
    ///
    /// # Errors
    /// [`Error::Config`] for addresses that are none, and for encryption without a TLS provider.
    pub fn new(config: &MailConfig, login: Option<(String, String)>) -> Result<Self> {
        let MailConfig { host, port, encryption, from, to } = config;
        let address = |field: &str, text: &String| {
            text.parse::<Mailbox>()
                .map_err(|e| Error::config(field, format!("{text:?} is no mail address: {e}")))
        };
        if to.is_empty() {
            return Err(Error::config("mail.to", "nobody is named"));
        }
        let is_missing = rustls::crypto::CryptoProvider::get_default().is_none();
        if *encryption != Encryption::None && is_missing {
            return Err(Error::config(
                "mail.encryption",
                "needs a TLS provider: the program has to install one",
            ));
        }
        let refuse = |e: lettre::transport::smtp::Error| Error::config("mail.host", e.to_string());
        let mut builder = match encryption {
            Encryption::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(host).map_err(refuse)?,
            Encryption::StartTls => {
                AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host).map_err(refuse)?
            }
            Encryption::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host),
        };
        if let Some(port) = port {
            builder = builder.port(*port);
        }
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(Self {
            transport: builder.timeout(Some(PATIENCE)).build(),
            from: address("mail.from", from)?,
            to: to.iter().map(|to| address("mail.to", to)).collect::<Result<_>>()?,
            name: format!("mail by {host}"),
        })
    }

    fn message(&self, alert: &Alert) -> Result<Message, lettre::error::Error> {
        let Alert { tenant, rule, value, limit, at, text, .. } = alert;
        let mut builder = Message::builder().from(self.from.clone()).subject(alert.headline());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(format!(
            "{text}\r\n\r\ntenant: {tenant}\r\nrule: {rule}\r\nmeasured: {value}\r\nallowed: {limit}\r\ntime: {at}\r\n"
        ))
    }
}

/// Without name and password.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("name", &self.name).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Notifier for Mail {
    fn name(&self) -> &str {
        &self.name
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let message = self.message(alert).map_err(|e| failed(&self.name, e))?;
            self.transport.send(message).await.map_err(|e| failed(&self.name, e))?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_without_a_provider_is_refused() {
        for encryption in [Encryption::Tls, Encryption::StartTls] {
            let (from, to) = ("recs@example.com".into(), vec!["ops@example.com".into()]);
            let config = MailConfig { host: "mail.example".into(), port: None, encryption, from, to };
            let error = Mail::new(&config, None).unwrap_err();
            assert!(matches!(&error, Error::Config { field, .. } if field == "mail.encryption"), "{error}");
        }
    }
}
