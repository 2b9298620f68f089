//! TCP connections whose failure says what failed: the name, the port or the network.

use crate::error::{Cause, DatabaseFailure, Error, Place, Result};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

/// Between two probes of a connection that says nothing.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to the first address of `host` that answers within `timeout`.
pub(crate) async fn dial(origin: &str, host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    let failed = |failure, cause| Error::database(Place::table(origin, ""), failure, cause);
    let addresses: Vec<_> = match tokio::time::timeout(timeout, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(failed(DatabaseFailure::Dns, Cause::new(error))),
        Err(_) => return Err(failed(DatabaseFailure::Dns, elapsed("the name server", timeout))),
    };
    let mut last = failed(DatabaseFailure::Dns, Cause::new("the name has no address"));
    for address in addresses {
        last = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(|e| failed(DatabaseFailure::Lost, Cause::new(e)))?;
                return Ok(stream);
            }
            Ok(Err(error)) => {
                let failure = match error.kind() {
                    ErrorKind::TimedOut => DatabaseFailure::Timeout,
                    _ => DatabaseFailure::Refused,
                };
                failed(failure, Cause::new(format!("{address}: {error}")))
            }
            Err(_) => failed(DatabaseFailure::Timeout, elapsed(&address.to_string(), timeout)),
        };
    }
    Err(last)
}

/// `call`, or a failure when it has not ended after `timeout`.
pub(crate) async fn within<T>(
    origin: &str,
    timeout: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, call).await {
        Ok(done) => done,
        Err(_) => {
            let place = Place::table(origin, "");
            Err(Error::database(place, DatabaseFailure::Timeout, elapsed("the server", timeout)))
        }
    }
}

fn elapsed(who: &str, timeout: Duration) -> Cause {
    Cause::new(format!("{who} did not answer within {} s", timeout.as_secs()))
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE_TIMEOUT).with_interval(KEEP_ALIVE_TIMEOUT);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}
