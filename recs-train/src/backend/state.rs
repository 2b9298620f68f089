//! What a checkpoint keeps of a backend.

use crate::checkpoint::{Tensor, Values};
use crate::optim::Step;

/// Everything of a backend that the next step depends on, in place: a checkpoint is written from it, and read into it.
#[derive(Debug)]
pub struct State<'a> {
    /// Weights and states of optimisers.
    pub(crate) tensors: Vec<Tensor<'a>>,
    /// The steps that the tensors follow, by name.
    pub(crate) steps: [(&'static str, &'a mut Step); 2],
    /// False when what the loss remembers is beyond its rooms.
    pub(crate) loss_fits: bool,
}

impl<'a> State<'a> {
    /// Room for a checkpoint whose tensors `rows` knows the first extents of; false when it is none of such a backend.
    pub(crate) fn make_room(&mut self, rows: impl Fn(&str) -> usize) -> bool {
        self.steps.iter_mut().all(|(name, step)| step.make_room(rows(&format!("{name}.rates"))))
    }

    /// All tensors.
    pub(crate) fn into_tensors(self) -> Vec<Tensor<'a>> {
        let mut tensors = self.tensors;
        for (name, step) in self.steps {
            tensors.extend(step.tensors(name));
        }
        tensors
    }

    /// False when the numbers that were read contradict each other, so that a step could not work with them.
    pub(crate) fn is_consistent(&self) -> bool {
        let [Some(a), Some(b)] = [self.steps[0].1.waiting(), self.steps[1].1.waiting()] else { return false };
        let is_step = |tensor: &&Tensor<'_>| tensor.name.ends_with(".last");
        // Steps that remember nothing have no rows that wait.
        let waiting = *a.start().max(b.start())..=*a.end();
        let fits = |values: &Values<'_>| match values {
            Values::U32(last) => last.iter().all(|step| waiting.contains(step)),
            Values::F32(_) | Values::F64(_) => true,
        };
        self.loss_fits
            && a.end() == b.end()
            && self.tensors.iter().filter(is_step).all(|tensor| fits(&tensor.values))
    }
}
