//! Successive halving: many trials are trained for few epochs, the best of them for more, the best of those for all.
//!
//! It is the inner loop of Hyperband (Li et al. 2018, <https://arxiv.org/abs/1603.06560>), after Jamieson and Talwalkar
//! 2016, <https://arxiv.org/abs/1502.07943>. The epochs of the last rung are those of the settings, R; each rung before has
//! 1/eta of them, rounded down, and none has fewer than `shortest`. Of n trials in a rung the best n / eta, rounded down, go
//! on. Every rung trains anew, with a schedule of its own: a rate that falls to 0 falls within the rung's epochs, so each rung
//! compares models whose training is finished, and the numbers of the last are those of a training with the chosen settings.
//! Training on where the rung before stopped would cost at most R / eta + R / eta² + … epochs less for each trial of the last
//! rung, and would compare models in the middle of their schedule.

use super::config::SearchAlgorithm;
use super::trial::Trial;
use crate::error::{Error, Result};

/// Trials that are trained for equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) trials: u64,
    /// None: those of each trial's own settings.
    pub(super) epochs: Option<usize>,
}

impl SearchAlgorithm {
    /// The rungs of a search whose longest training has `longest` epochs, in their order.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(super) fn rungs(&self, longest: usize) -> Result<Vec<Rung>> {
        let refuse =
            |field: &str, reason: String| Err(Error::config(format!("search.algorithm.{field}"), reason));
        let (trials, eta, shortest) = match self {
            Self::Random { trials } => (*trials, 0, 0),
            Self::Halving { trials, eta, shortest } => (*trials, *eta, *shortest),
            Self::Listed { trials } => (trials.len() as u64 + 1, 0, 0),
        };
        if !(2..=1_000_000).contains(&trials) {
            return refuse(
                "trials",
                format!("are {trials} with the settings as they are, allowed are 2 to 1,000,000"),
            );
        }
        if !matches!(self, Self::Halving { .. }) {
            return Ok(vec![Rung { trials, epochs: None }]);
        }
        if eta < 2 {
            return refuse("eta", format!("is {eta}, must be at least 2"));
        }
        if shortest == 0 || shortest > longest {
            return refuse("shortest", format!("is {shortest}, allowed are 1 to train.epochs, {longest}"));
        }
        let shorter = |&epochs: &usize| (epochs / eta >= shortest).then_some(epochs / eta);
        let epochs: Vec<usize> = std::iter::successors(Some(longest), shorter).collect();
        let fewer = |&trials: &u64| Some(trials / eta as u64);
        let counts: Vec<u64> = std::iter::successors(Some(trials), fewer).take(epochs.len()).collect();
        if counts.last().is_none_or(|&last| last == 0) {
            let rungs = epochs.len();
            let least = (1..rungs).fold(1, |n: usize, _| n.saturating_mul(eta));
            let reason = format!(
                "is {trials}: {rungs} rungs need at least {least} for one to reach the last; or raise shortest"
            );
            return refuse("trials", reason);
        }
        let rung = |(&trials, &epochs)| Rung { trials, epochs: Some(epochs) };
        Ok(counts.iter().zip(epochs.iter().rev()).map(rung).collect())
    }
}

/// Numbers of the best `n` trials of a rung, ascending; of equally good ones the earlier. Failed ones never go on.
pub(super) fn promoted(rung: &[Trial], n: u64) -> Vec<u64> {
    let mut good: Vec<(f64, u64)> = rung.iter().filter_map(|t| Some((t.score?, t.number))).collect();
    good.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut numbers: Vec<u64> = good.into_iter().map(|(_, number)| number).collect();
    numbers.truncate(usize::try_from(n).unwrap_or(usize::MAX));
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn halving(trials: u64, eta: usize, shortest: usize) -> SearchAlgorithm {
        SearchAlgorithm::Halving { trials, eta, shortest }
    }

    fn pairs(rungs: &[Rung]) -> Vec<(u64, usize)> {
        rungs.iter().map(|r| (r.trials, r.epochs.unwrap())).collect()
    }

    #[test]
    fn budgets_are_those_of_the_paper() {
        // Hyperband's table for R = 81 and eta = 3, bracket s = 4.
        let rungs = halving(81, 3, 1).rungs(81).unwrap();
        assert_eq!(pairs(&rungs), [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]);
        assert_eq!(pairs(&halving(20, 3, 3).rungs(30).unwrap()), [(20, 3), (6, 10), (2, 30)]);
        assert_eq!(pairs(&halving(4, 2, 30).rungs(30).unwrap()), [(4, 30)]);
        let random = SearchAlgorithm::Random { trials: 5 }.rungs(30).unwrap();
        assert_eq!(random, [Rung { trials: 5, epochs: None }]);
    }

    #[test]
    fn what_leaves_no_trial_for_the_end_is_refused() {
        let cases = [
            ("trials", halving(8, 3, 3).rungs(30)),
            ("eta", halving(9, 1, 3).rungs(30)),
            ("shortest", halving(9, 3, 31).rungs(30)),
            ("shortest", halving(9, 3, 0).rungs(30)),
            ("trials", SearchAlgorithm::Random { trials: 1 }.rungs(30)),
        ];
        for (field, refused) in cases {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(&format!("search.algorithm.{field}")), "{message}");
        }
    }

    #[test]
    fn the_best_go_on_and_failed_ones_never() {
        let scores = [Some(0.2), None, Some(0.5), Some(0.2), Some(0.1), None];
        let trial = |(number, score)| Trial { number, score, ..Trial::default() };
        let rung: Vec<Trial> = (0..).zip(scores).map(trial).collect();
        assert_eq!(promoted(&rung, 1), [2]);
        assert_eq!(promoted(&rung, 2), [0, 2], "of equals the earlier");
        assert_eq!(promoted(&rung, 9), [0, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn rungs_get_longer_and_smaller(trials in 2u64..10_000, eta in 2usize..6, shortest in 1usize..50, longest in 1usize..500) {
            let Ok(rungs) = halving(trials, eta, shortest).rungs(longest) else { return Ok(()) };
            let rungs = pairs(&rungs);
            prop_assert_eq!((rungs[0].0, rungs[rungs.len() - 1].1), (trials, longest));
            prop_assert!(rungs[0].1 >= shortest && rungs[0].1 / eta < shortest);
            for pair in rungs.windows(2) {
                prop_assert_eq!((pair[1].0, pair[0].1), (pair[0].0 / eta as u64, pair[1].1 / eta));
            }
        }
    }
}
