//! Codes row by row: estimates of rows that are picked, as a walk over a graph does.

use super::Int8Query;
#[cfg(target_arch = "x86_64")]
use super::PLANE;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Estimates of some rows.
///
/// Cost: `stride` multiply-adds a row; AVX-512 VNNI or AVX2 where the CPU has them.
///
/// # Shapes
/// `codes` `[n, stride]`, `stride` that of [`int8_stride`](super::int8_stride) for the query's width; `rows` below n;
/// `estimates` as long as `rows`.
///
/// # Panics
/// When a row is not in `codes`, or the lengths do not fit.
pub fn estimate_rows(query: &Int8Query, codes: &[u8], stride: usize, rows: &[u32], estimates: &mut [i32]) {
    assert!(stride == query.numbers.len() && rows.len() == estimates.len(), "rows of another width");
    #[cfg(target_arch = "x86_64")]
    {
        if has_vnni() {
            // SAFETY: the CPU has what the function is compiled for; stride and lengths were compared.
            unsafe { vnni(query, codes, stride, rows, estimates) };
            return;
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2; stride and lengths were compared.
            unsafe { avx2(query, codes, stride, rows, estimates) };
            return;
        }
    }
    scalar(query, codes, stride, rows, estimates);
}

#[cfg(target_arch = "x86_64")]
pub(super) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512vnni") && std::arch::is_x86_feature_detected!("avx512bw")
}

fn row(codes: &[u8], stride: usize, row: u32) -> &[u8] {
    let start = row as usize * stride;
    &codes[start..start + stride]
}

fn scalar(query: &Int8Query, codes: &[u8], stride: usize, rows: &[u32], estimates: &mut [i32]) {
    for (estimate, &at) in estimates.iter_mut().zip(rows) {
        *estimate = query.estimate_scalar(row(codes, stride, at).iter().copied());
    }
}

/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI; `stride` must be a multiple of 32 and the length of the query.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni(query: &Int8Query, codes: &[u8], stride: usize, rows: &[u32], estimates: &mut [i32]) {
    let (high, low) = (query.high.as_ptr(), query.low.as_ptr());
    let one = |at: u32| {
        let codes = row(codes, stride, at).as_ptr();
        let (mut highs, mut lows) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let mut i = 0;
        while i + 64 <= stride {
            // SAFETY: 64 bytes from i on are in the row and in both planes of the query.
            unsafe {
                let x = _mm512_loadu_si512(codes.add(i).cast());
                highs = _mm512_dpbusd_epi32(highs, x, _mm512_loadu_si512(high.add(i).cast()));
                lows = _mm512_dpbusd_epi32(lows, x, _mm512_loadu_si512(low.add(i).cast()));
            }
            i += 64;
        }
        if i < stride {
            // SAFETY: 32 bytes are left in the row and in both planes.
            unsafe {
                let x = half(codes.add(i));
                highs = _mm512_dpbusd_epi32(highs, x, half(high.add(i).cast()));
                lows = _mm512_dpbusd_epi32(lows, x, half(low.add(i).cast()));
            }
        }
        _mm512_add_epi32(_mm512_slli_epi32::<{ PLANE.trailing_zeros() }>(highs), lows)
    };
    let offset = _mm_set1_epi32(query.offset);
    let (fours, rest) = rows.as_chunks::<4>();
    let (out, out_rest) = estimates.as_chunks_mut::<4>();
    for (rows, out) in fours.iter().zip(out) {
        // SAFETY: the CPU has AVX-512F; `out` holds four numbers.
        unsafe {
            let sums = add_across(one(rows[0]), one(rows[1]), one(rows[2]), one(rows[3]));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_sub_epi32(sums, offset));
        }
    }
    for (estimate, &at) in out_rest.iter_mut().zip(rest) {
        *estimate = _mm512_reduce_add_epi32(one(at)).wrapping_sub(query.offset);
    }
}

/// 32 bytes, and 32 zeros.
///
/// # Safety
/// The CPU must have AVX-512F; 32 bytes must be readable.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn half(bytes: *const u8) -> __m512i {
    // SAFETY: the caller's word.
    _mm512_zextsi256_si512(unsafe { _mm256_loadu_si256(bytes.cast()) })
}

/// The four vectors' sums.
///
/// # Safety
/// The CPU must have AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn add_across(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let halves = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64::<1>(abcd));
    _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves))
}

/// # Safety
/// The CPU must have AVX2; `stride` must be a multiple of 16 and the length of the query.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(query: &Int8Query, codes: &[u8], stride: usize, rows: &[u32], estimates: &mut [i32]) {
    for (estimate, &at) in estimates.iter_mut().zip(rows) {
        let codes = row(codes, stride, at).as_ptr();
        let mut sum = _mm256_setzero_si256();
        for i in (0..stride).step_by(16) {
            // SAFETY: 16 bytes from i on are in the row, and 16 numbers in the query.
            unsafe {
                let x = _mm256_cvtepu8_epi16(_mm_loadu_si128(codes.add(i).cast()));
                let q = _mm256_loadu_si256(query.numbers.as_ptr().add(i).cast());
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, q));
            }
        }
        let mut lanes = [0i32; 8];
        // SAFETY: `lanes` holds eight numbers.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        *estimate = lanes.iter().fold(0i32, |a, &b| a.wrapping_add(b)).wrapping_sub(query.offset);
    }
}

#[cfg(test)]
pub(super) fn tests_agree(query: &Int8Query, codes: &[u8], stride: usize, expected: &[i32]) {
    let rows: Vec<u32> = (0..expected.len() as u32).collect();
    let mut got = vec![0; expected.len()];
    scalar(query, codes, stride, &rows, &mut got);
    assert_eq!(got, expected);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        got.fill(0);
        // SAFETY: the CPU has AVX2; the lengths fit.
        unsafe { avx2(query, codes, stride, &rows, &mut got) };
        assert_eq!(got, expected);
    }
}
