//! An index across a network where searching is synchronous.

use super::super::{Filter, Hit, Query, Scratch, ScratchPool, VectorIndex, check_queries, check_query};
use super::RemoteIndex;
use crate::error::{Error, Result};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const DOING: &str = "asking a remote index";

type Answer = Result<Vec<Hit>>;

struct Job {
    query: Vec<f32>,
    k: usize,
    filter: Filter,
    answer: mpsc::Sender<(usize, Answer)>,
    place: usize,
}

/// A [`RemoteIndex`] that a [`Retriever`](crate::retriever::Retriever) can search: the calling thread waits for the network, the
/// searches of a batch are under way together. They run on a thread of their own.
#[derive(Debug)]
pub struct Blocking<R> {
    remote: Arc<R>,
    jobs: UnboundedSender<Job>,
}

impl<R: RemoteIndex + 'static> Blocking<R> {
    /// Asks `remote`; a search that takes longer than `patience` is an error.
    ///
    /// # Errors
    /// [`Error::Worker`] when no thread can be started.
    pub fn new(remote: Arc<R>, patience: Duration) -> Result<Self> {
        let (jobs, mut asked) = unbounded_channel::<Job>();
        let failed = |_| Error::Worker { doing: DOING };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let asks = Arc::clone(&remote);
        let serve = move || {
            runtime.block_on(async move {
                while let Some(job) = asked.recv().await {
                    let remote = Arc::clone(&asks);
                    tokio::spawn(async move {
                        let search = remote.search(&job.query, job.k, &job.filter);
                        let done = tokio::time::timeout(patience, search).await;
                        let late = |_| Error::Remote {
                            index: format!("{remote:?}"),
                            reason: format!("no answer within {patience:?}"),
                        };
                        // Nobody may wait any more.
                        let _ = job.answer.send((job.place, done.map_err(late).flatten()));
                    });
                }
            });
        };
        std::thread::Builder::new().name("recs-remote".into()).spawn(serve).map_err(failed)?;
        Ok(Self { remote, jobs })
    }

    /// Sends all, then waits for all.
    fn ask(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Hit>>> {
        let (answer, answers) = mpsc::channel();
        for (place, Query { vector, k, filter }) in queries.iter().enumerate() {
            let job = Job {
                query: vector.to_vec(),
                k: *k,
                filter: (*filter).clone(),
                answer: answer.clone(),
                place,
            };
            self.jobs.send(job).map_err(|_| Error::Worker { doing: DOING })?;
        }
        drop(answer);
        let mut found = vec![None; queries.len()];
        for (place, hits) in answers {
            found[place] = Some(hits?);
        }
        found.into_iter().collect::<Option<Vec<_>>>().ok_or(Error::Worker { doing: DOING })
    }
}

impl<R: RemoteIndex + 'static> VectorIndex for Blocking<R> {
    fn len(&self) -> usize {
        self.remote.len()
    }

    fn dim(&self) -> usize {
        self.remote.dim()
    }

    fn waits(&self) -> bool {
        true
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        _: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        check_query(query, 0, self.dim())?;
        *out = self.ask(&[Query { vector: query, k, filter }])?.pop().unwrap_or_default();
        Ok(())
    }

    fn search_batch(&self, queries: &[Query<'_>], _: &ScratchPool) -> Result<Vec<Vec<Hit>>> {
        check_queries(queries, self.dim())?;
        self.ask(queries)
    }
}
