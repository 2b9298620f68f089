//! Where the runs go, and what a slow or dead server may cost.

use super::names::TAG_VALUE_CHARS;
use crate::error::{Error, Result};
use recs_core::secret::Secret;
use recs_core::tenant::TenantId;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Longest name of an experiment that the server takes.
const EXPERIMENT_CHARS: usize = 500;

/// A tracking server and how its runs are kept until it has them. Start from [`MlflowConfig::new`].
///
/// Secrets are never shown by `Debug` and never written by `Serialize`: a file may hold them, what we write does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MlflowConfig {
    /// URL of the server, e.g. `http://127.0.0.1:5000`, with the path of a proxy if there is one; no credentials in it.
    pub tracking_uri: String,
    /// Experiment; made when it is not there.
    #[serde(default = "experiment")]
    pub experiment: String,
    /// Name of the run; the server invents one unless given.
    #[serde(default)]
    pub run_name: Option<String>,
    /// Tags of the run.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// User of HTTP basic authentication; goes with `password`.
    #[serde(default)]
    pub username: Option<String>,
    /// Password of HTTP basic authentication.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// Bearer token, instead of user and password.
    #[serde(default, skip_serializing)]
    pub token: Option<Secret>,
    /// Registered model that a logged model becomes a version of; none: it is an artifact of the run only.
    #[serde(default)]
    pub registered_model: Option<String>,
    /// Folder of what the server does not have yet. Runs of several processes may share one.
    #[serde(default = "spool_dir")]
    pub spool_dir: PathBuf,
    /// Most bytes of one run on disk; what comes then is dropped, counted and warned of. Bytes that the server has count
    /// until the file is shortened: when they are a quarter of this (16 MiB at most) and no more than that waits.
    #[serde(default = "spool_bytes")]
    pub spool_bytes: u64,
    /// Entries that wait in memory for the disk; what comes when all places are taken is dropped, counted and warned of.
    #[serde(default = "queue_entries")]
    pub queue_entries: usize,
    /// How long metrics are gathered before a request, milliseconds.
    #[serde(default = "flush_ms")]
    pub flush_ms: u64,
    /// Most seconds of one request.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
    /// Most seconds of the upload of one file.
    #[serde(default = "upload_timeout_s")]
    pub upload_timeout_s: u64,
    /// Most seconds between two tries while the server does not answer; the first wait is half a second.
    #[serde(default = "retry_s")]
    pub retry_s: u64,
}

fn experiment() -> String {
    "recs".into()
}

fn spool_dir() -> PathBuf {
    "mlflow-spool".into()
}

fn spool_bytes() -> u64 {
    256 << 20
}

fn queue_entries() -> usize {
    65_536
}

fn flush_ms() -> u64 {
    1000
}

fn timeout_s() -> u64 {
    10
}

fn upload_timeout_s() -> u64 {
    600
}

fn retry_s() -> u64 {
    30
}

impl MlflowConfig {
    /// The defaults, for the server at `tracking_uri`.
    pub fn new(tracking_uri: impl Into<String>) -> Self {
        Self {
            tracking_uri: tracking_uri.into(),
            experiment: experiment(),
            run_name: None,
            tags: BTreeMap::new(),
            username: None,
            password: None,
            token: None,
            registered_model: None,
            spool_dir: spool_dir(),
            spool_bytes: spool_bytes(),
            queue_entries: queue_entries(),
            flush_ms: flush_ms(),
            timeout_s: timeout_s(),
            upload_timeout_s: upload_timeout_s(),
            retry_s: retry_s(),
        }
    }

    /// The same for one tenant of many: its id begins the names of experiment and registered model, is the tag
    /// `recs.tenant`, and has a folder of its own in the spool.
    ///
    /// ```
    /// use recs_train::tracking::mlflow::MlflowConfig;
    /// let config = MlflowConfig::new("http://127.0.0.1:5000").for_tenant(&"acme".parse()?);
    /// assert_eq!(config.experiment, "acme/recs");
    /// # Ok::<(), recs_core::Error>(())
    /// ```
    #[must_use]
    pub fn for_tenant(mut self, tenant: &TenantId) -> Self {
        self.experiment = format!("{tenant}/{}", self.experiment);
        self.registered_model = self.registered_model.map(|model| format!("{tenant}.{model}"));
        self.tags.insert("recs.tenant".into(), tenant.to_string());
        self.spool_dir.push(tenant.as_str());
        self
    }

