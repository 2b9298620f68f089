//! What all tensors of one optimiser step share.

use super::Algorithm;
use super::decay::Decay;
use crate::checkpoint::{Tensor, Values};
use std::ops::RangeInclusive;

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

    /// Everything that the next step depends on, for a checkpoint between two steps.
    pub(crate) fn tensors(&mut self, name: &str) -> Vec<Tensor<'_>> {
        let mut tensors = self.decay.as_mut().map_or_else(Vec::new, |decay| decay.tensors(name));
        let done = Values::U32(std::slice::from_mut(&mut self.done));
        tensors.push(Tensor::flat(format!("{name}.done"), done));
        tensors
    }

    /// Room for the numbers of a checkpoint that remembers `steps` past steps; false when none does.
    pub(crate) fn make_room(&mut self, steps: usize) -> bool {
        self.decay.as_mut().map_or(steps == 0, |decay| decay.make_room(steps))
    }

    /// Steps that a row may have been seen last in, the latest being the last one of all; None when the numbers that were
    /// read contradict each other.
    pub(crate) fn waiting(&self) -> Option<RangeInclusive<u32>> {
        match &self.decay {
            None => Some(0..=self.done),
            Some(decay) => decay.fits(self.done).then(|| decay.base()..=self.done),
        }
    }

    /// Forgets past steps: between two steps, once every row of every tensor was brought up to date.
    pub fn settled(&mut self) {
        if let Some(decay) = &mut self.decay {
            decay.forget(self.done);
        }
    }
}
