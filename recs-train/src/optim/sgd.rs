//! Stochastic gradient descent: `w -= learning_rate * g`.

use super::{Optimiser, Step};

/// Has no state.
#[derive(Debug, Clone)]
pub struct Sgd {
    dim: usize,
}

impl Sgd {
    /// For a tensor whose rows have `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Optimiser for Sgd {
    fn update(&mut self, weights: &mut [f32], rows: &[u32], gradient: &[f32], factor: f32, step: &Step) {
        let scale = step.learning_rate * factor;
        for (&row, g) in rows.iter().zip(gradient.chunks_exact(self.dim.max(1))) {
            let w = &mut weights[row as usize * self.dim..(row as usize + 1) * self.dim];
            w.iter_mut().zip(g).for_each(|(w, g)| *w -= scale * g);
        }
    }

    fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]) {
        (Vec::new(), &mut [])
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    #[test]
    fn moves_the_rows_seen_against_their_gradient() {
        let (mut sgd, mut w) = (Sgd::new(2), vec![1.0f32; 4]);
        let mut step = Step::start(&Algorithm::Sgd);
        step.open(0.5);
        sgd.update(&mut w, &[1], &[2.0, -4.0], 0.5, &step);
        assert_eq!(w, [1.0, 1.0, 0.5, 2.0]);
    }
}
