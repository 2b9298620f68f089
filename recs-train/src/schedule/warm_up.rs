//! Linear warm-up.

/// Factor of the learning rate at step `t`, from 1: rises from 1 / steps to 1, then stays.
pub fn warm_up(steps: u64, t: u64) -> f32 {
    if t >= steps { 1.0 } else { t as f32 / steps as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Decay;

    #[test]
    fn rises_in_equal_steps_to_one_and_stays_there() {
        let factors = |steps: u64, last: u64| (1..=last).map(|t| warm_up(steps, t)).collect::<Vec<f32>>();
        assert_eq!(factors(4, 6), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(factors(5, 6), [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]);
        assert_eq!(factors(1, 2), [1.0, 1.0]);
        assert_eq!(
            [warm_up(20, 1), warm_up(20, 19), warm_up(20, 20), warm_up(20, 21)],
            [0.05, 0.95, 1.0, 1.0]
        );
        assert_eq!(warm_up(1 << 40, 1 << 39), 0.5);
    }

    #[test]
    fn without_steps_the_first_one_has_the_whole_rate() {
        assert_eq!([warm_up(0, 0), warm_up(0, 1), warm_up(0, u64::MAX)], [1.0; 3]);
    }

    #[test]
    fn no_step_jumps_and_the_last_one_ends_at_one() {
        for steps in [1, 2, 3, 7, 20, 1000] {
            assert_eq!(warm_up(steps, steps), 1.0);
            for t in 1..steps + 5 {
                let rise = warm_up(steps, t + 1) - warm_up(steps, t);
                let expected = if t < steps { 1.0 / steps as f32 } else { 0.0 };
                assert!((rise - expected).abs() < 1e-6, "step {t} of {steps}: {rise}");
            }
        }
    }

    /// The decay has fallen all the while: behind the warm-up the rate is what it is without one.
    #[test]
    fn meets_the_decay_where_that_has_come_to() {
        // Eight steps, as a run multiplies the two: the decay of a step is that of the steps before it.
        let factor = |t: u64| warm_up(4, t) * Decay::Linear.factor((t - 1) as f64 / 8.0);
        let factors: Vec<f32> = (1..=8).map(factor).collect();
        assert_eq!(factors, [0.25, 0.4375, 0.5625, 0.625, 0.5, 0.375, 0.25, 0.125]);
    }
}
