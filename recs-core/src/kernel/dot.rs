//! Dot products. The vector forms add in another order than the scalar one; each is deterministic on its machine.

#[cfg(target_arch = "x86_64")]
use super::prefetch;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Dot product of two vectors of equal length; the shorter length counts when they differ.
///
/// Cost: n multiply-adds; AVX-512 or AVX2 with FMA where the CPU has them.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512F, and both slices hold n numbers.
            return unsafe { dot_avx512(a, b) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has AVX2 and FMA, and both slices hold n numbers.
            return unsafe { dot_avx2(a, b) };
        }
    }
    dot_scalar(a, b)
}

/// The scalar twin of [`dot`]: eight running sums, added pairwise at the end.
pub fn dot_scalar(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let (rest_a, rest_b) = (a8.remainder(), b8.remainder());
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let tail: f32 = rest_a.iter().zip(rest_b).map(|(x, y)| x * y).sum();
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])) + tail
}

/// Dot products of `query` with every row of `rows`.
///
/// # Shapes
/// `query` `[dim]`, `rows` `[scores.len(), dim]` row-major, `scores` `[n]`; rows beyond the end of `rows` are left alone.
pub fn dot_rows(query: &[f32], rows: &[f32], scores: &mut [f32]) {
    if query.is_empty() {
        scores.fill(0.0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if query.len() == 32 && std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512F, the query holds 32 numbers, rows are cut into chunks of 32.
        unsafe { dot_rows_32_avx512(query, rows, scores) };
        return;
    }
    for (score, row) in scores.iter_mut().zip(rows.chunks_exact(query.len())) {
        *score = dot(query, row);
    }
}

/// Rows that are looked up this far ahead of their product.
const AHEAD: usize = 8;

/// Dot products of `query` with some rows, the same to the last bit as by [`dot_rows`].
///
/// # Shapes
/// `query` `[dim]`, `rows` `[n, dim]` row-major, `picked` row numbers below n, `scores` as long as `picked`.
///
/// # Panics
/// When a row is not in `rows`, or `scores` is shorter than `picked`.
pub fn dot_picked(query: &[f32], rows: &[f32], picked: &[u32], scores: &mut [f32]) {
    let scores = &mut scores[..picked.len()];
    #[cfg(target_arch = "x86_64")]
    if !query.is_empty() && std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512F.
        unsafe { dot_picked_avx512(query, rows, picked, scores) };
        return;
    }
    for (score, &row) in scores.iter_mut().zip(picked) {
        let row = &rows[row as usize * query.len()..][..query.len()];
        dot_rows(query, row, std::slice::from_mut(score));
    }
}

/// # Safety
/// The CPU must have AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn dot_picked_avx512(query: &[f32], rows: &[f32], picked: &[u32], scores: &mut [f32]) {
    let dim = query.len();
    let row = |at: u32| &rows[at as usize * dim..][..dim];
    for (i, (score, &at)) in scores.iter_mut().zip(picked).enumerate() {
        if let Some(&next) = picked.get(i + AHEAD) {
            prefetch(row(next));
        }
        // SAFETY: the CPU has AVX-512F; both slices hold `dim` numbers.
        *score =
            unsafe { if dim == 32 { dot_32_avx512(query, row(at)) } else { dot_avx512(query, row(at)) } };
    }
}

/// # Safety
/// The CPU must have AVX-512F; `a` and `b` must be of equal length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len();
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut sum0 = _mm512_setzero_ps();
    let mut sum1 = _mm512_setzero_ps();
    let mut i = 0;
    while i + 32 <= n {
        // SAFETY: i + 32 <= n numbers are in both slices.
        unsafe {
            sum0 = _mm512_fmadd_ps(_mm512_loadu_ps(pa.add(i)), _mm512_loadu_ps(pb.add(i)), sum0);
            sum1 = _mm512_fmadd_ps(_mm512_loadu_ps(pa.add(i + 16)), _mm512_loadu_ps(pb.add(i + 16)), sum1);
        }
        i += 32;
    }
    while i < n {
        let left = (n - i).min(16);
        let mask = (u32::MAX >> (32 - left)) as __mmask16;
        // SAFETY: the mask admits the `left` numbers that are in both slices.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, pa.add(i));
            let y = _mm512_maskz_loadu_ps(mask, pb.add(i));
            sum0 = _mm512_fmadd_ps(x, y, sum0);
        }
        i += left;
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1))
}

