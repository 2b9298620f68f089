//! Files of a store -> artifacts of a run, through the server's proxy of its artifact store.

use super::client::{Client, Failure};
use bytes::Bytes;
use futures::stream;
use recs_core::Error;
use recs_core::artifact::{Digest, DigestReader};
use recs_core::store::Store;
use reqwest::Body;
use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_IN_FLIGHT: usize = 4;

/// Stores that files come from: those of this process, others by their URL.
#[derive(Default)]
pub(super) struct Stores {
    known: Mutex<HashMap<String, Store>>,
    options: Vec<(String, String)>,
}

impl Stores {
    pub(super) fn new(options: Vec<(String, String)>) -> Self {
        Self { known: Mutex::default(), options }
    }

    /// Keeps a store for the uploads of this process.
    pub(super) fn know(&self, store: &Store) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(store.url().to_owned(), store.clone());
    }

    fn get(&self, url: &str) -> Result<Store, Failure> {
        if let Some(store) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(store.clone());
        }
        // Opening would make the folder.
        if !url.contains("://") && !Path::new(url).is_dir() {
            return Err(Failure::refused(format!("folder {url} is no longer there")));
        }
        Store::open(url, self.options.iter().cloned()).map_err(|e| Failure::blocked(e.to_string()))
    }
}

/// A place below the run's artifacts -> parts of the path in the server's proxy.
pub(super) fn parts<'a>(artifact_uri: &'a str, path: &'a str) -> Result<Vec<&'a str>, Failure> {
    let Some(root) = artifact_uri.strip_prefix("mlflow-artifacts:") else {
        return Err(Failure::refused(format!(
            "artifacts are at {artifact_uri}, which the server does not take files for: start it with \
             --artifacts-destination"
        )));
    };
    // mlflow-artifacts://host:port/1/…/artifacts names the same server.
    let root = root.strip_prefix("//").map_or(root, |r| r.split_once('/').map_or("", |(_, path)| path));
    Ok(root.split('/').chain(path.split('/')).filter(|part| !part.is_empty()).collect())
}

/// Puts one file, streamed, and only when it still has its digest.
pub(super) async fn upload(
    client: &Client,
    stores: &Stores,
    (store, file, digest): (&str, &str, &Digest),
    to: &[&str],
) -> Result<(), Failure> {
    let store = stores.get(store)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let (shown, expected) = (store.show(file), digest.clone());
    let reading = store.get_with(file, move |source| send(source, &shown, &expected, &sender));
    let chunks = stream::unfold(receiver, async |mut r: mpsc::Receiver<_>| r.recv().await.map(|c| (c, r)));
    let putting = client.put_artifact(to, digest.size_bytes, Body::wrap_stream(chunks));
    let (put, read) = tokio::join!(putting, reading);
    match read {
        // The server's answer ends the reading too.
        Ok(()) => put,
        Err(e @ (Error::NotFound { .. } | Error::Digest { .. })) => Err(Failure::refused(e.to_string())),
        Err(e) => Err(Failure::unreachable(e.to_string())),
    }
}

type Sender = mpsc::Sender<std::io::Result<Bytes>>;

/// Sends all chunks; the last one only when the digest is right, so that a file that changed never becomes whole.
fn send(
    source: &mut (dyn Read + Send),
    file: &str,
    expected: &Digest,
    sender: &Sender,
) -> recs_core::Result<()> {
    let mut source = DigestReader::new(source);
    let mut held = Bytes::new();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(|e| Error::io(file, e))?;
        if chunk.is_empty() {
            break;
        }
        let ready = std::mem::replace(&mut held, chunk.into());
        if !ready.is_empty() && sender.blocking_send(Ok(ready)).is_err() {
            return Ok(());
        }
    }
    let found = source.finish().map_err(|e| Error::io(file, e))?;
    let last = expected.verify(file, &found);
    let ready = if last.is_ok() { Ok(held) } else { Err(ErrorKind::InvalidData.into()) };
    // Nobody listens when the server has answered.
    let _ = sender.blocking_send(ready);
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_of_the_proxy_have_a_path_and_others_are_refused() {
        let expected = ["1", "abc", "artifacts", "model", "a b.bin"];
        assert_eq!(parts("mlflow-artifacts:/1/abc/artifacts", "model/a b.bin").unwrap(), expected);
        assert_eq!(parts("mlflow-artifacts://host:5000/1/abc/artifacts", "model/a b.bin").unwrap(), expected);
        let refused = parts("s3://bucket/1/abc/artifacts", "model").unwrap_err();
        assert!(refused.reason().contains("--artifacts-destination"), "{refused:?}");
    }
}
