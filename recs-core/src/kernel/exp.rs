//! Exponential in float32 by range reduction and a polynomial; relative error of [`exp`] below 2e-7.
//!
//! One body for every instruction set: only correctly rounded operations and fused multiply-adds, so the bits are the
//! same with AVX-512, AVX2 and without either.

use std::f32::consts::{LN_2, LOG2_E};

/// ln 2 in two parts (Cody and Waite), the first exact in a few bits.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Below this the result is 0, above the other it is infinite.
const LOWEST: f32 = -87.336_54;
const HIGHEST: f32 = 88.722_83;

/// (e^r - 1 - r) / r^2 for |r| up to ln 2 / 2.
#[inline(always)]
fn series(r: f32) -> f32 {
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_6e-1);
    p.mul_add(r, 0.5)
}

/// e^x. NaN stays NaN; results below the smallest normal number are 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(LOWEST, HIGHEST);
    let n = (clamped * LOG2_E).round_ties_even();
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let p = series(r);
    let poly = (p * r).mul_add(r, r) + 1.0;
    // 2^n in two steps, since n may be 128.
    let half = (n as i32) / 2;
    let rest = (n as i32).wrapping_sub(half);
    // Nothing here can overflow; checked additions would only keep the compiler from using vectors.
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) << 23).cast_unsigned());
    let result = poly * power(half) * power(rest);
    if x < LOWEST {
        0.0
    } else if x > HIGHEST {
        f32::INFINITY
    } else {
        result
    }
}

/// Adding this to a number below 2^22 rounds it to an integer, which then stands in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;

/// (2^r - 1) / r for |r| up to 1/2, of least relative error.
#[inline(always)]
fn series_of_two(r: f32) -> f32 {
    let mut p = 1.535_336_2e-4f32;
    for coefficient in [1.339_887_5e-3, 9.618_437e-3, 5.550_332_4e-2, 0.240_226_48, LN_2] {
        p = p.mul_add(r, coefficient);
    }
    p
}

/// [`exp`] for sums, in half of the operations: what is below e^-87 gives e^-87 instead of 0, what is above e^88.7 gives that, a
/// NaN as arithmetic makes it stays NaN. r counts in powers of two, and log2 e is not taken further than f32 goes, so that this
/// is e^(x (1 - 1.34e-8)), with a relative error below 2e-7 beside that.
#[inline(always)]
fn exp_of_term(x: f32) -> f32 {
    // Written so that NaN falls through, and compiles to one operation each.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x.mul_add(LOG2_E, ROUNDING);
    let n = shifted - ROUNDING;
    let r = x.mul_add(LOG2_E, -n);
    let p = series_of_two(r).mul_add(r, 1.0);
    // p * 2^n: n is added to the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

macro_rules! dispatch {
    ($name:ident, $avx512:ident, $avx2:ident, $body:ident, $doc:literal, ($($arg:ident: $ty:ty),*) -> $out:ty) => {
        #[doc = $doc]
        pub fn $name($($arg: $ty),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the CPU has AVX-512F and DQ.
                    return unsafe { $avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the CPU has AVX2 and FMA.
                    return unsafe { $avx2($($arg),*) };
                }
            }
            $body($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
        fn $avx512($($arg: $ty),*) -> $out {
            $body($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($arg: $ty),*) -> $out {
            $body($($arg),*)
        }
    };
}
pub(super) use dispatch;

#[inline(always)]
fn exp_body(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = exp(*v));
}

#[inline(always)]
fn exp_sum_biased_body(values: &mut [f32], bias: &[f32], shift: f32) -> f32 {
    let n = values.len().min(bias.len());
    let (values, bias) = (&mut values[..n], &bias[..n]);
    let mut sums = [0.0f32; 32];
    let mut chunks = values.chunks_exact_mut(32);
    let mut biases = bias.chunks_exact(32);
    for (chunk, bias) in (&mut chunks).zip(&mut biases) {
        for ((sum, v), b) in sums.iter_mut().zip(chunk).zip(bias) {
            *v = exp_of_term(*v + (*b - shift));
            *sum += *v;
        }
    }
    let mut tail = 0.0;
    for (v, b) in chunks.into_remainder().iter_mut().zip(biases.remainder()) {
        *v = exp_of_term(*v + (*b - shift));
        tail += *v;
    }
    sums.iter().sum::<f32>() + tail
}

dispatch!(exp_in_place, exp_avx512, exp_avx2, exp_body,
    "Replaces each value v by e^v.", (values: &mut [f32]) -> ());

dispatch!(exp_sum_biased, exp_sum_biased_avx512, exp_sum_biased_avx2, exp_sum_biased_body,
    "Replaces each value v by e^x of x = v + bias - shift, to 2e-7 + 1.4e-8 |x|, held within e^-87 and e^88.7, and gives \
     their sum. The shorter length counts when they differ.", (values: &mut [f32], bias: &[f32], shift: f32) -> f32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_two_ulp_scale_of_the_double_result() {
        for i in -870_000..=880_000 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}: {} instead of {exact}", exp(x));
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY), exp(0.0)), (0.0, f32::INFINITY, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn vector_and_scalar_give_the_same_bits() {
        let values: Vec<f32> = (0..1003).map(|i| i as f32 * 0.173 - 90.0).collect();
        let (mut vector, mut scalar) = (values.clone(), values);
        exp_in_place(&mut vector);
        exp_body(&mut scalar);
        assert!(vector.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn the_shorter_length_counts() {
        for (n, m) in [(70, 40), (40, 70), (33, 31), (64, 0), (5, 3)] {
            let (mut values, bias) = (vec![1.0f32; n], vec![-1.0f32; m]);
            let (sum, both) = (exp_sum_biased(&mut values, &bias, 0.0), n.min(m));
            assert_eq!(sum, both as f32, "{n} values, {m} biases");
            assert!(values.iter().enumerate().all(|(i, v)| *v == 1.0 && (i < both || n > m)));
            let mut twos = vec![2.0f32; n];
            exp_sum_biased(&mut twos, &bias, 0.0);
            assert_eq!(twos.iter().filter(|v| **v != 2.0).count(), both, "{n} values, {m} biases");
        }
    }

    #[test]
    fn terms_of_a_sum_keep_the_bounds() {
        for i in -870_000..=880_000 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x).exp();
            let bound = 2.5e-7 + 1.34e-8 * f64::from(x.abs());
            assert!(
                (f64::from(exp_of_term(x)) / exact - 1.0).abs() < bound,
                "{x}: {} for {exact}",
                exp_of_term(x)
            );
        }
        assert!(exp_of_term(f32::NAN).is_nan() && exp_of_term(f32::NEG_INFINITY) < 1.2e-38);
        assert!(exp_of_term(f32::INFINITY) > 3.4e38);
        let (values, bias): (Vec<f32>, Vec<f32>) =
            (0..1003).map(|i| (i as f32 * 0.05 - 30.0, -(i as f32) * 0.01)).unzip();
        let (mut vector, mut scalar) = (values.clone(), values.clone());
        let sum = exp_sum_biased(&mut vector, &bias, 3.0);
        assert_eq!(sum.to_bits(), exp_sum_biased_body(&mut scalar, &bias, 3.0).to_bits());
        assert!(vector.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits()));
        let exact: f64 =
            values.iter().zip(&bias).map(|(v, b)| (f64::from(*v) + f64::from(*b) - 3.0).exp()).sum();
        assert!((f64::from(sum) / exact - 1.0).abs() < 1e-5);
    }
}
