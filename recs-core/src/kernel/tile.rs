//! Matrix products of thin matrices, without copying them first.
//!
//! The products of a training step are thin: 32 numbers of an embedding on one side, thousands of rows on the other. A general
//! product copies its operands into blocks before it multiplies them, which here costs up to a third of the time. This one
//! keeps a tile of the result in registers (12 rows of two vectors with AVX-512, 6 with AVX2) and reads the operands where they
//! stand: rows of `b` as vectors, numbers of `a` one by one. Only a `b` that is deep, or does not stand row after row, is copied.
//!
//! Each number of the result is the sum over k in ascending order, in blocks of [`DEPTH`], whatever tile it falls into: a row of
//! the result does not depend on how many others there are.

use pulp::{Arch, MemMask, Simd, WithSimd};
use std::mem::MaybeUninit;

/// Rows of `b` that are gone through before the next rows of `a`: two vectors of each stay in the first two caches.
const DEPTH: usize = 256;
/// Most numbers of two vectors.
const WIDTH: usize = 32;
/// Rows of a `b` that is copied: more lie on more pages than the processor holds the addresses of at hand.
const FAR_ROWS: usize = 48;
/// A copy of `b` is used for this many rows of `a` at least.
const COPY_ROWS: usize = 24;

/// Room for the part of `b` that some columns of the result need.
type Block = [MaybeUninit<f32>; DEPTH * WIDTH];

/// `c = alpha * a b + beta * c`: `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, with the distances in memory of their rows and columns;
/// columns of `c` are beside each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    pub(super) a: *const f32,
    pub(super) a_strides: [isize; 2],
    pub(super) b: *const f32,
    pub(super) b_strides: [isize; 2],
    pub(super) c: *mut f32,
    pub(super) c_stride: isize,
}

impl Product {
    /// Computes it on the calling thread.
    ///
    /// # Safety
    /// Pointers and strides must be those of live matrices, and `c` must overlap neither `a` nor `b`.
    pub(super) unsafe fn compute(self) {
        Arch::new().dispatch(self);
    }

    /// What the rows `k` to `k + depth` of `b` give, tile by tile.
    ///
    /// # Safety
    /// As [`Product::compute`], and `b` must have these rows.
    #[inline(always)]
    unsafe fn over_depth<S: Simd>(&self, simd: S, [k, depth]: [usize; 2]) {
        let (lanes, mut room) = (S::F32_LANES, [const { MaybeUninit::uninit() }; DEPTH * WIDTH]);
        let [down, right] = self.b_strides;
        let is_far = depth > FAR_ROWS && self.n > 2 * lanes && self.m > COPY_ROWS;
        for j in (0..self.n).step_by(2 * lanes) {
            let columns = (self.n - j).min(2 * lanes);
            // SAFETY: k and j are within the matrices, or there are no rows of `b`.
            unsafe {
                let b = self.b.offset(k as isize * down + j as isize * right);
                let mut depth = Depth { rows: depth, at: k, b, stride: down };
                if is_far || right != 1 {
                    depth.copy(right, columns, &mut room);
                }
                if columns == 2 * lanes {
                    self.tiles::<S, 2>(simd, depth, j, None);
                    continue;
                }
                let mask = Some(simd.mask_between_m32s(0, (columns - (columns - 1) / lanes * lanes) as u32));
                if columns > lanes {
                    self.tiles::<S, 2>(simd, depth, j, mask);
                } else {
                    self.tiles::<S, 1>(simd, depth, j, mask);
                }
            }
        }
    }

    /// All rows of `VECTORS` vectors of columns.
    ///
    /// # Safety
    /// The product must have these columns.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        depth: Depth,
        j: usize,
        mask: Option<MemMask<S::m32s>>,
    ) {
        let mut i = 0;
        macro_rules! of_rows {
            ($($rows:literal),*) => {$(
                while self.m - i >= $rows {
                    // SAFETY: there are that many rows from row i on.
                    unsafe {
                        let sums = self.sums::<S, $rows, VECTORS>(simd, depth, i, mask);
                        for (r, sums) in sums.into_iter().enumerate() {
                            self.add_row(simd, (i + r, j), depth.at == 0, sums, mask);
                        }
                    }
                    i += $rows;
                }
            )*};
        }
        if S::REGISTER_COUNT >= 32 {
            of_rows!(12, 8);
        } else {
            of_rows!(6);
        }
        of_rows!(4, 2, 1);
    }

    /// The sums of `ROWS` rows of `VECTORS` vectors, of the last one only what the mask shows.
    ///
    /// # Safety
    /// The product must have these rows and columns.
    #[inline(always)]
    unsafe fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        depth: Depth,
        i: usize,
        mask: Option<MemMask<S::m32s>>,
    ) -> [[S::f32s; VECTORS]; ROWS] {
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        let [down, right] = self.a_strides;
        let (mut a, mut b) = (self.a.wrapping_offset(i as isize * down + depth.at as isize * right), depth.b);
        for _ in 0..depth.rows {
            // SAFETY: `b` has these columns, and `a` these rows.
            unsafe {
                let of_vector = |v: usize| mask.filter(|_| v + 1 == VECTORS);
                let row: [S::f32s; VECTORS] =
                    std::array::from_fn(|v| load(simd, b.add(v * S::F32_LANES), of_vector(v)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat_f32s(*a.offset(r as isize * down));
                    for (sum, y) in sums.iter_mut().zip(row) {
                        *sum = simd.mul_add_e_f32s(x, y, *sum);
                    }
                }
            }
            (a, b) = (a.wrapping_offset(right), b.wrapping_offset(depth.stride));
        }
        sums
    }

    /// `alpha * sum + beta * c` for row `i` and the columns from `j` on; behind the first rows of `b` beta is 1.
    ///
    /// # Safety
    /// The product must have this row and these columns.
    #[inline(always)]
    unsafe fn add_row<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        (i, j): (usize, usize),
        is_first: bool,
        sums: [S::f32s; VECTORS],
        mask: Option<MemMask<S::m32s>>,
    ) {
        let beta = if is_first { self.beta } else { 1.0 };
        let (alpha, factor) = (simd.splat_f32s(self.alpha), simd.splat_f32s(beta));
        for (v, sum) in sums.into_iter().enumerate() {
            let mask = mask.filter(|_| v + 1 == VECTORS);
            // SAFETY: the row has these columns.
            unsafe {
                let c = self.c.offset(i as isize * self.c_stride).add(j + v * S::F32_LANES);
                let x = if self.alpha == 1.0 { sum } else { simd.mul_f32s(alpha, sum) };
                let x = if beta == 0.0 { x } else { simd.mul_add_e_f32s(factor, load(simd, c, mask), x) };
                store(simd, c, x, mask);
            }
        }
    }
}

