//! Work that must not take a processor from those who answer.

use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How far it stands back; 0 is everybody else's place, 19 the last.
#[cfg(target_os = "linux")]
const NICENESS: libc::c_int = 19;

/// How long a thread waits for its next job: what it has learned to hold of memory is not learned anew for each.
const IDLE: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that the system lets run where others leave room. As many as there are jobs at a time; they end when nobody needs them.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// Ways to threads that have nothing to do, by the threads' numbers.
    idle: Mutex<Vec<(u64, Sender<Job>)>>,
    started: AtomicU64,
}

impl Background {
    /// Runs a job; threads that it starts stand back, too.
    ///
    /// # Errors
    /// Those of the job; [`Error::Worker`] when it panicked, or no thread could be started.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &'static str,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let job = move || {
            if let Ok(done) = catch_unwind(AssertUnwindSafe(job)) {
                // Nobody may wait any more.
                let _ = answer.send(done);
            }
        };
        self.hand_over(Box::new(job)).map_err(|_| Error::Worker { doing })?;
        wait.await.map_err(|_| Error::Worker { doing })?
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Sender<Job>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(self: &Arc<Self>, mut job: Job) -> std::io::Result<()> {
        loop {
            let Some((_, thread)) = self.idle().pop() else { break };
            match thread.send(job) {
                Ok(()) => return Ok(()),
                Err(SendError(back)) => job = back,
            }
        }
        let (number, pool) = (self.started.fetch_add(1, Ordering::Relaxed), Arc::downgrade(self));
        let named = std::thread::Builder::new().name("recs-background".into());
        named.spawn(move || {
            stand_back();
            job();
            while let Some(job) = next(&pool, number) {
                job();
            }
        })?;
        Ok(())
    }
}

/// The next job of a thread; None when nobody had one for long.
fn next(pool: &Weak<Background>, number: u64) -> Option<Job> {
    let (way, jobs) = mpsc::channel();
    pool.upgrade()?.idle().push((number, way));
    match jobs.recv_timeout(IDLE) {
        Ok(job) => Some(job),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            let pool = pool.upgrade()?;
            pool.idle().retain(|(idle, _)| *idle != number);
            // Who took the way out just before has a job for it.
            jobs.try_iter().next().or_else(|| jobs.recv().ok())
        }
    }
}

/// Lowers the priority of the calling thread for good.
#[cfg(target_os = "linux")]
fn stand_back() {
    // SAFETY: a system call on numbers. On Linux "process 0" is the calling thread (setpriority(2), notes); a system that
    // refuses leaves it as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

/// Time that the calling thread has worked, without what it waited for others: on a machine that is busy the clock says nothing
/// about what is timed.
pub(crate) fn worked() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a system call that fills the struct it is lent.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        if failed == 0 {
            let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
            return Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default());
        }
    }
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_answer_fail_and_panic() {
        let background = Arc::new(Background::default());
        assert_eq!(background.run("a test", || Ok(7)).await.unwrap(), 7);
        assert!(background.run::<()>("a test", || Err(Error::model("on purpose"))).await.is_err());
        let died: Result<()> = background.run("a test", || panic!("on purpose")).await;
        assert!(matches!(died, Err(Error::Worker { doing: "a test" })));
        assert_eq!(background.run("a test", || Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn one_after_the_other_runs_on_one_thread_and_two_at_a_time_on_two() {
        let background = Arc::new(Background::default());
        for _ in 0..20 {
            background.run("a test", || Ok(())).await.unwrap();
            // The thread says that it is idle after it has answered.
            while background.idle().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(background.started.load(Ordering::Relaxed), 1);
        let both = Arc::new(std::sync::Barrier::new(2));
        let meet = |both: Arc<std::sync::Barrier>| move || Ok(both.wait().is_leader());
        let (one, other) = tokio::join!(
            background.run("a test", meet(Arc::clone(&both))),
            background.run("a test", meet(Arc::clone(&both)))
        );
        assert_ne!(one.unwrap(), other.unwrap());
        assert_eq!(background.started.load(Ordering::Relaxed), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn waiting_is_no_work() {
        let before = worked();
        std::thread::sleep(Duration::from_millis(300));
        assert!(worked() - before < Duration::from_millis(200));
        let mut sum = 0u64;
        while worked() - before < Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_thread_and_its_children_stand_back() {
        let niceness = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let after_name = stat.rsplit_once(')').unwrap().1.to_owned();
            after_name.split_ascii_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = niceness();
        let background = Arc::new(Background::default());
        let of_both = background
            .run("a test", move || Ok((niceness(), std::thread::spawn(niceness).join().unwrap())))
            .await;
        assert_eq!(of_both.unwrap(), (NICENESS.max(before), NICENESS.max(before)));
        assert_eq!(niceness(), before);
    }
}
