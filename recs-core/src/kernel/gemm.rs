//! Matrix product over ndarray views by the `gemm` crate, on the calling thread.

use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

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
    let strides = |s: &[isize]| (s[0], s[1]);
    let ((a_rs, a_cs), (b_rs, b_cs), (c_rs, c_cs)) =
        (strides(a.strides()), strides(b.strides()), strides(c.strides()));
    // SAFETY: pointers and strides are those of live views of these shapes; `c` is borrowed mutably, so it overlaps
    // neither `a` nor `b`.
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
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_ndarray_for_every_layout(
            m in 0usize..20, k in 0usize..20, n in 0usize..20, ta in any::<bool>(), tb in any::<bool>(), seed in any::<u32>(),
            beta in prop_oneof![Just(0f32), Just(1.0), Just(0.5)],
        ) {
            let fill = |r: usize, c: usize, salt: usize| Array2::from_shape_fn((r, c), |(i, j)| {
                (((seed as usize) ^ salt).wrapping_add(i * 7919 + j * 104_729) % 17) as f32 - 8.0
            });
            let a = if ta { fill(k, m, 1).reversed_axes() } else { fill(m, k, 1) };
            let b = if tb { fill(n, k, 2).reversed_axes() } else { fill(k, n, 2) };
            let mut c = fill(m, n, 3);
            let expected = a.dot(&b) * 2.0 + &c * beta;
            gemm(2.0, a.view(), b.view(), beta, c.view_mut());
            prop_assert_eq!(c, expected);
        }
    }
}
