//! The one place where the interpreter is released: jobs run in threads of their own, while the calling thread waits,
//! shows their progress and stops them when a signal says so.

use crate::errors::{Error, Result};
use crate::progress::{Events, Progress};
use pyo3::prelude::*;
use recs_core::observe::{CancelToken, Observer};
use recs_serve::retriever::Host;
use recs_serve::workers::Workers;
use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// How long Ctrl-C may go unheard.
const POLL: Duration = Duration::from_millis(50);

/// The threads of this process.
struct Threads {
    pid: u32,
    runtime: Runtime,
    host: Host,
}

static THREADS: Mutex<Option<Arc<Threads>>> = Mutex::new(None);

/// The threads, started by whoever asks first. A forked child has none of its parent's, so it starts its own.
fn threads() -> Result<Arc<Threads>> {
    let mut known = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some(threads) = known.as_ref().filter(|t| t.pid == pid) {
        return Ok(Arc::clone(threads));
    }
    let runtime = Builder::new_multi_thread().enable_all().thread_name("recs").build();
    let runtime = runtime.map_err(|e| recs_core::Error::io("(threads)", e))?;
    let threads = Arc::new(Threads { pid, runtime, host: Host::new(Workers::new(0)?) });
    // Stopping threads that do not exist in this process would wait for ever.
    std::mem::forget(known.replace(Arc::clone(&threads)));
    Ok(threads)
}

/// What a job has at hand.
pub(crate) struct Context {
    runtime: Handle,
    /// Threads and clock for retrieval.
    pub(crate) host: Host,
    /// Cancelled by signals.
    pub(crate) cancel: CancelToken,
    /// Hears what happens.
    pub(crate) observer: Arc<Events>,
}

impl Context {
    /// Waits for something asynchronous.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The observer, for those who keep it.
    pub(crate) fn shared_observer(&self) -> Arc<dyn Observer> {
        Arc::<Events>::clone(&self.observer)
    }

    /// Cores.
    pub(crate) fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Runs a job in a thread without the interpreter. The first signal cancels it, and what the signal handler raised
/// (`KeyboardInterrupt`) comes back as soon as the job has stopped.
///
/// # Errors
/// Those of the job; what signal handlers raise.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    mut progress: Progress,
    job: impl FnOnce(&Context) -> Result<T> + Send + 'static,
) -> Result<T> {
    let threads = threads()?;
    let cancel = CancelToken::new();
    let context = Context {
        runtime: threads.runtime.handle().clone(),
        host: threads.host.clone(),
        cancel: cancel.clone(),
        observer: progress.events(),
    };
    let (sender, mut receiver) = sync_channel(1);
    threads.runtime.spawn_blocking(move || {
        // Nobody waits any more only when the interpreter ends.
        let _ = sender.send(job(&context));
    });
    let mut raised = None;
    loop {
        let (back, answer) = py.detach(move || {
            let answer = receiver.recv_timeout(POLL);
            (receiver, answer)
        });
        receiver = back;
        match answer {
            Ok(result) if raised.is_none() => {
                progress.finish(py, result.is_ok())?;
                return result;
            }
            Err(RecvTimeoutError::Timeout) if raised.is_none() => {
                if let Err(e) = py.check_signals().and_then(|()| progress.show(py)) {
                    cancel.cancel();
                    raised = Some(e);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                let lost = || Error::lost("working for Python");
                progress.finish(py, false)?;
                return Err(raised.map_or_else(lost, Error::Python));
            }
        }
    }
}
