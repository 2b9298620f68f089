//! The dense layers of a tower as a step computes them.
//!
//! Layers without an activation between them are one linear map, `x W1 W2 W3 + b`: forward and backward run through the
//! product, and the gradients of the layers follow from that of the product, which is exact but for rounding. With
//! P = W1 … W(l-1), c = what the layers below make of x = 0, and R = W(l+1) … WL: `dWl = P^T dW R^T + c^T (db R^T)` and
//! `dbl = db R^T`.

use super::clock::Clock;
use ndarray::{Array1, Array2, ArrayView2};
use recs_core::model::{Activation, Dense, TowerConfig, TowerWeights};

/// Layers, folded where they may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Folded {
    /// None when the tower has none.
    pub(super) layers: Vec<Dense>,
    /// Kernels of the second layer and those behind it, turned, as the way back multiplies by them. `[out, in]`
    turned: Vec<Array2<f32>>,
    /// R of each layer of the tower, when they are folded. `[out, dim]`
    rest: Vec<Array2<f32>>,
}

impl Folded {
    /// The layers as they are now; `drops`: something happens between them that is no linear map of all rows.
    pub(super) fn refresh(
        &mut self,
        config: &TowerConfig,
        drops: bool,
        weights: &TowerWeights,
        clock: &Clock,
    ) {
        let is_linear = config.activation == Activation::Linear && !drops;
        match weights.dense.as_slice() {
            layers if layers.len() > 1 && is_linear => self.fold(layers, clock),
            layers => layers.clone_into(&mut self.layers),
        }
        let behind = self.layers.iter().skip(1);
        self.turned = behind.map(|layer| layer.kernel.t().as_standard_layout().into_owned()).collect();
    }

    /// A layer's kernel, turned. `[out, in]`
    pub(super) fn turned(&self, layer: usize) -> ArrayView2<'_, f32> {
        match layer.checked_sub(1) {
            Some(at) => self.turned[at].view(),
            None => self.layers[layer].kernel.t(),
        }
    }

    fn fold(&mut self, layers: &[Dense], clock: &Clock) {
        let dim = layers.last().map_or(0, |l| l.bias.len());
        let (mut rest, mut bias) = (vec![Array2::eye(dim)], Array1::zeros(dim));
        for layer in layers.iter().rev() {
            let behind = &rest[rest.len() - 1];
            bias = bias + layer.bias.dot(behind);
            let mut through = Array2::zeros((layer.kernel.nrows(), dim));
            clock.gemm(1.0, layer.kernel.view(), behind.view(), 0.0, through.view_mut());
            rest.push(through);
        }
        let kernel = rest.pop().unwrap_or_default();
        rest.reverse();
        self.rest = rest;
        self.layers = vec![Dense { kernel, bias }];
    }

    /// Gradients of the tower's own layers, from those of the folded ones.
    pub(super) fn unfold(&self, weights: &TowerWeights, folded: Vec<Dense>, clock: &Clock) -> Vec<Dense> {
        if folded.len() == weights.dense.len() {
            return folded;
        }
        let Some(Dense { kernel: mut below, bias }) = folded.into_iter().next() else { return Vec::new() };
        // `below` is P^T dW, `constant` is c.
        let (mut constant, mut gradients) = (Array1::<f32>::zeros(below.nrows()), Vec::new());
        for (i, (layer, rest)) in weights.dense.iter().zip(&self.rest).enumerate() {
            let d_bias = rest.dot(&bias);
            let mut d_kernel = Array2::zeros(layer.kernel.raw_dim());
            clock.gemm(1.0, below.view(), rest.t(), 0.0, d_kernel.view_mut());
            if i > 0 {
                let (c, d) = (
                    constant.view().insert_axis(ndarray::Axis(1)),
                    d_bias.view().insert_axis(ndarray::Axis(0)),
                );
                d_kernel += &c.dot(&d);
            }
            constant = constant.dot(&layer.kernel) + &layer.bias;
            let mut next = Array2::zeros((layer.kernel.ncols(), below.ncols()));
            clock.gemm(1.0, layer.kernel.t(), below.view(), 0.0, next.view_mut());
            below = next;
            gradients.push(Dense { kernel: d_kernel, bias: d_bias });
        }
        gradients
    }
}