/// # Safety
/// The CPU must have AVX2 and FMA; `a` and `b` must be of equal length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len();
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut sum0 = _mm256_setzero_ps();
    let mut sum1 = _mm256_setzero_ps();
    let mut i = 0;
    while i + 16 <= n {
        // SAFETY: i + 16 <= n numbers are in both slices.
        unsafe {
            sum0 = _mm256_fmadd_ps(_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i)), sum0);
            sum1 = _mm256_fmadd_ps(_mm256_loadu_ps(pa.add(i + 8)), _mm256_loadu_ps(pb.add(i + 8)), sum1);
        }
        i += 16;
    }
    let mut lanes = [0.0f32; 8];
    // SAFETY: `lanes` holds eight numbers.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(sum0, sum1)) };
    let tail: f32 = a[i..].iter().zip(&b[i..]).map(|(x, y)| x * y).sum();
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])) + tail
}

/// # Safety
/// The CPU must have AVX-512F; `query` must hold 32 numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn dot_rows_32_avx512(query: &[f32], rows: &[f32], scores: &mut [f32]) {
    for (score, row) in scores.iter_mut().zip(rows.chunks_exact(32)) {
        // SAFETY: both hold 32 numbers.
        *score = unsafe { dot_32_avx512(query, row) };
    }
}

/// # Safety
/// The CPU must have AVX-512F; both must hold 32 numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn dot_32_avx512(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: 32 numbers are two registers.
    unsafe {
        let first = _mm512_mul_ps(_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr()));
        let (a, b) = (_mm512_loadu_ps(a.as_ptr().add(16)), _mm512_loadu_ps(b.as_ptr().add(16)));
        _mm512_reduce_add_ps(_mm512_fmadd_ps(a, b, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_agrees(pairs in proptest::collection::vec((-8f32..8.0, -8f32..8.0), 0..150)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let magnitude: f64 = a.iter().zip(&b).map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
            let close = |x: f32| (f64::from(x) - exact).abs() <= 1e-6 * magnitude + 1e-6;
            prop_assert!(close(dot(&a, &b)) && close(dot_scalar(&a, &b)));
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                // SAFETY: the CPU has AVX2 and FMA.
                let product = unsafe { dot_avx2(&a, &b) };
                prop_assert!(close(product));
            }
        }

        #[test]
        fn rows_equal_single_products(dim in 1usize..70, n in 0usize..20, seed in any::<u32>()) {
            let number = |i: usize| ((seed as usize).wrapping_add(i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
            let query: Vec<f32> = (0..dim).map(number).collect();
            let rows: Vec<f32> = (0..dim * n).map(|i| number(i + dim)).collect();
            let mut scores = vec![f32::NAN; n];
            dot_rows(&query, &rows, &mut scores);
            for (i, score) in scores.iter().enumerate() {
                prop_assert!((score - dot_scalar(&query, &rows[i * dim..(i + 1) * dim])).abs() < 1e-4);
            }
            let picked: Vec<u32> = (0..n as u32).rev().chain(0..n as u32 / 2).collect();
            let mut again = vec![f32::NAN; picked.len()];
            dot_picked(&query, &rows, &picked, &mut again);
            for (&row, score) in picked.iter().zip(again) {
                prop_assert_eq!(score.to_bits(), scores[row as usize].to_bits());
            }
        }
    }
}
