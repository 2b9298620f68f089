//! Columns that are drawn and corrected, against the softmax over all products.

use super::definition::noise;
use super::mixed::{below, of_step};
use super::*;
use ndarray::Array2;
use recs_core::kernel;

const PRODUCTS: usize = 60;
const ROWS: usize = 40;
const DIM: usize = 5;

/// Shares fall like 1 / rank.
fn share(product: usize) -> f64 {
    let harmonic: f64 = (1..=PRODUCTS).map(|rank| 1.0 / rank as f64).sum();
    1.0 / (product + 1) as f64 / harmonic
}

/// Gradients of queries and products for columns with these copies, corrected by these logs.
fn gradient(copies: &[f32], log_q: impl Fn(usize) -> f64) -> [Array2<f32>; 2] {
    let matrix =
        |n: usize, salt| Array2::from_shape_fn((n, DIM), |(i, d)| noise(9, salt, i * DIM + d) as f32);
    let (queries, embeddings) = (matrix(ROWS, 1), matrix(PRODUCTS, 2));
    let columns: Vec<u32> = (0..ROWS).map(|i| (i * 7 % PRODUCTS) as u32).collect();
    let offsets: Vec<u32> = (0..=ROWS as u32).collect();
    let bias: Vec<f32> = (0..PRODUCTS).map(|p| copies[p].ln() - log_q(p) as f32).collect();
    let (mut dq, mut dc) = (Array2::zeros((ROWS, DIM)), Array2::zeros((PRODUCTS, DIM)));
    let input = LossInput {
        queries: queries.view(),
        targets: Targets { offsets: &offsets, columns: &columns, weights: &[1.0; ROWS] },
        negatives: &[],
        weight: 1.0,
        columns: Columns {
            embeddings: embeddings.view(),
            transposed: embeddings.t(),
            copies,
            bias: &bias,
            same_product: &[],
            longest: 3.0,
        },
    };
    let gradients =
        LossGradients { queries: dq.view_mut(), columns: dc.view_mut(), shares: &mut [0.0; ROWS] };
    Softmax::new(LossConfig::reference()).forward_backward(input, gradients, &kernel::gemm);
    [dq, dc]
}

/// Relative distance from the gradients of the softmax over all products.
fn distance([dq, dc]: [Array2<f32>; 2]) -> f64 {
    let [fq, fc] = gradient(&[1.0; PRODUCTS], |_| 0.0);
    let squares = |a: &Array2<f32>| f64::from(a.iter().map(|x| x * x).sum::<f32>());
    ((squares(&(dq - &fq)) + squares(&(dc - &fc))) / (squares(&fq) + squares(&fc))).sqrt()
}

/// How often each product is among `batch` products drawn by their shares and `uniform` drawn uniformly.
fn sample(batch: usize, uniform: usize) -> Vec<f32> {
    let (mut copies, mut random) = (vec![0f32; PRODUCTS], of_step(4, 1, 0));
    for _ in 0..batch {
        let mut u = below(&mut random, 1 << 40) as f64 / (1u64 << 40) as f64;
        let drawn = (0..PRODUCTS).find(|&p| {
            u -= share(p);
            u < 0.0
        });
        copies[drawn.unwrap_or(0)] += 1.0;
    }
    let mut draws = UniformDraws::default();
    draws.draw(4, 1, uniform, PRODUCTS);
    draws.products.iter().for_each(|&p| copies[p as usize] += 1.0);
    copies
}

fn mixture(batch: usize, uniform: usize) -> impl Fn(usize) -> f64 {
    move |p| mixed_probability(batch as f64 * share(p), batch, uniform, PRODUCTS).ln()
}

/// Fixed seeds. The error falls with the root of the number of draws: 16 and 25 times as many, 4 and 5 times as close.
#[test]
fn mixed_samples_corrected_by_the_mixture_approach_the_full_softmax() {
    let errors = [500, 8_000, 200_000].map(|n| distance(gradient(&sample(n, n), mixture(n, n))));
    assert!(errors[0] < 0.2 && errors[1] < 0.05 && errors[2] < 0.01, "{errors:?}");
}

#[test]
fn batches_corrected_by_their_shares_approach_the_full_softmax() {
    let errors = [2_000, 200_000].map(|n| distance(gradient(&sample(n, 0), |p| share(p).ln())));
    assert!(errors[0] < 0.2 && errors[1] < 0.02, "{errors:?}");
}

/// No other correction does: these keep their distance however many the draws.
#[test]
fn other_corrections_do_not() {
    const N: usize = 200_000;
    let mixed = sample(N, N);
    for wrong in [
        distance(gradient(&mixed, |_| 0.0)),
        distance(gradient(&mixed, |p| share(p).ln())),
        distance(gradient(&sample(N, 0), mixture(N, N))),
    ] {
        assert!(wrong > 0.05, "{wrong}");
    }
}
