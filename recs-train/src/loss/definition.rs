//! Every loss against its definition in f64, and its gradients against finite differences of that.

use super::*;
use ndarray::Array2;
use proptest::prelude::*;
use recs_core::kernel;

/// A step: rows, columns and everything that a loss can be told of them.
struct Case {
    config: LossConfig,
    queries: Array2<f64>,
    embeddings: Array2<f64>,
    /// The first columns get a gradient.
    trained: usize,
    products: Vec<u32>,
    copies: Vec<f32>,
    bias: Vec<f32>,
    offsets: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    negatives: Vec<u32>,
    weight: f32,
}

/// Numbers from -1 to 1.
pub(super) fn noise(seed: u64, salt: u64, at: usize) -> f64 {
    let bytes = [seed, salt, at as u64].map(u64::to_le_bytes).concat();
    // Exact in f32.
    f64::from((recs_core::hash::fingerprint64(&bytes) % 8191) as f32 / 4096.0 - 1.0)
}

impl Case {
    /// `several` gives rows none to three targets.
    fn new(config: LossConfig, [rows, columns, trained]: [usize; 3], several: bool, seed: u64) -> Self {
        let dim = 5;
        let matrix = |n: usize, salt| {
            Array2::from_shape_vec((n, dim), (0..n * dim).map(|i| noise(seed, salt, i)).collect()).unwrap()
        };
        let offsets: Vec<u32> = (0..=rows)
            .map(|i| if several { (0..i).map(|r| (r % 4) as u32).sum() } else { i as u32 })
            .collect();
        let n = offsets[rows] as usize;
        let targets = (0..n).map(|i| ((noise(seed, 3, i) + 1.0) * 0.4999 * trained as f64) as u32).collect();
        let mut case = Self {
            config,
            queries: matrix(rows, 1),
            embeddings: matrix(columns, 2),
            trained,
            // Products with one column and with several.
            products: (0..columns as u32).map(|i| if i % 3 == 0 { i } else { i % 11 }).collect(),
            copies: (0..columns).map(|i| (1 + i % 4) as f32).collect(),
            bias: (0..columns).map(|i| noise(seed, 4, i) as f32).collect(),
            offsets,
            targets,
            weights: (0..n).map(|i| if several { 0.5 + (i % 3) as f32 } else { 1.0 }).collect(),
            negatives: Vec::new(),
            weight: 0.25,
        };
        if let ObjectiveConfig::Bpr(bpr) = config.objective {
            let (mut negatives, same) = (Vec::new(), case.same_product());
            let embeddings = case.embeddings.mapv(|x| x as f32);
            bpr.draw(&mut negatives, (seed, 1), case.targets(), case.columns(&embeddings, &same));
            case.negatives = negatives;
        }
        case
    }

    fn same_product(&self) -> Vec<u32> {
        let n = self.products.len();
        let next = |i: usize| (1..=n).map(|k| (i + k) % n).find(|&j| self.products[j] == self.products[i]);
        (0..n).map(|i| next(i).map_or(NO_COLUMN, |j| j as u32)).collect()
    }

