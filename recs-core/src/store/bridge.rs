//! Between async objects and synchronous codecs: a blocking thread joined by a bounded channel.

use crate::artifact::{Digest, DigestWriter};
use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::io::{ErrorKind, Read, Write};
use tokio::sync::mpsc;

/// Chunks are a multiple of the smallest part that S3 accepts.
const CHUNK_BYTES: usize = 5 << 20;
const CHUNKS_IN_FLIGHT: usize = 2;

/// Buffers into chunks and hands them to the uploading task.
struct ChannelWriter {
    chunk: BytesMut,
    sender: mpsc::Sender<Bytes>,
}

impl ChannelWriter {
    fn send(&mut self) -> std::io::Result<()> {
        let chunk = self.chunk.split().freeze();
        self.sender.blocking_send(chunk).map_err(|_| ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = buf.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&buf[..n]);
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) async fn upload<T, F>(
    store: &dyn ObjectStore,
    to: &Path,
    shown: String,
    write: F,
) -> Result<(T, Digest)>
where
    F: FnOnce(&mut (dyn Write + Send)) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    let (sender, mut chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let name = shown.clone();
    let job = tokio::task::spawn_blocking(move || {
        let mut sink = DigestWriter::new(ChannelWriter { chunk: BytesMut::new(), sender });
        let value = write(&mut sink)?;
        let (mut channel, digest) = sink.finish();
        channel.send().map_err(|e| Error::io(name, e))?;
        Ok((value, digest))
    });
    let failed = |e| Error::store(&shown, e);
    let first = chunks.recv().await.unwrap_or_default();
    let Some(second) = chunks.recv().await else {
        let done = joined(job.await)?;
        store.put(to, first.into()).await.map_err(failed)?;
        return Ok(done);
    };
    let mut upload = WriteMultipart::new(store.put_multipart(to).await.map_err(failed)?);
    upload.put(first);
    upload.put(second);
    let streamed = loop {
        if let Err(e) = upload.wait_for_capacity(CHUNKS_IN_FLIGHT).await {
            break Err(failed(e));
        }
        match chunks.recv().await {
            Some(chunk) => upload.put(chunk),
            None => break Ok(()),
        }
    };
    drop(chunks);
    // The writer's own error says more than the broken pipe that it causes; a failed upload breaks the writer's pipe.
    let written = joined(job.await);
    match (streamed, written) {
        (Ok(()), Ok(done)) => {
            upload.finish().await.map_err(failed)?;
            Ok(done)
        }
        (Err(e), _) | (Ok(()), Err(e)) => {
            let _ = upload.abort().await;
            Err(e)
        }
    }
}

struct ChannelReader {
    chunk: Bytes,
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
}

impl Read for ChannelReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.chunk.len());
        buf[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

pub(super) async fn download<T, F>(found: GetResult, shown: String, read: F) -> Result<T>
where
    F: FnOnce(&mut (dyn Read + Send)) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    match found.payload {
        GetResultPayload::File(mut file, _) => {
            joined(tokio::task::spawn_blocking(move || read(&mut file)).await)
        }
        GetResultPayload::Stream(stream) => {
            let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
            let job = tokio::task::spawn_blocking(move || {
                read(&mut ChannelReader { chunk: Bytes::new(), receiver })
            });
            pump(stream, sender).await.map_err(|e| Error::store(shown, e))?;
            joined(job.await)
        }
    }
}

async fn pump(
    mut stream: impl Stream<Item = object_store::Result<Bytes>> + Unpin,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
) -> object_store::Result<()> {
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                if sender.send(Ok(chunk)).await.is_err() {
                    return Ok(()); // the reader has what it wants
                }
            }
            Err(e) => {
                let _ = sender.send(Err(std::io::Error::other("the download failed"))).await;
                return Err(e);
            }
        }
    }
    Ok(())
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or(Err(Error::Worker { doing: "reading or writing a file" }))
}