impl WithSimd for Product {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for k in (0..self.k.max(1)).step_by(DEPTH) {
            // SAFETY: those are rows of `b`, or there are none.
            unsafe { self.over_depth(simd, [k, DEPTH.min(self.k - k)]) };
        }
    }
}

/// Rows of `b` that a tile goes through.
#[derive(Debug, Clone, Copy)]
struct Depth {
    rows: usize,
    /// The first of them.
    at: usize,
    /// Its numbers from the tile's columns on.
    b: *const f32,
    stride: isize,
}

impl Depth {
    /// Copies `columns`, at most [`WIDTH`], of the rows, at most [`DEPTH`], and reads them there.
    ///
    /// # Safety
    /// The rows must have these columns, `right` numbers apart.
    #[inline(always)]
    unsafe fn copy(&mut self, right: isize, columns: usize, block: &mut Block) {
        if right == 1 && columns == WIDTH {
            for (k, row) in block.chunks_exact_mut(WIDTH).take(self.rows).enumerate() {
                // SAFETY: row k has WIDTH numbers from here on.
                let from: &[MaybeUninit<f32>; WIDTH] =
                    unsafe { &*self.b.offset(k as isize * self.stride).cast() };
                row.copy_from_slice(from);
            }
        } else {
            for j in 0..columns {
                for k in 0..self.rows {
                    // SAFETY: there is a row k with a column j.
                    let number = unsafe { *self.b.offset(k as isize * self.stride + j as isize * right) };
                    block[k * WIDTH + j].write(number);
                }
            }
        }
        (self.b, self.stride) = (block.as_ptr().cast(), WIDTH as isize);
    }
}

/// A vector, or what a mask shows of it.
///
/// # Safety
/// These numbers must be there.
#[inline(always)]
unsafe fn load<S: Simd>(simd: S, from: *const f32, mask: Option<MemMask<S::m32s>>) -> S::f32s {
    // SAFETY: as the caller says.
    unsafe {
        match mask {
            Some(mask) => simd.mask_load_ptr_f32s(mask, from),
            None => from.cast::<S::f32s>().read_unaligned(),
        }
    }
}

/// Writes a vector, or what a mask shows of it.
///
/// # Safety
/// These numbers must be there.
#[inline(always)]
unsafe fn store<S: Simd>(simd: S, to: *mut f32, x: S::f32s, mask: Option<MemMask<S::m32s>>) {
    // SAFETY: as the caller says.
    unsafe {
        match mask {
            Some(mask) => simd.mask_store_ptr_f32s(mask, to, x),
            None => to.cast::<S::f32s>().write_unaligned(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What processors without AVX-512 compute, where this one has it.
    fn check(each: impl Fn(Product)) {
        for (m, k, n) in [(1, 0, 3), (7, 5, 1), (13, 300, 17), (26, 49, 40), (5, 3, 33), (300, 3, 8)] {
            let number = |i: usize| (i * 7919 % 17) as f32 - 8.0;
            for turned in [false, true] {
                let (a, b): (Vec<f32>, Vec<f32>) =
                    ((0..m * k).map(number).collect(), (0..k * n).map(number).collect());
                let mut c: Vec<f32> = (0..m * n).map(number).collect();
                let b_strides = if turned { [1, k] } else { [n, 1] };
                let before = c.clone();
                each(Product {
                    m,
                    k,
                    n,
                    alpha: 2.0,
                    beta: 1.0,
                    a: a.as_ptr(),
                    a_strides: [k as isize, 1],
                    b: b.as_ptr(),
                    b_strides: b_strides.map(|stride| stride as isize),
                    c: c.as_mut_ptr(),
                    c_stride: n as isize,
                });
                for (at, (got, before)) in c.iter().zip(before).enumerate() {
                    let (i, j) = (at / n, at % n);
                    let terms = (0..k).map(|l| a[i * k + l] * b[l * b_strides[0] + j * b_strides[1]]);
                    assert_eq!(*got, before + 2.0 * terms.sum::<f32>(), "{m} {k} {n} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_computes_the_product() {
        check(|product| product.with_simd(pulp::Scalar));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            check(|product| Simd::vectorize(simd, product));
        }
        // SAFETY: the matrices are those of the test.
        check(|product| unsafe { product.compute() });
    }
}
