//! Codes of 16 vectors side by side: estimates of vectors that are all read, as a scan does.
//!
//! Four numbers of each of 16 vectors make a line of 64 bytes, so that one instruction adds four products to each of 16
//! sums, and no sum has to be gathered from the lanes of a register.

use super::{Int8Codec, Int8Query, MAX_INT8_DIM, ZERO};
#[cfg(target_arch = "x86_64")]
use super::{PLANE, rows::has_vnni};
use crate::error::{Error, Result};
use crate::slab::Slab;
use bytes::Bytes;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

/// Vectors of a block.
const WIDTH: usize = 16;
/// Numbers of one vector in a line.
const QUAD: usize = 4;
/// Blocks that one form computes at once, so that a number of the query is loaded once for all of them.
const AT_ONCE: usize = 4;

/// Vectors that one form computes at once.
const RUN: usize = WIDTH * AT_ONCE;

/// A cache line of codes.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; WIDTH * QUAD]);

/// Codes of vectors, to be read from the first to the last. Memory: `dim + 3` bytes a vector at most.
#[derive(Debug, Clone)]
pub struct Int8Blocks {
    codec: Int8Codec,
    len: usize,
    /// Lines of a block.
    quads: usize,
    lines: Slab<Line>,
}

impl Int8Blocks {
    /// Rounds vectors.
    ///
    /// # Shapes
    /// `vectors` `[n, dim]` row-major.
    ///
    /// # Errors
    /// Those of [`Int8Codec::fit`].
    pub fn new(vectors: &[f32], dim: usize) -> Result<Self> {
        let mut codec = Int8Codec::fit(vectors, dim)?;
        let (len, quads) = (vectors.len() / dim, dim.div_ceil(QUAD));
        let blocks = len.div_ceil(WIDTH).next_multiple_of(AT_ONCE);
        let mut lines = vec![Line([ZERO; WIDTH * QUAD]); blocks * quads];
        let mut codes = vec![ZERO; quads * QUAD];
        for (i, row) in vectors.chunks_exact(dim).enumerate() {
            codec.encode(row, &mut codes);
            let block = &mut lines[i / WIDTH * quads..][..quads];
            for (line, quad) in block.iter_mut().zip(codes.chunks_exact(QUAD)) {
                line.0[i % WIDTH * QUAD..][..QUAD].copy_from_slice(quad);
            }
        }
        Ok(Self { codec, len, quads, lines: lines.into() })
    }

