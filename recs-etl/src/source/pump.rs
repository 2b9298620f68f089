//! A blocking reader on its own thread, its batches in a stream.
//!
//! ```text
//!  reader thread ── bounded channel (2 batches) ──> BatchStream
//! ```
//! Dropping the stream closes the channel, the next hand-over fails, and the thread ends.

use super::BatchStream;
use super::filter::Finish;
use crate::error::{Error, Place, Result};
use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio::sync::mpsc;

/// Batches that wait between reader and consumer.
const WAITING: usize = 2;

/// Where a reader puts its batches: already filtered, projected and cut to the limit.
pub(crate) struct Outlet {
    sender: mpsc::Sender<Result<RecordBatch>>,
    finish: Finish,
}

/// Whether the reader should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    More,
    Enough,
}

impl Outlet {
    /// Hands a batch of the plan's columns over, waiting while the consumer is behind.
    pub(crate) fn put(&mut self, batch: RecordBatch) -> Result<Flow> {
        if let Some(batch) = self.finish.apply(batch)?
            && self.sender.blocking_send(Ok(batch)).is_err()
        {
            return Ok(Flow::Enough);
        }
        Ok(if self.finish.is_done() || self.sender.is_closed() { Flow::Enough } else { Flow::More })
    }
}

/// Runs `reader` on a blocking thread and streams what it puts into its outlet.
pub(crate) fn pump<F>(place: Place, finish: Finish, reader: F) -> BatchStream
where
    F: FnOnce(&mut Outlet) -> Result<()> + Send + 'static,
{
    if finish.is_done() {
        return futures::stream::empty().boxed();
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let thread = tokio::task::spawn_blocking(move || {
        let errors = sender.clone();
        let mut outlet = Outlet { sender, finish };
        if let Err(error) = reader(&mut outlet) {
            // Nobody listens when the consumer is gone; then nobody needs the error either.
            let _ = errors.blocking_send(Err(error));
        }
    });
    let state = (receiver, Some(thread), place);
    futures::stream::unfold(state, |(mut receiver, mut thread, place)| async move {
        match receiver.recv().await {
            Some(Ok(batch)) => Some((Ok(batch), (receiver, thread, place))),
            Some(Err(error)) => {
                receiver.close();
                Some((Err(error), (receiver, None, place)))
            }
            // The channel closes when the thread ends, and also when it panics: only the thread itself knows which.
            None => match thread.take()?.await {
                Ok(()) => None,
                Err(_) => {
                    Some((Err(Error::ReaderLost { place: Box::new(place.clone()) }), (receiver, None, place)))
                }
            },
        }
    })
    .boxed()
}

/// Runs a blocking call off the async threads.
#[cfg_attr(not(any(feature = "csv", feature = "parquet", feature = "sqlite")), allow(dead_code))]
pub(crate) async fn blocking<T, F>(origin: &str, call: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|_| Err(Error::ReaderLost { place: Box::new(Place::table(origin, "")) }))
}

#[cfg(test)]
mod tests {
    use super::super::filter::ReadPlan;
    use super::super::request::ReadRequest;
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn finish(request: &ReadRequest) -> Finish {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        ReadPlan::new("test", &schema, request).unwrap().finish
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([(
            "a",
            Arc::new(Int64Array::from(vec![1, 2, 3])) as _,
            true,
        )])
        .unwrap()
    }

    #[tokio::test]
    async fn a_dying_reader_is_an_error_not_an_early_end() {
        let request = ReadRequest::table("t");
        let mut stream = pump(Place::table("test", "t"), finish(&request), |outlet| {
            outlet.put(batch())?;
            panic!("reader died");
        });
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 3);
        assert!(matches!(stream.next().await, Some(Err(Error::ReaderLost { .. }))));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_stream_stops_the_reader() {
        let request = ReadRequest::table("t");
        let puts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&puts);
        let mut stream = pump(Place::table("test", "t"), finish(&request), move |outlet| {
            while outlet.put(batch())? == Flow::More {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            counted.fetch_add(1_000_000, Ordering::SeqCst);
            Ok(())
        });
        stream.next().await.unwrap().unwrap();
        drop(stream);
        for _ in 0..500 {
            if puts.load(Ordering::SeqCst) >= 1_000_000 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let puts = puts.load(Ordering::SeqCst);
        assert!((1_000_000..1_000_010).contains(&puts), "{puts}");
    }
}
