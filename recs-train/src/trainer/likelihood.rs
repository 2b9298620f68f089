//! What the numbers of the repeat term are fitted by: the softmax over the catalogue with the term in it.

use super::repeat::{Bought, N};

/// A customer and day: what the likelihood needs of it.
pub(super) struct Query {
    /// Rows of the day.
    rows: f64,
    /// log of the sum of e^score over the products not bought before.
    others: f64,
    /// Score, the six factors, and rows of the day, of each product bought before.
    own: Vec<(f64, [f64; N], f64)>,
}

impl Query {
    pub(super) fn new(scores: &[f32], bought: &[Bought], targets: &[(u32, u32)]) -> Self {
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let term = |score: f32| f64::from(score - highest).exp();
        let mut others: f64 = scores.iter().map(|&score| term(score)).sum();
        let mut own = Vec::with_capacity(bought.len());
        for Bought { product, features } in bought {
            let score = scores[*product as usize];
            others -= term(score);
            let at = targets.binary_search_by_key(product, |target| target.0);
            let mut factors = [f64::from(score); N];
            factors[..N - 1].copy_from_slice(features);
            own.push((f64::from(score), factors, at.map_or(0.0, |at| f64::from(targets[at].1))));
        }
        let rows = targets.iter().map(|target| f64::from(target.1)).sum();
        Self { rows, others: others.max(1e-12).ln() + f64::from(highest), own }
    }
}

/// Gradient and second derivatives of the likelihood.
#[derive(Default)]
pub(super) struct Curvature {
    gradient: [f64; N],
    second: [[f64; N]; N],
}

/// Negative log likelihood of the targets, less what does not depend on the coefficients.
pub(super) fn likelihood(
    queries: &[Query],
    coefficients: &[f64; N],
    mut curvature: Option<&mut Curvature>,
) -> f64 {
    let mut total = 0.0;
    for query in queries {
        let logit = |score: f64, factors: &[f64; N]| {
            score + factors.iter().zip(coefficients).map(|(x, t)| x * t).sum::<f64>()
        };
        let logits: Vec<f64> = query.own.iter().map(|(score, factors, _)| logit(*score, factors)).collect();
        let highest = logits.iter().copied().fold(query.others, f64::max);
        let sum = (query.others - highest).exp() + logits.iter().map(|z| (z - highest).exp()).sum::<f64>();
        total += query.rows * (sum.ln() + highest);
        let (mut mean, mut square) = ([0.0; N], [[0.0; N]; N]);
        for ((_, factors, targets), z) in query.own.iter().zip(&logits) {
            total -= targets * z;
            let Some(curvature) = curvature.as_deref_mut() else { continue };
            let p = (z - highest).exp() / sum;
            for i in 0..N {
                mean[i] += p * factors[i];
                curvature.gradient[i] += (query.rows * p - targets) * factors[i];
                for j in 0..N {
                    square[i][j] += p * factors[i] * factors[j];
                }
            }
        }
        if let Some(curvature) = curvature.as_deref_mut() {
            for i in 0..N {
                for j in 0..N {
                    curvature.second[i][j] += query.rows * (square[i][j] - mean[i] * mean[j]);
                }
            }
        }
    }
    total
}

impl Curvature {
    /// Solves `second x = gradient` by elimination with pivots; a little on the diagonal keeps it solvable.
    pub(super) fn newton_step(&self) -> [f64; N] {
        let (mut a, mut b) = (self.second, self.gradient);
        let trace: f64 = (0..N).map(|i| a[i][i]).sum();
        (0..N).for_each(|i| a[i][i] += 1e-9 * trace + f64::MIN_POSITIVE);
        for column in 0..N {
            let pivot = (column..N)
                .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
                .unwrap_or(column);
            a.swap(column, pivot);
            b.swap(column, pivot);
            let (top, known) = (a[column], b[column]);
            for (row, right) in a.iter_mut().zip(&mut b).skip(column + 1) {
                let factor = row[column] / top[column];
                row.iter_mut().zip(&top).for_each(|(x, t)| *x -= factor * t);
                *right -= factor * known;
            }
        }
        let mut x = [0.0; N];
        for row in (0..N).rev() {
            let known: f64 = (row + 1..N).map(|k| a[row][k] * x[k]).sum();
            x[row] = (b[row] - known) / a[row][row];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries() -> Vec<Query> {
        let scores: Vec<f32> = (0..30).map(|i| ((i * 7) % 11) as f32 * 0.3).collect();
        (0..40u32)
            .map(|q| {
                let bought: Vec<Bought> = (0..6)
                    .map(|i| {
                        let c = f64::from((q + i) % 5).ln_1p();
                        let r = f64::from((q * 3 + i * 5) % 7) * 0.2 - 0.6;
                        Bought {
                            product: (q + i * 4) % 30,
                            features: [1.0, c, c * 0.5 + r * 0.1, r, c * f64::from(q % 3)],
                        }
                    })
                    .collect();
                let mut targets: Vec<(u32, u32)> =
                    (0..4).map(|i| ((q + i * i * 4) % 30, 1 + i % 2)).collect();
                targets.sort_unstable();
                targets.dedup_by_key(|t| t.0);
                Query::new(&scores, &bought, &targets)
            })
            .collect()
    }

    #[test]
    fn derivatives_equal_finite_differences() {
        let (queries, at) = (queries(), [0.3, 0.8, -0.2, 0.5, 0.1, -0.4]);
        let mut curvature = Curvature::default();
        likelihood(&queries, &at, Some(&mut curvature));
        for i in 0..N {
            let nudged = |by: f64| {
                let mut moved = at;
                moved[i] += by;
                let mut curvature = Curvature::default();
                (likelihood(&queries, &moved, Some(&mut curvature)), curvature.gradient)
            };
            let ((up, gradient_up), (down, gradient_down)) = (nudged(1e-5), nudged(-1e-5));
            assert!(
                ((up - down) / 2e-5 - curvature.gradient[i]).abs()
                    < 1e-3 * curvature.gradient[i].abs().max(1.0)
            );
            for j in 0..N {
                let numeric = (gradient_up[j] - gradient_down[j]) / 2e-5;
                assert!((numeric - curvature.second[i][j]).abs() < 1e-3 * numeric.abs().max(1.0));
            }
        }
    }

    #[test]
    fn newtons_step_solves_the_system() {
        let mut curvature = Curvature::default();
        let expected = [1.0, -2.0, 0.5, 3.0, 0.0, -1.0];
        for i in 0..N {
            for j in 0..N {
                curvature.second[i][j] = if i == j { 2.0 } else { 1.0 / (1.0 + i as f64 + j as f64) };
            }
        }
        for i in 0..N {
            curvature.gradient[i] = (0..N).map(|j| curvature.second[i][j] * expected[j]).sum();
        }
        let step = curvature.newton_step();
        assert!(step.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{step:?}");
    }
}
