//! One connection, and how long it may take for what.

use super::ServerConfig;
use super::held::hold_until_sent;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::ServiceExt;

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Without a request, and without progress of what is sent.
    rest: Duration,
    /// From the head of a request to the last byte of its answer.
    answer: Duration,
}

impl Patience {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let seconds = Duration::from_secs;
        Self { rest: seconds(config.idle_seconds), answer: seconds(config.answer_seconds) }
    }

    fn shorter(self) -> Duration {
        self.rest.min(self.answer)
    }
}

/// Answers the requests of a connection until it ends, rests too long, or `ending` turns true.
pub(super) async fn attend(
    builder: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    patience: Patience,
    ending: watch::Receiver<bool>,
) {
    // Refused by systems that do not know it; then answers are a little later.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = Arc::clone(&activity);
        tower::service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let (app, under_way, version) = (app.clone(), activity.begin(), request.version());
            async move {
                let response = app.oneshot(request).await;
                response.map(|response| hold_until_sent(response, version, under_way))
            }
        })
    };
    let io = Sending { inner: TokioIo::new(stream), patience: patience.rest, stalled: None };
    let connection = builder.serve_connection(io, TowerToHyperService::new(service));
    if let Err(error) = until_it_ends(connection.into_owned(), &activity, patience, ending).await {
        tracing::debug!(%error, %peer, "a connection ended");
    }
}

/// What a look at a connection says.
#[derive(Debug, PartialEq)]
enum Look {
    Again(Instant),
    /// Nothing was asked for too long.
    Rests,
    /// An answer was not taken in time.
    Dawdles,
}

async fn until_it_ends<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    patience: Patience,
    mut ending: watch::Receiver<bool>,
) -> Result<(), C::Error> {
    let (mut connection, mut look_again) = (pin!(connection), pin!(sleep(patience.shorter())));
    let mut closing = false;
    loop {
        tokio::select! {
            ended = &mut connection => return ended,
            // A sender that is gone is an end, too.
            _ = ending.wait_for(|ending| *ending), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut look_again => match activity.look(Instant::now(), patience) {
                Look::Again(at) => look_again.as_mut().reset(at),
                Look::Rests if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    look_again.as_mut().reset(Instant::now() + patience.rest);
                }
                // Dropping it closes it.
                Look::Rests | Look::Dawdles => return Ok(()),
            },
        }
    }
}

/// The requests of a connection that are under way.
#[derive(Debug)]
struct Activity(Mutex<Requests>);

#[derive(Debug)]
struct Requests {
    next: u64,
    /// When each began, in the order in which they did.
    begun: BTreeMap<u64, Instant>,
    resting_since: Instant,
}

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Requests { next: 0, begun: BTreeMap::new(), resting_since: Instant::now() }))
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        let mut requests = self.requests();
        let number = requests.next;
        requests.next += 1;
        requests.begun.insert(number, Instant::now());
        UnderWay { activity: Arc::clone(self), number }
    }

    fn look(&self, now: Instant, patience: Patience) -> Look {
        let requests = self.requests();
        let (at, late) = match requests.begun.first_key_value() {
            Some((_, &begun)) => (begun + patience.answer, Look::Dawdles),
            None => (requests.resting_since + patience.rest, Look::Rests),
        };
        if at <= now {
            return late;
        }
        // Meanwhile a request may end and a rest begin, or the other way round.
        Look::Again(at.min(now + patience.shorter()))
    }
}

/// A request, until its answer has left.
struct UnderWay {
    activity: Arc<Activity>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut requests = self.activity.requests();
        requests.begun.remove(&self.number);
        requests.resting_since = Instant::now();
    }
}

/// A stream whose writes fail when they make no progress for a while: a reader that stopped reading.
struct Sending<T> {
    inner: T,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Sending<T> {
    fn within<R>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let until = Instant::now() + self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: Read + Unpin> Read for Sending<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Sending<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.within(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.within(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.within(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_rests_only_without_requests() {
        let seconds = Duration::from_secs;
        let patience = Patience { rest: seconds(10), answer: seconds(60) };
        let (activity, begin) = (Arc::new(Activity::new()), Instant::now());
        let look = |after: u64| activity.look(begin + seconds(after), patience);
        assert!(matches!(look(4), Look::Again(at) if at >= activity.requests().resting_since + seconds(10)));
        assert_eq!(look(11), Look::Rests);
        let (first, second) = (activity.begin(), activity.begin());
        assert_eq!(look(30), Look::Again(begin + seconds(40)));
        assert!(
            matches!(look(55), Look::Again(at) if (begin + seconds(60)..begin + seconds(61)).contains(&at))
        );
        assert_eq!(look(61), Look::Dawdles);
        drop(first);
        assert_eq!(look(61), Look::Dawdles);
        drop(second);
        assert!(matches!(look(9), Look::Again(_)) && look(11) == Look::Rests);
    }
}
