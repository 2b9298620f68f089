//! Metrics and warnings as JSON lines.

use super::not_finite;
use recs_core::observe::{Event, Observer};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Writes one JSON object a metric, phase, warning, finished stage and trial: `{"metric": "loss", "step": 1, "value": 7.6}`,
/// `{"phase": "refit", "stage": "train"}`, `{"warning": …, "stage": …}`, `{"stage": …, "seconds": …}`,
/// `{"trial": 3, "rung": 0, "settings": {…}, "score": 0.31, …}`.
/// A value that is not finite is the text `"NaN"`, `"Infinity"` or `"-Infinity"`. A sink that fails is ignored: tracking never
/// stops a run.
#[derive(Debug)]
pub struct JsonLines<W>(Mutex<W>);

impl<W: Write + Send> JsonLines<W> {
    /// Writes into `sink`.
    pub fn new(sink: W) -> Self {
        Self(Mutex::new(sink))
    }

    /// Gives the sink back.
    pub fn into_inner(self) -> W {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> Observer for JsonLines<W> {
    fn on_event(&self, event: &Event) {
        let line = match event {
            Event::Metric { name, step, value } => {
                json!({"metric": name, "step": step, "value": number(*value)})
            }
            Event::Phase { stage, phase } => json!({"phase": phase, "stage": stage}),
            Event::Warning { stage, message } => json!({"warning": message, "stage": stage}),
            Event::Finished { stage, seconds } => json!({"stage": stage, "seconds": seconds}),
            Event::Trial { number, rung, settings, score, seconds, error } => json!({
                "trial": number, "rung": rung, "settings": parsed(settings), "score": score, "seconds": seconds,
                "error": error,
            }),
            _ => return,
        };
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(sink, "{line}").and_then(|()| sink.flush());
    }
}

/// Settings as an object; as text when they are none.
fn parsed(settings: &str) -> Value {
    serde_json::from_str(settings).unwrap_or_else(|_| settings.into())
}

/// JSON has no NaN, and no number that is too large for one.
fn number(value: f64) -> Value {
    not_finite(value).map_or_else(|| value.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_says_which() {
        let lines = JsonLines::new(Vec::new());
        for value in [0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            lines.on_event(&Event::Metric { name: "loss".into(), step: 1, value });
        }
        let text = String::from_utf8(lines.into_inner()).unwrap();
        let values: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].clone()).collect();
        assert_eq!(values, [json!(0.5), json!("NaN"), json!("Infinity"), json!("-Infinity")]);
    }
}
