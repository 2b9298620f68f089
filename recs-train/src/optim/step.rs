//! What all tensors of one optimiser step share.

use super::Algorithm;
use super::decay::Decay;

/// One optimiser step: its number, its rate, and what rows that were not seen have missed.
#[derive(Debug, Clone)]
pub struct Step {
    /// Number of the step, from 1.
    pub t: u32,
    /// Learning rate.
    pub learning_rate: f32,
    /// The last step that is over for every tensor.
    pub(super) done: u32,
    pub(super) decay: Option<Decay>,
}

impl Step {
    /// Before the first step of tensors that follow `algorithm`.
    pub fn start(algorithm: &Algorithm) -> Self {
        Self { t: 0, learning_rate: 0.0, done: 0, decay: algorithm.decay() }
    }

    /// Opens the next step.
    pub fn open(&mut self, learning_rate: f32) {
        (self.t, self.learning_rate) = (self.done + 1, learning_rate);
        if let Some(decay) = &mut self.decay {
            decay.open(self.t, learning_rate);
        }
    }

    /// The step is over for every tensor: rows last seen before it have missed it.
    pub fn close(&mut self) {
        self.done = self.t;
        if let Some(decay) = &mut self.decay {
            decay.close(self.t);
        }
    }

    /// True when rows that wait for their decay should be brought up to date soon, so that the memory of past steps stays
    /// small.
    pub fn wants_settling(&self) -> bool {
        self.decay.as_ref().is_some_and(Decay::is_long)
    }

    /// Forgets past steps: between two steps, once every row of every tensor was brought up to date.
    pub fn settled(&mut self) {
        if let Some(decay) = &mut self.decay {
            decay.forget(self.done);
        }
    }
}
