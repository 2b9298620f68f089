//! Activations of a row and their slopes, in float32, the same bits on every machine (see `exp.rs`).

use super::exp::{dispatch, exp};
use crate::model::Activation;

/// Slope of [`Activation::LeakyRelu`] below 0, as in `tf.nn.leaky_relu`.
const LEAK: f32 = 0.2;

/// 1 / sqrt(2 pi).
const INVERSE_SQRT_TAU: f32 = 0.398_942_3;

/// f(x) and f'(x).
#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    // One operation, as `max`, which would make 0 of NaN: a model that is broken would look sound.
    (if 0.0 > x { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 })
}

#[inline(always)]
fn leaky_relu(x: f32) -> (f32, f32) {
    if x > 0.0 { (x, 1.0) } else { (LEAK * x, LEAK) }
}

#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-x));
    let y = x * sigmoid;
    (y, sigmoid + y * (1.0 - sigmoid))
}

/// Up to here tanh is a polynomial: the difference of exponentials loses its digits near 0.
const TANH_NEAR: f32 = 0.625;

#[inline(always)]
fn tanh(x: f32) -> (f32, f32) {
    let small = exp(-2.0 * x.abs());
    let far = ((1.0 - small) / (1.0 + small)).copysign(x);
    // (tanh x / x - 1) / x^2 in x^2, from Cephes (`tanhf.c`, Moshier).
    let square = x * x;
    let mut p = -5.704_988_7e-3f32;
    p = p.mul_add(square, 2.063_908_8e-2);
    p = p.mul_add(square, -5.373_971_6e-2);
    p = p.mul_add(square, 0.133_314_42);
    p = p.mul_add(square, -0.333_332_8);
    let near = (p * square).mul_add(x, x);
    let y = if x.abs() < TANH_NEAR { near } else { far };
    (y, 1.0 - y * y)
}

/// x Phi(x), with the error function by Abramowitz and Stegun 7.1.26: Phi is off by less than 2e-7.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let mut p = 1.061_405_4f32;
    p = p.mul_add(t, -1.453_152);
    p = p.mul_add(t, 1.421_413_7);
    p = p.mul_add(t, -0.284_496_74);
    p = p.mul_add(t, 0.254_829_6);
    let bell = exp(-z * z);
    let upper = 0.5 * p * t * bell;
    let phi = if x > 0.0 { 1.0 - upper } else { upper };
    (x * phi, (x * INVERSE_SQRT_TAU).mul_add(bell, phi))
}

#[inline(always)]
fn map(values: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    values.iter_mut().for_each(|x| *x = f(*x).0);
}

#[inline(always)]
fn map_both(values: &mut [f32], slopes: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    values.iter_mut().zip(slopes).for_each(|(x, slope)| (*x, *slope) = f(*x));
}

#[inline(always)]
fn activate_body(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Linear => {}
        Activation::Relu => map(values, relu),
        Activation::LeakyRelu => map(values, leaky_relu),
        Activation::Gelu => map(values, gelu),
        Activation::Silu => map(values, silu),
        Activation::Tanh => map(values, tanh),
    }
}

#[inline(always)]
fn slopes_body(activation: Activation, values: &mut [f32], slopes: &mut [f32]) {
    match activation {
        Activation::Linear => slopes.fill(1.0),
        Activation::Relu => map_both(values, slopes, relu),
        Activation::LeakyRelu => map_both(values, slopes, leaky_relu),
        Activation::Gelu => map_both(values, slopes, gelu),
        Activation::Silu => map_both(values, slopes, silu),
        Activation::Tanh => map_both(values, slopes, tanh),
    }
}

dispatch!(
    activate_in_place, activate_avx512, activate_avx2, activate_body,
    "Replaces every number by its activation.",
    (activation: Activation, values: &mut [f32]) -> ()
);

dispatch!(
    activate_with_slopes, slopes_avx512, slopes_avx2, slopes_body,
    "As [`activate_in_place`], and writes the activation's slope at each number, as far as both reach.",
    (activation: Activation, values: &mut [f32], slopes: &mut [f32]) -> ()
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(activation: Activation, x: f32) -> (f32, f32) {
        let (mut value, mut slope) = ([x], [f32::NAN]);
        activate_with_slopes(activation, &mut value, &mut slope);
        (value[0], slope[0])
    }

    /// Definitions in float64; the error function by its series.
    fn exact(activation: Activation, x: f64) -> f64 {
        let erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        match activation {
            Activation::Linear => x,
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(0.2 * x),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    #[test]
    fn values_and_slopes_follow_the_definitions() {
        for activation in Activation::ALL {
            for i in -500..500 {
                let x = (i as f32 + 0.5) * 0.01;
                let (value, slope) = both(activation, x);
                let (x, h) = (f64::from(x), 1e-5);
                let expected = exact(activation, x);
                let by_differences = (exact(activation, x + h) - exact(activation, x - h)) / (2.0 * h);
                let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 2e-6 * b.abs().max(1.0);
                assert!(close(value, expected), "{activation:?}({x}) is {value}, not {expected}");
                assert!(
                    close(slope, by_differences),
                    "{activation:?}'({x}) is {slope}, not {by_differences}"
                );
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for activation in Activation::ALL {
            // A whole vector, and what is left behind it.
            let mut values = [f32::NAN; 37];
            activate_in_place(activation, &mut values);
            assert!(values.iter().all(|y| y.is_nan()), "{activation:?}");
            assert!(both(activation, f32::NAN).0.is_nan(), "{activation:?}");
        }
    }

    proptest! {
        #[test]
        fn tanh_is_exact_at_every_scale(mantissa in 1f32..2.0, power in -120i32..4, negative in any::<bool>()) {
            let x = mantissa * 2f32.powi(power) * if negative { -1.0 } else { 1.0 };
            let exact = f64::from(x).tanh();
            let off = (f64::from(both(Activation::Tanh, x).0) - exact).abs() / exact.abs();
            prop_assert!(off < 1e-6, "tanh({x}) is {off} off");
        }
    }

    #[test]
    fn ends_stay_finite_and_values_do_not_depend_on_slopes() {
        for activation in Activation::ALL {
            for x in [-1e4f32, -90.0, -0.3, -0.0, 0.0, 1e-3, 2.0, 90.0, 1e4] {
                let mut alone = [x];
                activate_in_place(activation, &mut alone);
                let (value, slope) = both(activation, x);
                assert_eq!(alone[0].to_bits(), value.to_bits(), "{activation:?}({x})");
                assert!(value.is_finite() && slope.is_finite(), "{activation:?}({x})");
            }
        }
    }
}
