//! The threads that score.

use crate::error::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
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
        Ok(Self { pool: Arc::new(builder.build().map_err(|e| refuse(e.to_string()))?) })
    }

    /// Uses a pool that the host built.
    pub fn from_pool(pool: Arc<ThreadPool>) -> Self {
        Self { pool }
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
    /// # Errors
    /// [`Error::Worker`] when the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        self.pool.spawn(move || {
            if answer.is_closed() {
                return;
            }
            // A panic must not leave the pool's thread: rayon would end the process.
            if let Ok(value) = catch_unwind(AssertUnwindSafe(job)) {
                // Nobody waits any more: the client went away.
                let _ = answer.send(value);
            }
        });
        wait.await.map_err(|_| Error::Worker { doing: "answering a request" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_pool_lives_on() {
        let workers = Workers::new(1).unwrap();
        let died: Result<u32> = workers.run(|| panic!("on purpose")).await;
        assert!(matches!(died, Err(Error::Worker { .. })));
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[test]
    fn absurd_thread_counts_are_refused() {
        assert!(matches!(Workers::new(1_000_000), Err(Error::Config { .. })));
    }
}
