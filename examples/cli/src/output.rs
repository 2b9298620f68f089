//! What a command prints.

use crate::error::Error;
use serde_json::{Value, json};
use std::io::Write;

/// What a command did: lines for people, an object for programs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    json: serde_json::Map<String, Value>,
}

impl Report {
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    pub(crate) fn json(&self) -> Value {
        Value::Object(self.json.clone())
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.into(), value.into());
    }
}

/// Prints a report and gives the exit code. A closed pipe is no failure of the command.
pub(crate) fn succeed(report: &Report, json: bool) -> u8 {
    let mut out = std::io::stdout().lock();
    for line in &report.lines {
        let _ = writeln!(out, "{line}");
    }
    if json {
        let _ = writeln!(out, "{}", report.json());
    }
    let _ = out.flush();
    0
}

/// Prints an error and gives the exit code.
pub(crate) fn fail(error: &Error, json: bool) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    if json {
        let _ = writeln!(std::io::stdout(), "{}", json!({"error": error.to_string()}));
    }
    1
}

/// A share as percent, or a dash when it was not computed.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |s| format!("{:.2} %", 100.0 * s))
}
