//! Sums of rows, for loops that are compiled for the CPU's vectors as a whole (`pulp::Arch::dispatch`).

/// Adds `x` to `y`, number by number, as far as both reach.
#[inline(always)]
pub fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Adds `factor * x` to `y`, number by number, as far as both reach.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}
