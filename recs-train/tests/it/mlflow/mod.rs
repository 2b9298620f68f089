//! MLflow tracking: against odd servers made by hand, and against a real one.

mod fake;
mod odd_servers;
mod real;
mod rest;
mod server;
mod spool;
mod trials;

use recs_train::tracking::mlflow::{MlflowConfig, MlflowHost};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client with a TLS provider of its own: nothing is installed for the process.
fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

fn host() -> MlflowHost {
    MlflowHost::new(http())
}

/// Quick to send and to try again.
fn config(url: &str, spool: &tempfile::TempDir) -> MlflowConfig {
    let mut config = MlflowConfig::new(url);
    (config.experiment, config.spool_dir) = ("retail/daily".into(), spool.path().into());
    (config.flush_ms, config.retry_s, config.timeout_s) = (20, 1, 5);
    config
}

fn wait(until: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !until() {
        assert!(Instant::now() < limit, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