    /// Checks ranges and names, and that the URL is one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.url()?;
        self.check_names()?;
        self.check_credentials()?;
        let ranges = [
            ("spool_bytes", self.spool_bytes, 64 << 10, 1 << 40),
            ("queue_entries", self.queue_entries as u64, 16, 1 << 24),
            ("flush_ms", self.flush_ms, 1, 60_000),
            ("timeout_s", self.timeout_s, 1, 600),
            ("upload_timeout_s", self.upload_timeout_s, 1, 86_400),
            ("retry_s", self.retry_s, 1, 3600),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return refuse(field, format!("is {value}, allowed are {least} to {most}"));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        if self.experiment.trim().is_empty() || self.experiment.chars().count() > EXPERIMENT_CHARS {
            return refuse("experiment", format!("must have 1 to {EXPERIMENT_CHARS} characters"));
        }
        for (key, value) in &self.tags {
            if super::names::clean(key) != *key {
                return refuse("tags", format!("{key:?}: {}", super::names::RULE));
            }
            if value.chars().count() > TAG_VALUE_CHARS {
                return refuse("tags", format!("{key:?} is longer than {TAG_VALUE_CHARS} characters"));
            }
        }
        match &self.registered_model {
            Some(name) if name.trim().is_empty() || name.contains(['/', ':', '\'']) => {
                refuse("registered_model", format!("{name:?}: is empty or contains /, : or '"))
            }
            _ => Ok(()),
        }
    }

    fn check_credentials(&self) -> Result<()> {
        if self.username.is_some() != self.password.is_some() {
            return refuse("username", "goes with password: give both or none".into());
        }
        if self.token.is_some() && self.username.is_some() {
            return refuse("token", "excludes username and password: give one kind of credentials".into());
        }
        Ok(())
    }

    /// The server's URL without a slash at its end.
    pub(super) fn url(&self) -> Result<String> {
        let bad = |reason: &str| refuse("tracking_uri", format!("{reason}, e.g. http://127.0.0.1:5000"));
        let Ok(url) = Url::parse(&self.tracking_uri) else {
            return bad("is no URL; it must be one of a server");
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return bad("must begin with http:// or https://: a server is needed, a folder will not do");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("holds credentials, which logs would show: use username and password, or token");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return bad("must end with its path, without ? and #");
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    pub(super) fn upload_timeout(&self) -> Duration {
        Duration::from_secs(self.upload_timeout_s)
    }

    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_secs(self.retry_s)
    }

    pub(super) fn flush(&self) -> Duration {
        Duration::from_millis(self.flush_ms)
    }
}

fn refuse<T>(field: &str, reason: String) -> Result<T> {
    Err(Error::config(format!("mlflow.{field}"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_those_of_an_empty_file() {
        let config = MlflowConfig::new("http://127.0.0.1:5000/");
        config.validate().unwrap();
        assert_eq!(config.url().unwrap(), "http://127.0.0.1:5000");
        let json = r#"{"tracking_uri": "http://127.0.0.1:5000/"}"#;
        assert_eq!(serde_json::from_str::<MlflowConfig>(json).unwrap(), config);
    }

    #[test]
    fn secrets_are_read_and_never_shown() {
        let json = r#"{"tracking_uri": "https://mlflow.example", "token": "s3cr3t"}"#;
        let config: MlflowConfig = serde_json::from_str(json).unwrap();
        config.validate().unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let base = || MlflowConfig::new("http://127.0.0.1:5000");
        let cases = [
            ("mlflow.tracking_uri", MlflowConfig::new("mlruns")),
            ("mlflow.tracking_uri", MlflowConfig::new("sqlite:///mlflow.db")),
            ("mlflow.tracking_uri", MlflowConfig::new("http://me:secret@127.0.0.1")),
            ("mlflow.tracking_uri", MlflowConfig::new("http://127.0.0.1/?a=b")),
            ("mlflow.experiment", MlflowConfig { experiment: " ".into(), ..base() }),
            ("mlflow.tags", MlflowConfig { tags: [("a*b".into(), "x".into())].into(), ..base() }),
            ("mlflow.tags", MlflowConfig { tags: [("a".into(), "x".repeat(5001))].into(), ..base() }),
            ("mlflow.registered_model", MlflowConfig { registered_model: Some("a/b".into()), ..base() }),
            ("mlflow.username", MlflowConfig { username: Some("me".into()), ..base() }),
            ("mlflow.spool_bytes", MlflowConfig { spool_bytes: 1, ..base() }),
            ("mlflow.flush_ms", MlflowConfig { flush_ms: 0, ..base() }),
        ];
        for (field, config) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(field) && !message.contains("secret"), "{message}");
        }
    }
}
