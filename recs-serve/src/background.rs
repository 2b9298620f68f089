//! Work that must not take a processor from those who answer.

use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How far it stands back; 0 is everybody else's place, 19 the last.
#[cfg(target_os = "linux")]
const NICENESS: libc::c_int = 19;

/// Runs a job on a thread of its own, which the system lets run where others leave room; so do threads that the job starts.
///
/// # Errors
/// Those of the job; [`Error::Worker`] when it panicked, or no thread could be started.
pub(crate) async fn run<T: Send + 'static>(
    doing: &'static str,
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (answer, wait) = oneshot::channel();
    let named = std::thread::Builder::new().name("recs-background".into());
    let started = named.spawn(move || {
        stand_back();
        if let Ok(done) = catch_unwind(AssertUnwindSafe(job)) {
            // Nobody may wait any more.
            let _ = answer.send(done);
        }
    });
    started.map_err(|_| Error::Worker { doing })?;
    wait.await.map_err(|_| Error::Worker { doing })?
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
        assert_eq!(run("a test", || Ok(7)).await.unwrap(), 7);
        assert!(run::<()>("a test", || Err(Error::model("on purpose"))).await.is_err());
        let died: Result<()> = run("a test", || panic!("on purpose")).await;
        assert!(matches!(died, Err(Error::Worker { doing: "a test" })));
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
        let of_both =
            run("a test", move || Ok((niceness(), std::thread::spawn(niceness).join().unwrap()))).await;
        assert_eq!(of_both.unwrap(), (NICENESS.max(before), NICENESS.max(before)));
        assert_eq!(niceness(), before);
    }
}