    /// Joins what [`Int8Blocks::lines`] and [`Int8Blocks::codec`] gave, for `len` vectors; the bytes begin at a multiple of 64.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming `file` for bytes of another size or place, and scales and bounds that are none.
    pub fn of_parts(codec: Int8Codec, len: usize, lines: Bytes, file: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::corrupt(file, reason));
        let quads = codec.dim().div_ceil(QUAD);
        let Some(lines) = Slab::<Line>::of_bytes(lines) else { return refuse("codes that are no lines") };
        let blocks = len.div_ceil(WIDTH).checked_next_multiple_of(AT_ONCE);
        if blocks.and_then(|blocks| blocks.checked_mul(quads)) != Some(lines.len()) {
            return refuse("codes of another number of vectors");
        }
        let is_bound = |x: &f32| *x >= 0.0;
        let bounds = [codec.residual, codec.code_length, codec.length];
        if !(1..=MAX_INT8_DIM).contains(&codec.dim()) || !codec.scales.iter().chain(&bounds).all(is_bound) {
            return refuse("scales or bounds of codes that are none");
        }
        Ok(Self { codec, len, quads, lines })
    }

    /// All codes.
    pub fn lines(&self) -> &Bytes {
        self.lines.bytes()
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How the vectors are rounded.
    pub fn codec(&self) -> &Int8Codec {
        &self.codec
    }

    /// Calls `found` with number and estimate of each vector of `range` whose estimate is at least `floor`, in ascending
    /// order.
    ///
    /// `range` begins at a multiple of 64.
    ///
    /// Cost: `dim` multiply-adds a vector, 16 vectors a step; AVX-512 VNNI or AVX2 where the CPU has them.
    ///
    /// # Panics
    /// When the range goes beyond the vectors or begins elsewhere, or the query is of another codec.
    pub fn scan(&self, query: &Int8Query, range: Range<usize>, floor: i32, mut found: impl FnMut(u32, i32)) {
        assert!(range.end <= self.len && range.start.is_multiple_of(RUN), "a range beyond the vectors");
        assert!(query.numbers.len() >= self.quads * QUAD, "a query of another width");
        let (mut estimates, all) = ([0i32; RUN], &self.lines[..]);
        for start in range.clone().step_by(RUN) {
            let lines = &all[start / WIDTH * self.quads..][..AT_ONCE * self.quads];
            let mut hits = self.run(query, lines, floor, &mut estimates);
            if range.end - start < RUN {
                hits &= (1 << (range.end - start)) - 1;
            }
            while hits != 0 {
                let at = hits.trailing_zeros() as usize;
                found((start + at) as u32, estimates[at]);
                hits &= hits - 1;
            }
        }
    }

    /// Estimates of about `sample` vectors, spread evenly over all in runs of 64, into `estimates`.
    ///
    /// # Panics
    /// When the query is of another codec.
    pub fn sample(&self, query: &Int8Query, sample: usize, estimates: &mut Vec<i32>) {
        assert!(query.numbers.len() >= self.quads * QUAD, "a query of another width");
        let whole_runs = self.len / RUN;
        let picked = sample.div_ceil(RUN).min(whole_runs);
        estimates.clear();
        let mut run = [0i32; RUN];
        for i in 0..picked {
            let at = i * whole_runs / picked * AT_ONCE * self.quads;
            self.run(query, &self.lines[at..at + AT_ONCE * self.quads], i32::MAX, &mut run);
            estimates.extend_from_slice(&run);
        }
    }

    /// Estimates of four blocks; a bit for each that is at least `floor`.
    #[inline]
    fn run(&self, query: &Int8Query, lines: &[Line], floor: i32, out: &mut [i32; RUN]) -> u64 {
        #[cfg(target_arch = "x86_64")]
        {
            if has_vnni() {
                // SAFETY: the CPU has what the function is compiled for; there are lines for four blocks.
                return unsafe { vnni(query, lines, self.quads, floor, out) };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the CPU has AVX2; there are lines for four blocks.
                unsafe { avx2(query, lines, self.quads, out) };
                return at_least(out, floor);
            }
        }
        scalar(query, lines, self.quads, out);
        at_least(out, floor)
    }
}

fn at_least(estimates: &[i32], floor: i32) -> u64 {
    estimates.iter().enumerate().fold(0, |bits, (i, &e)| bits | u64::from(e >= floor) << i)
}

fn scalar(query: &Int8Query, lines: &[Line], quads: usize, out: &mut [i32; RUN]) {
    for (i, out) in out.iter_mut().enumerate() {
        let block = &lines[i / WIDTH * quads..][..quads];
        let lane = i % WIDTH * QUAD;
        *out = query.estimate_scalar(block.iter().flat_map(|line| line.0[lane..lane + QUAD].iter().copied()));
    }
}

