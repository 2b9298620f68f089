//! Which loss a thread computes.

use super::{Bpr, Gemm, LossConfig, LossGradients, LossInput, ObjectiveConfig, Softmax};

/// A loss, with buffers for one thread.
#[derive(Debug, Clone)]
pub enum Objective {
    /// Over the columns.
    Softmax(Softmax),
    /// Of pairs.
    Bpr(Bpr),
}

impl Objective {
    /// The configured loss with empty buffers.
    pub fn new(config: LossConfig) -> Self {
        match config.objective {
            ObjectiveConfig::Softmax => Self::Softmax(Softmax::new(config)),
            ObjectiveConfig::Bpr(bpr) => Self::Bpr(Bpr::new(bpr, config.temperature)),
        }
    }

    /// Dot products are divided by this from now on.
    pub fn set_temperature(&mut self, temperature: f32) {
        match self {
            Self::Softmax(softmax) => softmax.set_temperature(temperature),
            Self::Bpr(bpr) => bpr.set_temperature(temperature),
        }
    }

    /// [`Softmax::forward_backward`] or [`Bpr::forward_backward`].
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn forward_backward(
        &mut self,
        input: LossInput<'_, '_>,
        gradients: LossGradients<'_>,
        gemm: &Gemm<'_>,
    ) -> f64 {
        match self {
            Self::Softmax(softmax) => softmax.forward_backward(input, gradients, gemm),
            Self::Bpr(bpr) => bpr.forward_backward(input, gradients, gemm),
        }
    }
}
