//! What customers bought after the training rows: by these purchases a version is judged before it serves.

/// Name of the file of [`Probe`]s.
pub const PROBE_FILE: &str = "probe.parquet";
/// Most customers of a probe set.
pub const MAX_PROBES: usize = 1024;

/// A customer of the test rows, and what was bought there: whoever recommends well names these products.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Probe {
    /// Customer id as text.
    pub customer_id: String,
    /// Where the first of these purchases was made; empty text where unknown.
    pub city: String,
    /// When, in Unix seconds.
    pub timestamp: i64,
    /// Each product once, as text.
    pub product_ids: Vec<String>,
}
