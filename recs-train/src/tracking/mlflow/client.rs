//! One request to the server, and what an answer means for what comes next.

use super::config::MlflowConfig;
use crate::error::Result;
use recs_core::secret::Secret;
use reqwest::header::{CONTENT_LENGTH, RETRY_AFTER};
use reqwest::{Body, Client as Http, Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// A longer answer is none of an MLflow server.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// A server that asks for more patience is asked again all the same.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Characters of an answer that are told to people.
const TOLD_CHARS: usize = 500;

/// Why a request failed, by what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Trying again: no connection, no time, too much load.
    Unreachable { reason: String, retry_after: Option<Duration> },
    /// A person: credentials, a deleted run, a disk.
    Blocked { reason: String },
    /// Nothing: this request will never succeed, others may.
    Refused { reason: String, code: String },
}

impl Failure {
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self::Unreachable { reason: reason.into(), retry_after: None }
    }

    pub(super) fn blocked(reason: impl Into<String>) -> Self {
        Self::Blocked { reason: reason.into() }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), code: String::new() }
    }

    /// Says what was being sent.
    pub(super) fn of(mut self, what: &str) -> Self {
        let (Self::Unreachable { reason, .. } | Self::Blocked { reason } | Self::Refused { reason, .. }) =
            &mut self;
        *reason = format!("{what}: {reason}");
        self
    }

    pub(super) fn reason(&self) -> &str {
        let (Self::Unreachable { reason, .. } | Self::Blocked { reason } | Self::Refused { reason, .. }) =
            self;
        reason
    }

    /// True when the server says that something is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "RESOURCE_DOES_NOT_EXIST")
    }

    /// True when the server says that something is there already.
    pub(super) fn exists(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "RESOURCE_ALREADY_EXISTS")
    }
}

/// Who we are to the server.
#[derive(Debug, Clone)]
enum Credentials {
    None,
    Basic(String, Secret),
    Bearer(Secret),
}

/// The server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: Http,
    url: String,
    credentials: Credentials,
    timeout: Duration,
    upload_timeout: Duration,
}

impl Client {
    pub(super) fn new(config: &MlflowConfig, http: Http) -> Result<Self> {
        let credentials = match (&config.username, &config.password, &config.token) {
            (Some(user), Some(password), _) => Credentials::Basic(user.clone(), password.clone()),
            (_, _, Some(token)) => Credentials::Bearer(token.clone()),
            _ => Credentials::None,
        };
        let (timeout, upload_timeout) = (config.timeout(), config.upload_timeout());
        Ok(Self { http, url: config.url()?, credentials, timeout, upload_timeout })
    }

    /// Without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// `GET` of the tracking API.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut url = self.at(&format!("api/2.0/mlflow/{path}"))?;
        url.query_pairs_mut().extend_pairs(query);
        self.answer(self.request(Method::GET, url)).await
    }

    /// `POST` of the tracking API.
    pub(super) async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<Value, Failure> {
        let url = self.at(&format!("api/2.0/mlflow/{path}"))?;
        self.answer(self.request(Method::POST, url).json(body)).await
    }

    /// Puts an artifact; `path` is below the root of all artifacts.
    pub(super) async fn put_artifact(&self, path: &[&str], size: u64, body: Body) -> Result<(), Failure> {
        let mut url = self.at("api/2.0/mlflow-artifacts/artifacts")?;
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.extend(path);
        }
        let request = self.request(Method::PUT, url).timeout(self.upload_timeout);
        self.answer(request.header(CONTENT_LENGTH, size).body(body)).await.map(drop)
    }

    fn at(&self, path: &str) -> Result<reqwest::Url, Failure> {
        let url = format!("{}/{path}", self.url);
        reqwest::Url::parse(&url).map_err(|e| Failure::blocked(format!("{url}: {e}")))
    }

    fn request(&self, method: Method, url: reqwest::Url) -> RequestBuilder {
        let request = self.http.request(method, url).timeout(self.timeout);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
            Credentials::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = request.send().await.map_err(|e| self.no_answer(&e))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = self.body(response).await?;
        if status.is_success() {
            // An upload is answered by nothing.
            let body = if body.is_empty() { b"{}" } else { body.as_slice() };
            return serde_json::from_slice(body).map_err(|_| {
                Failure::unreachable(format!("{} does not answer as an MLflow server does", self.url))
            });
        }
        Err(self.failure(status, retry_after, &body))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.no_answer(&e))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let what = format!("{} answers more than {MAX_ANSWER_BYTES} bytes", self.url);
                return Err(Failure::unreachable(what));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let what = if error.is_timeout() { "answered too late".into() } else { cause.to_string() };
        Failure::unreachable(format!("{}: {what}", self.url))
    }

    fn failure(&self, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Document {
            error_code: String,
            #[serde(default)]
            message: String,
        }
        let document: Option<Document> = serde_json::from_slice(body).ok();
        let said =
            document.as_ref().map_or_else(|| String::from_utf8_lossy(body), |d| d.message.as_str().into());
        let said: String = said.trim().chars().take(TOLD_CHARS).collect();
        let reason = format!("{} answered {status}: {said}", self.url);
        match (status.as_u16(), document) {
            (401 | 403, _) => Failure::blocked(format!("{reason} (check username, password or token)")),
            (408 | 425 | 429 | 500..=599, _) => Failure::Unreachable { reason, retry_after },
            (400..=499, Some(document)) => Failure::Refused { reason, code: document.error_code },
            // A proxy in between knows no codes of MLflow.
            (400 | 409 | 413 | 422, None) => Failure::refused(reason),
            _ => Failure::unreachable(format!("{reason} (is tracking_uri that of an MLflow server?)")),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}
