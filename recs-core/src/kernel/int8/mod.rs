//! Vectors in one byte a number, and dot products with them in whole numbers.
//!
//! Number `d` of a vector is kept as `code = round(x / scale_d) + 128` with a scale for each dimension; a query is scaled by
//! the same and rounded to 15 bits. Their product is a whole number, the **estimate**: the same on every machine, whichever
//! instructions computed it, and off by no more than a bound that [`Int8Codec::query`] computes for the query at hand. So a
//! search may pass over whatever the estimate excludes, and score exactly what is left.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Int8Codec`]: scales and rounding; [`Int8Query`]: a query and its bound |
//! | `rows.rs` | [`estimate_rows`]: codes row by row, for vectors that are picked |
//! | `blocks.rs` | [`Int8Blocks`]: codes of 16 vectors side by side, for vectors that are all read |

mod blocks;
mod rows;

pub use blocks::Int8Blocks;
pub use rows::estimate_rows;

use crate::error::{Error, Result};

/// Widest vectors: beyond it a product could leave 32 bits.
pub const MAX_INT8_DIM: usize = 1024;
/// What is added to codes, so that they are never negative.
const ZERO: u8 = 128;
/// Largest code, up or down from zero.
const MAX_CODE: f64 = 127.0;
/// A query's number is `PLANE * high + low`, both of one byte.
const PLANE: i32 = 128;
/// Largest number of a query: `PLANE * 127`.
const MAX_QUERY: f64 = 16_256.0;

/// How vectors of one set are rounded, and how far rounding moved any of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Codec {
    /// What one step of a code is worth, for each dimension.
    pub scales: Vec<f32>,
    /// Length of the longest difference between a vector and its codes, in steps.
    pub residual: f32,
    /// Length of the longest vector of codes, in steps.
    pub code_length: f32,
    /// Length of the longest vector.
    pub length: f32,
}

impl Int8Codec {
    /// Scales for vectors end to end, so that the largest number of each dimension has the largest code.
    ///
    /// # Shapes
    /// `vectors` `[n, dim]` row-major.
    ///
    /// # Errors
    /// [`Error::Config`] for a width of 0 or above [`MAX_INT8_DIM`], or a number that is not finite.
    pub fn fit(vectors: &[f32], dim: usize) -> Result<Self> {
        Self::fit_rows(vectors.chunks_exact(dim.max(1)), dim)
    }