    fn targets(&self) -> Targets<'_> {
        Targets { offsets: &self.offsets, columns: &self.targets, weights: &self.weights }
    }

    fn columns<'a>(&'a self, embeddings: &'a Array2<f32>, same_product: &'a [u32]) -> Columns<'a> {
        let longest = embeddings.rows().into_iter().map(|r| r.dot(&r).sqrt()).fold(0.0, f32::max);
        Columns {
            embeddings: embeddings.view(),
            transposed: embeddings.t(),
            copies: &self.copies,
            bias: &self.bias,
            same_product,
            longest,
        }
    }

    /// Loss, gradients of queries, of trained columns, of log(1 / temperature).
    fn run(&self) -> (f64, Array2<f32>, Array2<f32>, f64) {
        let (queries, embeddings) = (self.queries.mapv(|x| x as f32), self.embeddings.mapv(|x| x as f32));
        let same_product = self.same_product();
        let mut dq = Array2::from_elem(queries.raw_dim(), 7.0);
        let mut dc = Array2::zeros((self.trained, queries.ncols()));
        let mut shares = vec![0.0; queries.nrows()];
        let input = LossInput {
            queries: queries.view(),
            targets: self.targets(),
            negatives: &self.negatives,
            weight: self.weight,
            columns: self.columns(&embeddings, &same_product),
        };
        let gradients = LossGradients { queries: dq.view_mut(), columns: dc.view_mut(), shares: &mut shares };
        let mut objective = Objective::new(LossConfig { temperature: 1.0, ..self.config });
        objective.set_temperature(self.config.temperature);
        let loss = objective.forward_backward(input, gradients, &kernel::gemm);
        let log_scale = (&queries * &dq).iter().map(|x| f64::from(*x)).sum();
        (loss, dq, dc, log_scale)
    }

    /// The definition; logits are multiplied by `e^log_scale` more.
    fn definition(&self, queries: &Array2<f64>, embeddings: &Array2<f64>, log_scale: f64) -> f64 {
        let scale = log_scale.exp() / f64::from(self.config.temperature);
        let row = |i: usize| {
            let logits: Vec<f64> =
                embeddings.rows().into_iter().map(|c| queries.row(i).dot(&c) * scale).collect();
            let range = self.offsets[i] as usize..self.offsets[i + 1] as usize;
            let own: Vec<usize> = self.targets[range.clone()].iter().map(|&t| t as usize).collect();
            let is_own = |j: usize| own.iter().any(|&t| self.products[t] == self.products[j]);
            let terms = own.iter().zip(&self.weights[range]);
            terms.map(|(&t, &w)| f64::from(w) * self.term(t, &logits, &own, &is_own, i)).sum::<f64>()
        };
        (0..queries.nrows()).map(row).sum::<f64>() * f64::from(self.weight)
    }

    fn term(
        &self,
        t: usize,
        logits: &[f64],
        own: &[usize],
        is_own: &dyn Fn(usize) -> bool,
        row: usize,
    ) -> f64 {
        let (bias, copies) = (|j: usize| f64::from(self.bias[j]), |j: usize| f64::from(self.copies[j]));
        match self.config.objective {
            ObjectiveConfig::Bpr(bpr) => {
                let above = |j: usize| (logits[j] - logits[t]).exp().ln_1p();
                let n = bpr.negatives_per_row;
                let drawn: Vec<usize> = self.negatives[row * n..(row + 1) * n]
                    .iter()
                    .filter(|&&j| j != NO_COLUMN)
                    .map(|&j| j as usize)
                    .collect();
                if n > 0 {
                    return drawn.iter().map(|&j| above(j)).sum::<f64>() / drawn.len().max(1) as f64;
                }
                let kept = || (0..logits.len()).filter(|&j| !is_own(j));
                let total: f64 = kept().map(|j| bias(j).exp()).sum();
                kept().map(|j| bias(j).exp() * above(j)).sum::<f64>() / total.max(f64::MIN_POSITIVE)
            }
            ObjectiveConfig::Softmax => {
                let masks = self.config.mask_accidental_hits && own.len() == 1;
                let mut hard: Vec<usize> = (0..logits.len()).filter(|&j| !is_own(j)).collect();
                hard.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
                hard.truncate(self.config.hard_negatives.map_or(0, |hard| hard.count));
                let more = self.config.hard_negatives.map_or(1.0, |hard| f64::from(hard.weight));
                let sum: f64 = (0..logits.len())
                    .filter(|&j| !masks || j == t || !is_own(j))
                    .map(|j| {
                        let single = if masks && j == t { copies(j) } else { 1.0 };
                        let weight = if hard.contains(&j) { more } else { 1.0 };
                        (logits[j] + bias(j)).exp() / single * weight
                    })
                    .sum();
                sum.ln() - (logits[t] + bias(t) - copies(t).ln())
            }
        }
    }

    /// Furthest that the loss or a gradient is from the definition, relative to the largest.
    fn furthest(&self) -> f64 {
        let (loss, dq, dc, log_scale) = self.run();
        let exact = self.definition(&self.queries, &self.embeddings, 0.0);
        let step = 1e-5;
        // Terms of this size cancel in f32.
        let (mut pairs, mut largest) = (Vec::new(), f64::from(self.weight / self.config.temperature));
        let mut compare = |analytic: f64, loss: &dyn Fn(f64) -> f64| {
            let numeric = (loss(step) - loss(-step)) / (2.0 * step);
            largest = largest.max(numeric.abs());
            pairs.push((analytic, numeric));
        };
        for ((i, d), analytic) in dq.indexed_iter() {
            compare(f64::from(*analytic), &|by| {
                let mut queries = self.queries.clone();
                queries[[i, d]] += by;
                self.definition(&queries, &self.embeddings, 0.0)
            });
        }
        for ((i, d), analytic) in dc.indexed_iter() {
            compare(f64::from(*analytic), &|by| {
                let mut embeddings = self.embeddings.clone();
                embeddings[[i, d]] += by;
                self.definition(&self.queries, &embeddings, 0.0)
            });
        }
        compare(log_scale, &|by| self.definition(&self.queries, &self.embeddings, by));
        let gradients = pairs.iter().map(|(a, n)| (a - n).abs() / largest).fold(0.0, f64::max);
        gradients.max((loss - exact).abs() / exact.abs().max(0.1))
    }
}

