//! `recs config`.

use crate::output::Report;
use crate::schema::config_schema;
use serde_json::Value;

/// `recs config schema`.
pub(super) fn schema() -> Report {
    let mut report = Report::default();
    let schema = config_schema();
    report.line(format!("{schema:#}"));
    if let Value::Object(entries) = schema {
        entries.into_iter().for_each(|(key, value)| report.set(&key, value));
    }
    report
}
