//! Rows of length 1, and the way back.

use crate::kernel::dot;
use ndarray::ArrayViewMut2;

/// Smallest squared length that is divided by, as in `tf.math.l2_normalize`.
const SMALLEST_SQUARE: f32 = 1e-12;

/// Scales every row to length 1 and gives what each row was multiplied by: its inverse length, or for one that is shorter
/// than 1e-6 as much as for one of that length.
pub fn l2_normalise(mut x: ArrayViewMut2<'_, f32>) -> Vec<f32> {
    let mut inverse = Vec::with_capacity(x.nrows());
    for mut row in x.rows_mut() {
        let square: f32 = row.iter().map(|v| v * v).sum();
        let scale = 1.0 / square.max(SMALLEST_SQUARE).sqrt();
        row.mapv_inplace(|v| v * scale);
        inverse.push(scale);
    }
    inverse
}

/// Gradient of a row from that of the row by [`l2_normalise`], `d`, which it replaces: with y the row of length 1 and s what
/// the row was multiplied by, `(d - y (y . d)) s`, and for a row shorter than 1e-6, whose scale is a constant, `d s`.
#[inline]
pub fn l2_normalise_gradient(d: &mut [f32], y: &[f32], scale: f32) {
    if scale >= 1.0 / SMALLEST_SQUARE.sqrt() {
        d.iter_mut().for_each(|d| *d *= scale);
        return;
    }
    let along = dot(d, y);
    d.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - y * along) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// In f64: the sum of `d * y`.
    fn along(x: &[f64], d: &[f32]) -> f64 {
        let square: f64 = x.iter().map(|x| x * x).sum();
        let scale = 1.0 / square.max(f64::from(SMALLEST_SQUARE)).sqrt();
        x.iter().zip(d).map(|(x, d)| x * scale * f64::from(*d)).sum()
    }

    #[test]
    fn gradients_are_those_of_differences_at_every_length() {
        let d = [0.5f32, -1.0, 0.25];
        for length in [1e-12f32, 1e-9, 1e-7, 5e-7, 2e-6, 1e-3, 1.0, 50.0] {
            let x = [0.6f32, -0.3, 0.7].map(|x| x * length);
            let mut y = Array2::from_shape_vec((1, 3), x.to_vec()).unwrap();
            let scale = l2_normalise(y.view_mut())[0];
            let mut gradient = d;
            l2_normalise_gradient(&mut gradient, y.as_slice().unwrap(), scale);
            for i in 0..3 {
                let step = f64::from(length) * 1e-4;
                let nudged = |by: f64| {
                    let mut x = x.map(f64::from);
                    x[i] += by;
                    along(&x, &d)
                };
                let numeric = (nudged(step) - nudged(-step)) / (2.0 * step);
                let off = (f64::from(gradient[i]) - numeric).abs();
                assert!(off < 1e-4 * f64::from(scale), "{length}: {} instead of {numeric}", gradient[i]);
            }
        }
    }
}
