//! Where the arithmetic of a step happens.
//!
//! | folder | what |
//! |---|---|
//! | `cpu/` | [`CpuBackend`]: rayon threads and SIMD |
//! | `state.rs` | [`State`]: what a checkpoint keeps |

pub mod cpu;
mod state;

pub use cpu::CpuBackend;
pub(crate) use cpu::check_settings;
pub use state::State;

use crate::error::Result;
use crate::loss::Targets;
use recs_core::model::{Histories, Weights};
use serde::{Deserialize, Serialize};

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CpuBackend {}
}

/// What one step is made of.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Rows of the data whose query features are read: the queries. `[n]`
    pub rows: &'a [u32],
    /// What each query's customer bought before, for a model that looks at it.
    pub histories: Option<&'a Histories>,
    /// What each query is to score high, as positions in the catalogue; None: the product of its row.
    pub targets: Option<Targets<'a>>,
}

impl<'a> Batch<'a> {
    /// Rows, each with its own product.
    pub fn rows(rows: &'a [u32]) -> Self {
        Self { rows, histories: None, targets: None }
    }
}

/// Executes training steps on one device. Sealed: backends live in this crate.
///
/// A backend owns weights and optimiser state from its making to its end. What [`Backend::step`] refuses, it refuses before
/// it changes anything: the next step goes on as if there had been none. Rows of tables may wait for the decay of steps that
/// did not read them, and are brought up to date by whoever reads them. Steps of equal backends on equal batches give equal
/// bits.
pub trait Backend: sealed::Sealed + Send {
    /// One optimiser step.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the batch has no rows or does not belong to the data or the model, or the
    /// learning rate is not finite, below 0, or 1 / weight decay or more.
    fn step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<StepLoss>;

    /// A copy of the weights as they are now.
    fn weights(&mut self) -> Weights;

    /// Everything that the next step depends on, between two steps. A backend that gets the state of another one goes on as
    /// that one would have: what else a step needs follows from the batch and the number of the step.
    fn state(&mut self) -> State<'_>;
}

/// Loss of one step, before its update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepLoss {
    /// The configured loss, summed or averaged.
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
