//! Connections: bounded, timed out, and drained at the end.

use super::connection::{Patience, attend};
use crate::error::{Error, Result};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use serde::{Deserialize, Serialize};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How connections are treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Connections at a time; one more waits until another ends.
    pub max_connections: usize,
    /// A connection is closed that takes longer to send the head of a request, rests longer without one, or takes nothing of
    /// an answer for so long.
    pub idle_seconds: u64,
    /// A connection is cut that has not taken the last byte of an answer so long after the head of its request.
    pub answer_seconds: u64,
    /// How long requests under way may still take once the server is to end; then they are cut.
    pub drain_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { max_connections: 20_000, idle_seconds: 75, answer_seconds: 300, drain_seconds: 30 }
    }
}

/// How long to wait after the system refused a connection: it has no more files or memory just now.
const REFUSED: Duration = Duration::from_millis(50);
/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;
/// Most that a connection of HTTP/1 keeps of what was read and not yet understood: room for any head of a request.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// Serves until `shutdown`, then finishes the requests under way and closes every connection. HTTP/1.1 and HTTP/2.
///
/// `axum::serve` does too; this one bounds connections, their idleness and what slow readers hold, sends small answers at once
/// (`TCP_NODELAY`), and does not wait for a client for ever when it ends: nothing of it runs on once it has returned.
///
/// # Errors
/// [`Error::Config`] for limits of 0. Failing connections are no error of the server.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    if config.max_connections == 0 || config.idle_seconds == 0 || config.answer_seconds == 0 {
        let reason = "max_connections, idle_seconds and answer_seconds must be at least 1";
        return Err(Error::config("server", reason));
    }
    let free = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    let (builder, patience) = (Arc::new(builder(config)), Patience::new(config));
    let ((end, ending), mut connections) = (watch::channel(false), JoinSet::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // Never closed.
            let permit = Arc::clone(&free).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, (stream, peer)) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            (permit, accepted) = accepted => match accepted {
                Ok(connection) => (permit, connection),
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            },
        };
        let attended = attend(Arc::clone(&builder), stream, peer, app.clone(), patience, ending.clone());
        connections.spawn(async move {
            let _permit = permit;
            attended.await;
        });
    }
    drop(listener);
    // Some connection listens, or nothing is to be ended.
    let _ = end.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(config.drain_seconds), ended).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were still under way when the server ended: cut"
        );
        connections.shutdown().await;
    }
    Ok(())
}

fn builder(config: &ServerConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let idle = Duration::from_secs(config.idle_seconds);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(MAX_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(idle)
        .keep_alive_timeout(idle)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}
