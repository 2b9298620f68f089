//! Which of the nearest become neighbours: those that no chosen one is nearer to.
//!
//! Algorithm 4 of Malkov and Yashunin, <https://arxiv.org/abs/1603.09320>.

use recs_core::kernel::{dot, dot_rows};

/// The vectors of the chosen ones, end to end.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    rows: Vec<f32>,
    scores: Vec<f32>,
}

/// Chosen ones that a candidate is compared with at once.
const AT_ONCE: usize = 4;

impl Chosen {
    /// Puts at most `most` of `nearest` into `out`: in their order each that is not nearer to one chosen before than to `base`.
    ///
    /// # Shapes
    /// `base` and what `row` gives have one width and one length.
    pub(super) fn select<'v>(
        &mut self,
        base: &[f32],
        nearest: impl Iterator<Item = u32>,
        most: usize,
        row: impl Fn(u32) -> &'v [f32],
        out: &mut Vec<u32>,
    ) {
        out.clear();
        self.rows.clear();
        for node in nearest {
            let vector = row(node);
            if !self.is_nearer_to_one(vector, dot(base, vector)) {
                out.push(node);
                if out.len() >= most {
                    return;
                }
                self.rows.extend_from_slice(vector);
            }
        }
    }

    fn is_nearer_to_one(&mut self, vector: &[f32], score: f32) -> bool {
        self.rows.chunks(AT_ONCE * vector.len()).any(|rows| {
            self.scores.resize(rows.len() / vector.len(), 0.0);
            dot_rows(vector, rows, &mut self.scores);
            self.scores.iter().any(|&other| other > score)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_nearer_to_a_chosen_one_is_left_out() {
        // On a circle, by degrees.
        let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let rows = [at(10.0), at(15.0), at(-20.0), at(-90.0), at(90.0)];
        let (mut chosen, mut out) = (Chosen::default(), Vec::new());
        chosen.select(&at(0.0), 0..5, 16, |i| &rows[i as usize], &mut out);
        assert_eq!(out, [0, 2], "15 is nearer to 10, -90 to -20, 90 to 10");
        chosen.select(&at(0.0), 0..5, 1, |i| &rows[i as usize], &mut out);
        assert_eq!(out, [0]);
    }
}
