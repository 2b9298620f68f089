//! One tower over one run of rows: forward with activations kept, and backward.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};
use recs_core::kernel::gemm;
use recs_core::model::{Activation, Dense, TowerConfig, TowerWeights, activate, l2_normalise};

/// Activations of a run of rows, and after the backward pass the gradients.
#[derive(Debug, Clone, Default)]
pub(super) struct TowerPass {
    /// Input of every layer; the first is the concatenated features. `[rows, in]`
    inputs: Vec<Array2<f32>>,
    /// Output, normalised when the tower says so. `[rows, dim]`
    pub(super) output: Array2<f32>,
    inverse_norms: Vec<f32>,
    /// Gradient of the concatenated features. `[rows, width]`
    pub(super) d_features: Array2<f32>,
    /// Gradients of the dense layers, summed over the run.
    pub(super) d_dense: Vec<Dense>,
}

impl TowerPass {
    /// Runs the layers over gathered features `[rows, width]`.
    pub(super) fn forward(config: &TowerConfig, weights: &TowerWeights, features: Array2<f32>) -> Self {
        let mut pass = Self { inputs: vec![features], ..Self::default() };
        for (i, layer) in weights.dense.iter().enumerate() {
            let input = &pass.inputs[i];
            let mut y = Array2::zeros((input.nrows(), layer.kernel.ncols()));
            y.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.bias));
            gemm(1.0, input.view(), layer.kernel.view(), 1.0, y.view_mut());
            if i + 1 < weights.dense.len() {
                activate(config.activation, y.view_mut());
            }
            pass.inputs.push(y);
        }
        pass.output = pass.inputs.pop().unwrap_or_default();
        if weights.dense.is_empty() {
            pass.inputs.push(pass.output.clone());
        }
        if config.l2_normalise {
            pass.inverse_norms = l2_normalise(pass.output.view_mut());
        }
        pass
    }

    /// Carries the gradient of the output back to weights and features.
    pub(super) fn backward(
        &mut self,
        config: &TowerConfig,
        weights: &TowerWeights,
        d_output: &ArrayView2<'_, f32>,
    ) {
        let mut d = d_output.to_owned();
        if config.l2_normalise {
            self.through_normalisation(&mut d);
        }
        self.d_dense.clear();
        for (i, layer) in weights.dense.iter().enumerate().rev() {
            let input = &self.inputs[i];
            let mut kernel = Array2::zeros(layer.kernel.raw_dim());
            gemm(1.0, input.t(), d.view(), 0.0, kernel.view_mut());
            let bias: Array1<f32> = d.sum_axis(Axis(0));
            let mut below = Array2::zeros(input.raw_dim());
            gemm(1.0, d.view(), layer.kernel.t(), 0.0, below.view_mut());
            if i > 0 && config.activation == Activation::Relu {
                Zip::from(&mut below).and(input).for_each(|d, &x| {
                    if x <= 0.0 {
                        *d = 0.0;
                    }
                });
            }
            self.d_dense.push(Dense { kernel, bias });
            d = below;
        }
        self.d_dense.reverse();
        self.d_features = d;
    }

    /// y = x / |x|: dx = (dy - y (y . dy)) / |x|.
    fn through_normalisation(&self, d: &mut Array2<f32>) {
        for ((mut d, y), inverse) in d.rows_mut().into_iter().zip(self.output.rows()).zip(&self.inverse_norms)
        {
            let along = d.dot(&y);
            Zip::from(&mut d).and(&y).for_each(|d, &y| *d = (*d - y * along) * inverse);
        }
    }
}