/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI; `lines` must hold `AT_ONCE * quads` lines, the query `quads * QUAD` numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni(query: &Int8Query, lines: &[Line], quads: usize, floor: i32, out: &mut [i32; RUN]) -> u64 {
    let mut highs = [_mm512_setzero_si512(); AT_ONCE];
    let mut lows = [_mm512_setzero_si512(); AT_ONCE];
    let (high, low) = (query.high.as_ptr().cast::<i32>(), query.low.as_ptr().cast::<i32>());
    let lines = lines.as_ptr();
    for quad in 0..quads {
        // SAFETY: both planes hold `quads` times four bytes.
        let (h, l) = unsafe {
            (
                _mm512_set1_epi32(high.add(quad).read_unaligned()),
                _mm512_set1_epi32(low.add(quad).read_unaligned()),
            )
        };
        for b in 0..AT_ONCE {
            // SAFETY: there are `AT_ONCE * quads` lines of 64 bytes, and lines are aligned.
            let x = unsafe { _mm512_load_si512(lines.add(b * quads + quad).cast()) };
            highs[b] = _mm512_dpbusd_epi32(highs[b], x, h);
            lows[b] = _mm512_dpbusd_epi32(lows[b], x, l);
        }
    }
    let (offset, floor) = (_mm512_set1_epi32(query.offset), _mm512_set1_epi32(floor));
    let mut bits = 0;
    for b in 0..AT_ONCE {
        let sum = _mm512_add_epi32(_mm512_slli_epi32::<{ PLANE.trailing_zeros() }>(highs[b]), lows[b]);
        let estimate = _mm512_sub_epi32(sum, offset);
        bits |= u64::from(_mm512_cmpge_epi32_mask(estimate, floor)) << (b * WIDTH);
        // SAFETY: `out` holds `AT_ONCE * WIDTH` numbers.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(b * WIDTH).cast(), estimate) };
    }
    bits
}

/// # Safety
/// The CPU must have AVX2; `lines` must hold `AT_ONCE * quads` lines, the query `quads * QUAD` numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(query: &Int8Query, lines: &[Line], quads: usize, out: &mut [i32; RUN]) {
    let numbers = query.numbers.as_ptr();
    for (block, out) in lines.chunks_exact(quads).zip(out.chunks_exact_mut(WIDTH)) {
        // Of each vector two sums: of the first and of the last two numbers of the quads. Four vectors a register.
        let mut sums = [_mm256_setzero_si256(); 4];
        for (quad, line) in block.iter().enumerate() {
            // SAFETY: the query holds four numbers of two bytes from there on.
            let q = _mm256_set1_epi64x(unsafe { numbers.add(quad * QUAD).cast::<i64>().read_unaligned() });
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a line holds four times 16 bytes.
                let x = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * i).cast()) };
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(x), q));
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let mut halves = [0i32; 8];
            // SAFETY: `halves` holds eight numbers.
            unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), sum) };
            for (j, pair) in halves.chunks_exact(2).enumerate() {
                out[4 * i + j] = pair[0].wrapping_add(pair[1]).wrapping_sub(query.offset);
            }
        }
    }
}

#[cfg(test)]
pub(super) fn tests_agree(query: &Int8Query, codec: &Int8Codec, vectors: &[f32], expected: &[i32]) {
    let blocks = Int8Blocks::new(vectors, codec.dim()).unwrap();
    assert_eq!((blocks.codec(), blocks.len(), blocks.is_empty()), (codec, expected.len(), false));
    let collect = |floor| {
        let mut found = Vec::new();
        blocks.scan(query, 0..blocks.len(), floor, |i, estimate| found.push((i, estimate)));
        found
    };
    let all: Vec<(u32, i32)> = (0..).zip(expected.iter().copied()).collect();
    assert_eq!(collect(i32::MIN), all);
    let floor = expected[expected.len() / 2];
    assert_eq!(collect(floor), all.into_iter().filter(|hit| hit.1 >= floor).collect::<Vec<_>>());
    let mut sample = Vec::new();
    blocks.sample(query, 100, &mut sample);
    assert_eq!(sample.len(), (blocks.len() / RUN).min(2) * RUN);
    assert!(sample.iter().all(|estimate| expected.contains(estimate)));
    let first = &blocks.lines[..AT_ONCE * blocks.quads];
    let (mut by_definition, mut by_avx2) = ([0; RUN], [0; RUN]);
    scalar(query, first, blocks.quads, &mut by_definition);
    let n = expected.len().min(by_definition.len());
    assert_eq!(by_definition[..n], expected[..n]);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2; these are the lines of four blocks.
        unsafe { avx2(query, first, blocks.quads, &mut by_avx2) };
        assert_eq!(by_avx2, by_definition);
    }
}
