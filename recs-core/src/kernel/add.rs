//! Sums of rows, for loops that are compiled for the CPU's vectors as a whole (`pulp::Arch::dispatch`).

/// Adds `x` to `y`, number by number, as far as both reach.
#[inline(always)]
pub fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Numbers that [`sum_rows`] keeps in registers.
const BLOCK: usize = 64;

/// Makes `y` the sum of `rows`, as far as it reaches: their numbers are read once, those of `y` written once.
///
/// # Panics
/// When a row is shorter than `y`.
#[inline(always)]
pub fn sum_rows(y: &mut [f32], rows: &[&[f32]]) {
    let len = y.len();
    let (blocks, rest) = y.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (i, y) in blocks.iter_mut().enumerate() {
        let mut sum = [0.0; BLOCK];
        for row in rows {
            add(&mut sum, &row[i * BLOCK..(i + 1) * BLOCK]);
        }
        *y = sum;
    }
    rest.fill(0.0);
    rows.iter().for_each(|row| add(rest, &row[done..len]));
}

/// Adds `factor * x` to `y`, number by number, as far as both reach.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_rows_are_those_of_their_numbers() {
        for width in [0, 1, 63, 64, 65, 128, 200] {
            let rows: Vec<Vec<f32>> =
                (0..5).map(|row| (0..width + row).map(|i| (row * 1000 + i) as f32).collect()).collect();
            for n in 0..=rows.len() {
                let mut sum = vec![f32::NAN; width];
                sum_rows(&mut sum, &rows[..n].iter().map(Vec::as_slice).collect::<Vec<_>>());
                let expected: Vec<f32> =
                    (0..width).map(|i| rows[..n].iter().map(|row| row[i]).sum()).collect();
                assert_eq!(sum, expected);
            }
        }
    }
}
