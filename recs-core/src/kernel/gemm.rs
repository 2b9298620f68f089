//! Matrix product over ndarray views, on the calling thread: [`tile`](super::tile) for what a training step multiplies, the
//! `gemm` crate for everything else.

use super::tile::Product;
use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Rows of `a` that make up for turning a `b` that does not stand row after row.
const TURN_ROWS: usize = 256;

/// `c = alpha * a b + beta * c`. Any strides; the same bits for the same shapes and strides.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit each other.
// Views are passed by value as ndarray's own functions take them: two pointers and their strides.
#[allow(clippy::needless_pass_by_value)]
pub fn gemm(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    mut c: ArrayViewMut2<'_, f32>,
) {
    let (m, k) = a.dim();
    let n = b.ncols();
    assert!(b.nrows() == k && c.dim() == (m, n), "gemm: {:?} x {:?} -> {:?}", a.dim(), b.dim(), c.dim());
    if m == 0 || n == 0 {
        return;
    }
    // A matrix of one column may have any distance to a next one.
    let strides = |of: &[isize], columns: usize| [of[0], if columns == 1 { 1 } else { of[1] }];
    let (a_strides, b_strides) = (strides(a.strides(), k), strides(b.strides(), n));
    let [c_rs, c_cs] = strides(c.strides(), n);
    if c_cs == 1 && (b_strides[1] == 1 || m >= TURN_ROWS) {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let product = Product { m, k, n, alpha, beta, a, a_strides, b, b_strides, c, c_stride: c_rs };
        // SAFETY: pointers and strides are those of live views of these shapes; `c` is borrowed mutably, so it overlaps
        // neither `a` nor `b`.
        return unsafe { product.compute() };
    }
    let ([a_rs, a_cs], [b_rs, b_cs]) = (a_strides, b_strides);
    // SAFETY: as above.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_cs,
            c_rs,
            beta != 0.0,
            a.as_ptr(),
            a_cs,
            a_rs,
            b.as_ptr(),
            b_cs,
            b_rs,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};
    use proptest::prelude::*;

    /// Whole numbers, which are added without error in any order.
    fn matrix(rows: usize, columns: usize, seed: u32, salt: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            (((seed as usize) ^ salt).wrapping_add(i * 7919 + j * 104_729) % 17) as f32 - 8.0
        })
    }

    /// The same numbers, elsewhere in memory: row after row, column after column, or with gaps.
    fn laid(x: &Array2<f32>, layout: u8, into: &mut Array2<f32>) -> [usize; 2] {
        let (rows, columns) = x.dim();
        *into = match layout {
            0 => x.clone(),
            1 => Array2::from_elem((columns, rows), f32::NAN),
            _ => Array2::from_elem((rows + 1, columns + 3), f32::NAN),
        };
        if layout == 1 {
            into.assign(&x.t());
        } else {
            into.slice_mut(s![..rows, ..columns]).assign(x);
        }
        [rows, columns]
    }

    fn view(of: &Array2<f32>, layout: u8, [rows, columns]: [usize; 2]) -> ArrayView2<'_, f32> {
        if layout == 1 { of.t() } else { of.slice(s![..rows, ..columns]) }
    }

    proptest! {
        #[test]
        fn equals_ndarray_for_every_layout(
            m in prop_oneof![0usize..40, 255usize..300], k in prop_oneof![0usize..60, 250usize..600], n in 0usize..80,
            layouts in [0u8..3, 0..3, 0..3], seed in any::<u32>(), alpha in prop_oneof![Just(1.0f32), Just(2.0)],
            beta in prop_oneof![Just(0f32), Just(1.0), Just(0.5)],
        ) {
            let [mut ra, mut rb, mut rc] = [(); 3].map(|()| Array2::zeros((0, 0)));
            let (a, b, c) = (matrix(m, k, seed, 1), matrix(k, n, seed, 2), matrix(m, n, seed, 3));
            let expected = a.dot(&b) * alpha + &c * beta;
            let a = laid(&a, layouts[0], &mut ra);
            let b = laid(&b, layouts[1], &mut rb);
            // What was there does not count for beta 0.
            let c = laid(&if beta == 0.0 { c * f32::NAN } else { c }, layouts[2], &mut rc);
            let untouched = rc.iter().filter(|x| x.is_nan()).count();
            let gap = rc.len() - m * n;
            prop_assert!(untouched >= gap);
            let out = if layouts[2] == 1 { rc.view_mut().reversed_axes() } else { rc.slice_mut(s![..m, ..n]) };
            gemm(alpha, view(&ra, layouts[0], a), view(&rb, layouts[1], b), beta, out);
            prop_assert_eq!(view(&rc, layouts[2], c), expected);
            prop_assert_eq!(rc.iter().filter(|x| x.is_nan()).count(), gap, "written beside the matrix");
        }

        #[test]
        fn rows_do_not_depend_on_their_number(m in 1usize..40, k in 0usize..600, n in 1usize..80, seed in any::<u32>()) {
            let (a, b) = (matrix(m, k, seed, 1).mapv(|x| x / 3.0), matrix(k, n, seed, 2).mapv(|x| x / 7.0));
            let mut all = Array2::zeros((m, n));
            gemm(1.0, a.view(), b.view(), 0.0, all.view_mut());
            for i in 0..m {
                let mut one = Array2::zeros((1, n));
                gemm(1.0, a.slice(s![i..=i, ..]), b.view(), 0.0, one.view_mut());
                prop_assert_eq!(one.row(0), all.row(i));
            }
        }
    }
}
