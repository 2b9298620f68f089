//! How long matrix products take, of all threads together.

use ndarray::{ArrayView2, ArrayViewMut2};
use recs_core::kernel;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs matrix products and adds their times up. A product of these sizes takes microseconds, the two looks at the clock
/// some tens of nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    /// [`kernel::gemm`].
    // Views are passed by value as ndarray's own functions take them.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn gemm(
        &self,
        alpha: f32,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        beta: f32,
        c: ArrayViewMut2<'_, f32>,
    ) {
        let from = Instant::now();
        kernel::gemm(alpha, a, b, beta, c);
        self.0.fetch_add(from.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Thread time in products so far.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
