//! Linear warm-up.

/// Factor of the learning rate at step `t`, from 1: rises from 1 / steps to 1, then stays.
pub fn warm_up(steps: u64, t: u64) -> f32 {
    if t >= steps { 1.0 } else { t as f32 / steps as f32 }
}
