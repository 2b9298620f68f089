//! The way back through the layers of a tower.

use super::clock::Clock;
use super::matrix::Matrix;
use super::pass::{Pass, Through};
use pulp::Arch;
use recs_core::model::{Dense, l2_normalise_gradient};

/// What the forward pass left of each row of a gradient.
pub(super) struct Trace<N, L> {
    /// The embedding of a row by its length, and what it was multiplied by for that.
    pub(super) normalised: N,
    /// A row of a level, or its slopes.
    pub(super) of_level: L,
}

/// Carries `d` from the embeddings back to what the first level was made of, with `below` as a second room; `at_layer` sees
/// the gradient of each layer's output.
pub(super) fn walk_back<'a>(
    pass: Pass<'_>,
    [d, below]: [&mut Matrix; 2],
    Trace { normalised, of_level }: Trace<
        impl Fn(usize) -> (&'a [f32], f32),
        impl Fn(Through, usize, usize) -> &'a [f32],
    >,
    mut at_layer: impl FnMut(usize, &Matrix),
    clock: &Clock,
) {
    if pass.config.l2_normalise {
        through_normalisation(d, normalised);
    }
    let layers = &pass.folded.layers;
    for (i, layer) in layers.iter().enumerate().rev() {
        at_layer(i, d);
        let Some(level) = pass.below(i) else { continue };
        carry(layer, d, below, clock);
        std::mem::swap(d, below);
        back(pass.through(level), d, |row| of_level(pass.through(level), level, row));
    }
    if layers.is_empty() {
        back(pass.through(0), d, |row| of_level(pass.through(0), 0, row));
    }
}

/// Gradient of rows from that of the same by their length; `of` gives each row by its length, and 1 / length.
fn through_normalisation<'a>(d: &mut Matrix, of: impl Fn(usize) -> (&'a [f32], f32)) {
    for i in 0..d.rows() {
        let (y, inverse) = of(i);
        l2_normalise_gradient(d.row_mut(i), y, inverse);
    }
}

/// Gradient of a layer's input from that of its output.
fn carry(layer: &Dense, d: &Matrix, below: &mut Matrix, clock: &Clock) {
    below.reshape(d.rows(), layer.kernel.nrows());
    clock.gemm(1.0, d.view(), layer.kernel.t(), 0.0, below.view_mut());
}

/// Gradient of what a level was made of from that of the level; `of` gives each row of the level, or its slopes.
fn back<'a>(through: Through, d: &mut Matrix, of: impl Fn(usize) -> &'a [f32]) {
    let arch = Arch::new();
    match through {
        Through::Nothing => {}
        Through::Sign => arch.dispatch(
            #[inline(always)]
            || {
                for i in 0..d.rows() {
                    let pairs = d.row_mut(i).iter_mut().zip(of(i));
                    pairs.for_each(|(d, &x)| *d = if x > 0.0 { *d } else { 0.0 });
                }
            },
        ),
        Through::Slopes => arch.dispatch(
            #[inline(always)]
            || {
                for i in 0..d.rows() {
                    d.row_mut(i).iter_mut().zip(of(i)).for_each(|(d, slope)| *d *= slope);
                }
            },
        ),
    }
}
