//! Observers that keep what they hear: [`JsonLines`] in a file, `mlflow` in a server. Several listen at once through
//! [`recs_core::observe::Tee`].

mod jsonl;
#[cfg(feature = "mlflow")]
pub mod mlflow;

pub use jsonl::JsonLines;

/// The text that stands for a number that JSON does not have, as protobuf's JSON writes it; None for any other.
fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_finite() => None,
        v if v.is_nan() => Some("NaN"),
        v if v > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}