    /// As [`Int8Codec::fit`], for some vectors only.
    ///
    /// # Shapes
    /// Each row `[dim]`.
    ///
    /// # Errors
    /// As [`Int8Codec::fit`].
    pub fn fit_rows<'v>(rows: impl Iterator<Item = &'v [f32]>, dim: usize) -> Result<Self> {
        let refuse = |reason: String| Err(Error::config("int8", reason));
        if !(1..=MAX_INT8_DIM).contains(&dim) {
            return refuse(format!("vectors of {dim} numbers; allowed are 1 to {MAX_INT8_DIM}"));
        }
        let mut largest = vec![0.0f32; dim];
        for row in rows {
            if row.iter().any(|x| !x.is_finite()) {
                return refuse("a vector has a number that is not finite".into());
            }
            largest.iter_mut().zip(row).for_each(|(largest, x)| *largest = largest.max(x.abs()));
        }
        // Where all numbers are 0 the scale is 0; a smaller scale than the smallest normal number would lose its digits.
        let scale =
            |&x: &f32| if x > 0.0 { ((f64::from(x) / MAX_CODE) as f32).max(f32::MIN_POSITIVE) } else { 0.0 };
        let scales = largest.iter().map(scale).collect();
        Ok(Self { scales, residual: 0.0, code_length: 0.0, length: 0.0 })
    }

    /// Numbers of a vector.
    pub fn dim(&self) -> usize {
        self.scales.len()
    }

    /// Writes the codes of a vector and remembers how far off they are; a number beyond the scale is cut, which the bound
    /// then knows. `codes` may be longer: what is behind stands for zeros.
    ///
    /// # Shapes
    /// `vector` `[dim]`, `codes` `[dim or more]`.
    pub fn encode(&mut self, vector: &[f32], codes: &mut [u8]) {
        let (mut residual, mut code_length, mut length) = (0.0f64, 0.0f64, 0.0f64);
        codes.fill(ZERO);
        for ((code, &x), &scale) in codes.iter_mut().zip(vector).zip(&self.scales) {
            let (x, scale) = (f64::from(x), f64::from(scale));
            length += x * x;
            if scale > 0.0 {
                let steps = (x / scale).round().clamp(-MAX_CODE, MAX_CODE);
                *code = (steps + f64::from(ZERO)) as u8;
                residual += (x / scale - steps).powi(2);
                code_length += steps * steps;
            } else if x != 0.0 {
                // Only of a vector that the scales were not fitted to: nothing is known about its estimate.
                residual = f64::INFINITY;
            }
        }
        // Rounded up: these are bounds.
        let keep = |most: &mut f32, square: f64| *most = most.max(up(square.sqrt()));
        keep(&mut self.residual, residual);
        keep(&mut self.code_length, code_length);
        keep(&mut self.length, length);
    }

    /// A query in whole numbers, with its bound.
    ///
    /// **The bound.** With `w = q * scale`, the exact product differs from `step * estimate` by the rounding of the
    /// candidate, at most `|w| * residual`, by that of the query, at most `|w - step * rounded| * code_length` (both by
    /// Cauchy and Schwarz), and a product added up in f32 by at most `dim * 2^-23 * |q| * length` from the exact one, or by
    /// what is lost below the smallest normal number. Two
    /// candidates can be in another order than their estimates only when these differ by less than twice the sum.
    ///
    /// # Shapes
    /// `query` `[dim]`, finite.
    pub fn query(&self, query: &[f32]) -> Int8Query {
        let mut rounded = Int8Query::default();
        self.query_into(query, &mut rounded);
        rounded
    }

    /// As [`Int8Codec::query`], in place of what `rounded` held; allocates only when it is too short.
    pub fn query_into(&self, query: &[f32], rounded: &mut Int8Query) {
        let scaled = || query.iter().zip(&self.scales).map(|(&q, &s)| f64::from(q) * f64::from(s));
        let largest = scaled().fold(0.0f64, |most, w| most.max(w.abs()));
        let step = largest / MAX_QUERY;
        let (mut weight, mut rounding, mut own) = (0.0, 0.0, 0.0);
        rounded.numbers.clear();
        for (w, &q) in scaled().zip(query) {
            let number = if step > 0.0 { (w / step).round() as i16 } else { 0 };
            rounded.numbers.push(number);
            weight += w * w;
            rounding += (w - step * f64::from(number)).powi(2);
            own += f64::from(q) * f64::from(q);
        }
        let lost = 2f64.powi(-23) * own.sqrt() * f64::from(self.length) + f64::from(f32::MIN_POSITIVE);
        let error = weight.sqrt() * f64::from(self.residual)
            + rounding.sqrt() * f64::from(self.code_length)
            + self.dim() as f64 * lost;
        // A little more for the arithmetic of the bound itself. What cannot be bounded is never passed over.
        let slack = (2.0 * error * (1.0 + 1e-9) / step).ceil() + 1.0;
        // Products that f32 cannot hold are equal, whatever they are.
        let overflows = own.sqrt() * f64::from(self.length) >= f64::from(f32::MAX) / 4.0;
        rounded.slack = if slack < f64::from(i32::MAX) && !overflows { slack as i32 } else { i32::MAX };
        rounded.split();
    }
}

fn up(x: f64) -> f32 {
    let rounded = x as f32;
    if f64::from(rounded) < x { rounded.next_up() } else { rounded }
}

/// A query in whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Int8Query {
    /// `numbers = PLANE * high + low`; all three padded with zeros to whole [`STEP`]s.
    numbers: Vec<i16>,
    high: Vec<i8>,
    low: Vec<i8>,
    /// What the codes' offset adds to every product.
    offset: i32,
    slack: i32,
}

/// Queries and rows of codes are whole multiples of it.
const STEP: usize = 32;

impl Int8Query {
    /// Computes everything else from the numbers.
    fn split(&mut self) {
        let sum: i32 = self.numbers.iter().map(|&n| i32::from(n)).sum();
        self.offset = sum * i32::from(ZERO);
        self.numbers.resize(self.numbers.len().next_multiple_of(STEP), 0);
        let high = |n: i16| ((i32::from(n) + PLANE / 2) >> PLANE.trailing_zeros()) as i8;
        self.high.clear();
        self.high.extend(self.numbers.iter().map(|&n| high(n)));
        self.low.clear();
        let low =
            self.numbers.iter().zip(&self.high).map(|(&n, &h)| (i32::from(n) - PLANE * i32::from(h)) as i8);
        self.low.extend(low);
    }

