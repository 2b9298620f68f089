//! What a request holds until its answer has left.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to this size fit what the system buffers for a connection: nothing is held for them.
const SMALL_BYTES: u64 = 16 << 10;

/// Room for answers that are not sent yet.
#[derive(Debug)]
pub(super) struct Room {
    pages: Arc<Semaphore>,
    all: usize,
}

/// Of [`Room`].
const PAGE_BYTES: usize = 1 << 10;

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let all = (bytes / PAGE_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { pages: Arc::new(Semaphore::new(all)), all }
    }

    /// Takes room for an answer until it is dropped; None where there is too little. What is larger than all of it takes all of it.
    pub(super) fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let pages = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(PAGE_BYTES).min(self.all);
        Arc::clone(&self.pages).try_acquire_many_owned(u32::try_from(pages).ok()?).ok()
    }
}

/// Bytes that an answer to a request of this version of HTTP takes until it has left; none for a small one. A client of HTTP/2 says
/// itself how much it takes, so whatever the size an answer may stay here.
pub(super) fn bytes_held(response: &Response, version: Version) -> u64 {
    let (bytes, free) =
        (response.body().size_hint().lower(), if version == Version::HTTP_2 { 0 } else { SMALL_BYTES });
    if bytes > free { bytes } else { 0 }
}

/// Drops `guard` when the last byte of the answer was handed to the system, or nobody will send it any more.
///
/// The guard travels with the bytes themselves: a server takes a body apart long before a slow reader has taken it.
pub(super) fn hold_until_sent(
    response: Response,
    version: Version,
    guard: impl Send + Sync + 'static,
) -> Response {
    let is_sized = response.body().size_hint().exact().is_some();
    if is_sized && bytes_held(&response, version) == 0 {
        return response;
    }
    response.map(|inner| Body::new(Held { inner, guard: Arc::new(guard) }))
}

struct Held<G> {
    inner: Body,
    guard: Arc<G>,
}

struct HeldBytes<G> {
    bytes: Bytes,
    _guard: Arc<G>,
}

impl<G> AsRef<[u8]> for HeldBytes<G> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<G: Send + Sync + 'static> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let guard = &self.guard;
        let held = |bytes| Bytes::from_owner(HeldBytes { bytes, _guard: Arc::clone(guard) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[test]
    fn room_is_taken_and_given_back() {
        let room = Room::new(10 << 10);
        let (first, second) = (room.take(4 << 10).unwrap(), room.take(5000).unwrap());
        assert!(room.take(2 << 10).is_none() && room.take(1 << 10).is_some());
        drop((first, second));
        let all = room.take(1 << 30).unwrap();
        assert!(room.take(1).is_none());
        drop(all);
        assert!(room.take(1).is_some());
    }

    #[tokio::test]
    async fn large_answers_hold_and_small_ones_do_not() {
        let (one, two, small) = (Version::HTTP_11, Version::HTTP_2, SMALL_BYTES as usize);
        for (size, version, held_after) in
            [(small, one, 1), (small + 1, one, 2), (small, two, 2), (1, two, 2)]
        {
            let guard = Arc::new(());
            let response =
                hold_until_sent(Response::new(Body::from(vec![7; size])), version, Arc::clone(&guard));
            assert_eq!(Arc::strong_count(&guard), held_after);
            assert_eq!(response.body().size_hint().exact(), Some(size as u64));
            let mut body = response.into_body();
            let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(body.frame().await.is_none());
            drop(body);
            let rest = bytes.slice(size - 1..);
            drop(bytes);
            assert_eq!((rest.as_ref(), Arc::strong_count(&guard)), (&[7u8][..], held_after));
            drop(rest);
            assert_eq!(Arc::strong_count(&guard), 1);
        }
    }
}
