//! The threads that score.

use crate::background::Background;
use crate::error::{Error, Result};
use crate::index::ScratchPool;
use crate::turns::Turns;
use rayon::{ThreadPool, ThreadPoolBuilder};
use recs_core::tenant::TenantId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Most threads that a configuration may ask for.
const MAX_THREADS: usize = 1024;

/// A pool of scoring threads, shared by all models of a process. Cheap to clone.
///
/// Work above a millisecond runs here and not on the threads of the async runtime.
#[derive(Debug, Clone)]
pub struct Workers {
    pool: Arc<ThreadPool>,
    /// For jobs of [`Workers::run`].
    turns: Arc<Turns>,
    /// Threads beside the pool, for what nobody waits for.
    background: Arc<Background>,
    scratch: Arc<ScratchPool>,
}

impl Workers {
    /// Starts `threads` threads; 0 means one for each core.
    ///
    /// # Errors
    /// [`Error::Config`] for more than 1024 threads, or when the system refuses to start them.
    pub fn new(threads: usize) -> Result<Self> {
        let refuse = |reason: String| Error::config("serve.threads", reason);
        if threads > MAX_THREADS {
            return Err(refuse(format!("is {threads}, allowed are 0 (one for each core) to {MAX_THREADS}")));
        }
        let builder =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("recs-score-{i}"));
        Ok(Self::from_pool(Arc::new(builder.build().map_err(|e| refuse(e.to_string()))?)))
    }

    /// Uses a pool that the host built.
    pub fn from_pool(pool: Arc<ThreadPool>) -> Self {
        let turns = Turns::new(pool.current_num_threads());
        Self { pool, turns, background: Arc::default(), scratch: Arc::default() }
    }

    /// Runs a job away from those who answer.
    ///
    /// # Errors
    /// Those of the job; [`Error::Worker`] when it panicked.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.background.run(doing, job).await
    }

    /// Working memory of searches, whichever model's: it is no more than those at a time need.
    pub(crate) fn scratch(&self) -> &Arc<ScratchPool> {
        &self.scratch
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs a job that splits itself with rayon on this pool; the calling thread waits.
    pub fn install<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        self.pool.install(job)
    }

    /// Runs a job on this pool; the calling task waits without holding its thread. A job whose caller goes away
    /// before it begins is dropped; one that has begun runs to its end.
    ///
    /// At most as many jobs as there are threads run at a time. A thread of rayon that waits for the parts of one job takes up
    /// whatever else was given to the pool: without turns it would begin one job inside another, until its stack ends, and finish
    /// the first one last. Tenants take turns, and the jobs of one run in the order in which they came: who asks for much waits for
    /// it, the others do not. Jobs of no tenant (`None`) wait as those of one.
    ///
    /// # Errors
    /// [`Error::Worker`] when the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: Option<&TenantId>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let doing = "answering a request";
        let turn = self.turns.wait(tenant).await;
        let (answer, wait) = oneshot::channel();
        let span = tracing::Span::current();
        self.pool.spawn(move || {
            // What is traced there belongs to the request.
            let _in = span.enter();
            if answer.is_closed() {
                return;
            }
            // A panic must not leave the pool's thread: rayon would end the process.
            let done = catch_unwind(AssertUnwindSafe(job));
            // Before the answer: whoever has it may count on the place.
            drop(turn);
            if let Ok(value) = done {
                // Nobody waits any more: the client went away.
                let _ = answer.send(value);
            }
        });
        wait.await.map_err(|_| Error::Worker { doing })
    }
}

impl Workers {
    /// Runs a job on this pool if it has a thread to spare now; false when it has none. Nobody waits for the job, and a panic of
    /// it is forgotten.
    pub fn spare(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let Some(turn) = self.turns.take() else { return false };
        self.pool.spawn(move || {
            let _turn = turn;
            let _ = catch_unwind(AssertUnwindSafe(job));
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_pool_lives_on() {
        let workers = Workers::new(1).unwrap();
        let died: Result<u32> = workers.run(None, || panic!("on purpose")).await;
        assert!(matches!(died, Err(Error::Worker { .. })));
        assert_eq!(workers.run(None, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn spare_jobs_run_only_where_there_is_room() {
        let workers = Workers::new(1).unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        assert!(workers.spare(move || wait.recv().unwrap()));
        assert!(!workers.spare(|| ()), "the only thread is busy");
        go.send(()).unwrap();
        assert_eq!(workers.run(None, || 7).await.unwrap(), 7);
        assert!(workers.spare(|| panic!("on purpose")));
        assert_eq!(workers.run(None, || 8).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_thousand_jobs_that_split_themselves_take_turns() {
        use rayon::prelude::*;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (workers, inside, most) = (Workers::new(2).unwrap(), AtomicUsize::new(0), AtomicUsize::new(0));
        let (inside, most) = (Arc::new(inside), Arc::new(most));
        let mut jobs = tokio::task::JoinSet::new();
        for i in 0..1000u64 {
            let (workers, inside, most) = (workers.clone(), Arc::clone(&inside), Arc::clone(&most));
            jobs.spawn(async move {
                let job = move || {
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let sum =
                        (0..2000u32).into_par_iter().with_max_len(8).map(|x| u64::from(x) ^ i).sum::<u64>();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    sum
                };
                (workers.run(None, job).await.unwrap(), i)
            });
        }
        while let Some(done) = jobs.join_next().await {
            let (sum, i) = done.unwrap();
            assert_eq!(sum, (0..2000).map(|x: u64| x ^ i).sum::<u64>());
        }
        assert!(most.load(Ordering::SeqCst) <= 2, "jobs begin inside others");
    }

    #[test]
    fn absurd_thread_counts_are_refused() {
        assert!(matches!(Workers::new(1_000_000), Err(Error::Config { .. })));
    }
}
