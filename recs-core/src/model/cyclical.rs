//! Where a moment stands in the week, the year and the month.

use crate::schema::CYCLICAL_WIDTH;

/// Sine and cosine of four phases of a Unix timestamp, every step in float32 as TensorFlow computes it.
///
/// With days = ts / 86400 (ts rounded to f32 first) and floor modulo: `((days + 3) mod 7) / 7`,
/// `(days / 7 mod 52) / 52`, `(days mod 30.44) / 30.44`, `(days / 30.44 mod 12) / 12`.
pub fn cyclical(timestamp: i64) -> [f32; CYCLICAL_WIDTH] {
    let days = timestamp as f32 / 86400.0;
    let phases = [
        floor_mod(days + 3.0, 7.0) / 7.0,
        floor_mod(days / 7.0, 52.0) / 52.0,
        floor_mod(days, 30.44) / 30.44,
        floor_mod(days / 30.44, 12.0) / 12.0,
    ];
    let mut out = [0.0; CYCLICAL_WIDTH];
    for (pair, phase) in out.chunks_exact_mut(2).zip(phases) {
        let angle = std::f32::consts::TAU * phase;
        (pair[0], pair[1]) = (angle.sin(), angle.cos());
    }
    out
}

/// TensorFlow's FloorMod: the remainder with the sign of the divisor.
fn floor_mod(x: f32, y: f32) -> f32 {
    let remainder = x % y;
    if remainder != 0.0 && (remainder < 0.0) != (y < 0.0) { remainder + y } else { remainder }
}
