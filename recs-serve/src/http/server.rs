//! Connections: bounded, timed out, and drained at the end.

use crate::error::{Error, Result};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// How connections are treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Connections at a time; one more waits until another ends.
    pub max_connections: usize,
    /// A connection is closed that takes longer to send the head of a request, or rests longer between two.
    pub idle_seconds: u64,
    /// How long requests under way may still take once the server is to end.
    pub drain_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { max_connections: 20_000, idle_seconds: 75, drain_seconds: 30 }
    }
}

/// How long to wait after the system refused a connection: it has no more files or memory just now.
const REFUSED: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then finishes the requests under way and closes every connection. HTTP/1.1 and HTTP/2.
///
/// `axum::serve` does too; this one bounds connections and their idleness, sends small answers at once (`TCP_NODELAY`), and
/// does not wait for a client for ever when it ends.
///
/// # Errors
/// [`Error::Config`] for limits of 0. Failing connections are no error of the server.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    if config.max_connections == 0 || config.idle_seconds == 0 {
        return Err(Error::config("server", "max_connections and idle_seconds must be at least 1"));
    }
    let free = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    let (watched, builder) = (GracefulShutdown::new(), Arc::new(builder(config)));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // Never closed.
            let permit = Arc::clone(&free).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, (stream, peer)) = tokio::select! {
            () = &mut shutdown => break,
            (permit, accepted) = accepted => match accepted {
                Ok(connection) => (permit, connection),
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            },
        };
        let watcher = watched.watcher();
        let (app, builder) = (app.clone(), Arc::clone(&builder));
        tokio::spawn(async move {
            let _permit = permit;
            let connection = connection(&builder, stream, peer, app);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, %peer, "a connection ended");
            }
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(Duration::from_secs(config.drain_seconds), watched.shutdown()).await;
    if drained.is_err() {
        tracing::warn!(seconds = config.drain_seconds, "requests were still under way when the server ended");
    }
    Ok(())
}

fn builder(config: &ServerConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let idle = Duration::from_secs(config.idle_seconds);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(idle).keep_alive_timeout(idle);
    builder
}

fn connection(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error: std::fmt::Display> {
    // Refused by systems that do not know it; then answers are a little later.
    let _ = stream.set_nodelay(true);
    let service = app.map_request(move |request: axum::http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned()
}
