//! A word to the CPU about what will be read soon.

/// Asks for numbers that will be read some hundred nanoseconds from now, where the hardware cannot guess them: rows of a
/// table in the order of a batch. Changes nothing but time.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let per_line = (64 / size_of::<T>().max(1)).max(1);
        for line in values.chunks(per_line) {
            // SAFETY: a prefetch reads nothing; it is of the baseline instruction set.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