    /// Two candidates whose estimates are further apart than this are in the order of their estimates.
    pub fn slack(&self) -> i32 {
        self.slack
    }

    /// The estimate by the definition.
    fn estimate_scalar(&self, codes: impl Iterator<Item = u8>) -> i32 {
        let sum = |sum: i32, (&number, code): (&i16, u8)| {
            sum.wrapping_add(i32::from(number) * (i32::from(code) - i32::from(ZERO)))
        };
        self.numbers.iter().zip(codes).fold(0, sum)
    }
}

/// Bytes of one row of codes: `dim` rounded up to whole steps of the vector forms.
pub fn int8_stride(dim: usize) -> usize {
    dim.next_multiple_of(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::dot;
    use proptest::prelude::*;

    fn set() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
        (1usize..90, 1usize..40).prop_flat_map(|(dim, n)| {
            let number =
                prop_oneof![8 => -2f32..2.0, 1 => Just(0.0f32), 1 => -200f32..200.0, 1 => -1e-3f32..1e-3];
            let vectors = proptest::collection::vec(number.clone(), dim * n);
            (Just(dim), vectors, proptest::collection::vec(number, dim))
        })
    }

    fn encoded(vectors: &[f32], dim: usize) -> (Int8Codec, Vec<u8>) {
        let stride = int8_stride(dim);
        let mut codec = Int8Codec::fit(vectors, dim).unwrap();
        let mut codes = vec![0; vectors.len() / dim * stride];
        for (row, codes) in vectors.chunks_exact(dim).zip(codes.chunks_exact_mut(stride)) {
            codec.encode(row, codes);
        }
        (codec, codes)
    }

    proptest! {
        /// Whoever is better by more than the slack is better indeed.
        #[test]
        fn the_bound_holds((dim, vectors, query) in set()) {
            let (codec, codes) = encoded(&vectors, dim);
            let asked = codec.query(&query);
            let estimates: Vec<i32> =
                codes.chunks_exact(int8_stride(dim)).map(|row| asked.estimate_scalar(row.iter().copied())).collect();
            let exact: Vec<f32> = vectors.chunks_exact(dim).map(|row| dot(&query, row)).collect();
            for (i, a) in estimates.iter().enumerate() {
                for (j, b) in estimates.iter().enumerate() {
                    if i64::from(*a) > i64::from(*b) + i64::from(asked.slack()) {
                        prop_assert!(exact[i] > exact[j], "{} over {} but {} below {}", a, b, exact[i], exact[j]);
                    }
                }
            }
        }

        /// All forms give the same whole numbers.
        #[test]
        fn every_form_agrees((dim, vectors, query) in set()) {
            let (codec, codes) = encoded(&vectors, dim);
            let (asked, stride, n) = (codec.query(&query), int8_stride(dim), vectors.len() / dim);
            let expected: Vec<i32> =
                codes.chunks_exact(stride).map(|row| asked.estimate_scalar(row.iter().copied())).collect();
            let rows: Vec<u32> = (0..n as u32).rev().collect();
            let mut got = vec![0; n];
            estimate_rows(&asked, &codes, stride, &rows, &mut got);
            got.reverse();
            prop_assert_eq!(&got, &expected);
            rows::tests_agree(&asked, &codes, stride, &expected);
            blocks::tests_agree(&asked, &codec, &vectors, &expected);
        }
    }

    #[test]
    fn a_query_of_zeros_excludes_nothing() {
        let (codec, _) = encoded(&[1.0, 2.0, 3.0, 4.0], 2);
        assert_eq!(codec.query(&[0.0, 0.0]).slack(), i32::MAX);
    }

    #[test]
    fn what_lies_beyond_the_scale_is_part_of_the_bound() {
        let (mut codec, _) = encoded(&[1.0, -1.0], 1);
        let before = codec.query(&[1.0]).slack();
        codec.encode(&[2.0], &mut [0]);
        assert!(codec.residual >= 127.0 && codec.query(&[1.0]).slack() > before);
    }

    #[test]
    fn absurd_widths_and_numbers_are_refused() {
        assert!(Int8Codec::fit(&[], 0).is_err() && Int8Codec::fit(&[], MAX_INT8_DIM + 1).is_err());
        assert!(Int8Codec::fit(&[1.0, f32::NAN], 2).is_err());
    }
}
