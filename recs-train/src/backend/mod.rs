//! Where the arithmetic of a step happens.
//!
//! | folder | what |
//! |---|---|
//! | `cpu/` | [`CpuBackend`]: rayon threads and SIMD |

pub mod cpu;

pub use cpu::CpuBackend;

use crate::error::Result;
use recs_core::model::Weights;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CpuBackend {}
}

/// Executes training steps on one device. Sealed: backends live in this crate.
///
/// A backend owns weights and optimiser state from its making to its end. [`Backend::step`] is the only thing that
/// changes them; a step either happens as a whole or, when it fails, leaves the backend unusable. Steps of equal
/// backends on equal batches give equal bits.
pub trait Backend: sealed::Sealed + Send {
    /// One optimiser step on the rows of a batch.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the rows do not belong to the data.
    fn step(&mut self, batch: &[u32], learning_rate: f32) -> Result<StepLoss>;

    /// A copy of the weights as they are now.
    fn weights(&mut self) -> Weights;
}

/// Loss of one step, before its update.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepLoss {
    /// In-batch softmax, summed or averaged as configured.
    pub retrieval: f64,
    /// Penalties.
    pub regularisation: f64,
}

impl StepLoss {
    /// What the optimiser minimises.
    pub fn total(&self) -> f64 {
        self.retrieval + self.regularisation
    }
}