fn config() -> impl Strategy<Value = LossConfig> {
    let bpr = |n: usize| ObjectiveConfig::Bpr(BprConfig { negatives_per_row: n });
    let hard = |count, weight| Some(HardNegatives { count, weight });
    let objective = prop_oneof![
        Just((ObjectiveConfig::Softmax, None)),
        (1usize..40, 1.5f32..20.0)
            .prop_map(move |(count, weight)| (ObjectiveConfig::Softmax, hard(count, weight))),
        (0usize..6).prop_map(move |n| (bpr(n), None)),
    ];
    (objective, any::<bool>(), 0.2f32..2.0).prop_map(|((objective, hard_negatives), mask, temperature)| {
        LossConfig {
            objective,
            hard_negatives,
            mask_accidental_hits: mask,
            temperature,
            ..LossConfig::reference()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn losses_and_gradients_are_those_of_the_definition(
        config in config(), rows in 1usize..9, columns in 1usize..30, constant in 0usize..20, several in any::<bool>(), seed in any::<u64>(),
    ) {
        let case = Case::new(config, [rows, columns + constant, columns], several, seed);
        let furthest = case.furthest();
        prop_assert!(furthest < 2e-4, "{furthest}");
    }
}

/// More rows than a panel has, in one piece and by single rows.
#[test]
fn panels_do_not_show() {
    for objective in [ObjectiveConfig::Softmax, ObjectiveConfig::Bpr(BprConfig::default())] {
        let config = LossConfig { objective, ..LossConfig::reference() };
        let case = Case::new(config, [401, 17, 12], true, 3);
        let (loss, ..) = case.run();
        let exact = case.definition(&case.queries, &case.embeddings, 0.0);
        assert!((loss - exact).abs() < 1e-5 * exact, "{loss} {exact}");
    }
}

/// A hundredfold of the exponents that f32 can hold.
#[test]
fn stays_finite_far_from_zero() {
    for objective in [0, 3].map(|n| ObjectiveConfig::Bpr(BprConfig { negatives_per_row: n })) {
        let config = LossConfig { objective, ..LossConfig::reference() };
        let mut case = Case::new(config, [6, 9, 9], false, 1);
        case.queries *= 1e4;
        let (loss, dq, ..) = case.run();
        assert!(loss.is_finite() && loss > 100.0 && dq.iter().all(|d| d.is_finite()));
    }
}

/// Draws follow e^bias, and none is a target's column or product.
#[test]
fn negatives_are_drawn_by_their_weights() {
    let config = LossConfig {
        objective: ObjectiveConfig::Bpr(BprConfig { negatives_per_row: 50 }),
        ..LossConfig::reference()
    };
    let case = Case::new(config, [2000, 30, 20], false, 11);
    let mut counts = vec![0.0; 30];
    let mut expected = vec![0.0; 30];
    for (row, drawn) in case.negatives.chunks(50).enumerate() {
        let own = case.products[case.targets[row] as usize];
        let kept: Vec<usize> = (0..30).filter(|&j| case.products[j] != own).collect();
        let total: f64 = kept.iter().map(|&j| f64::from(case.bias[j]).exp()).sum();
        kept.iter().for_each(|&j| expected[j] += 50.0 * f64::from(case.bias[j]).exp() / total);
        for &j in drawn {
            assert!(case.products[j as usize] != own);
            counts[j as usize] += 1.0;
        }
    }
    let chi_squared: f64 = counts.iter().zip(&expected).map(|(c, e): (&f64, &f64)| (c - e).powi(2) / e).sum();
    assert!((8.0..65.0).contains(&chi_squared), "{chi_squared} with 29 degrees of freedom");
}
