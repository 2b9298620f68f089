//! `events.jsonl`: warnings and the seconds of stages, as an artifact of the run.

use super::entry::now_ms;
use recs_core::observe::Event;
use serde_json::json;

/// Longest document; what comes then is counted in its last line.
const MAX_BYTES: usize = 1 << 20;

/// One JSON object a line: `{"time": …, "stage": …, "warning": …}` or `{"time": …, "stage": …, "seconds": …}`; time in
/// Unix milliseconds. Last, when there was more than a megabyte, `{"left_out": …}`.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    text: String,
    left_out: u64,
}

impl EventLog {
    /// Keeps warnings and ends of stages.
    pub(super) fn push(&mut self, event: &Event) {
        let line = match event {
            Event::Warning { stage, message } => {
                json!({"time": now_ms(), "stage": stage, "warning": message}).to_string()
            }
            Event::Finished { stage, seconds } => {
                json!({"time": now_ms(), "stage": stage, "seconds": seconds}).to_string()
            }
            _ => return,
        };
        if self.text.len() + line.len() > MAX_BYTES {
            self.left_out += 1;
            return;
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// The document; None when nothing happened.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.left_out > 0 {
            self.text.push_str(&json!({"left_out": self.left_out}).to_string());
            self.text.push('\n');
        }
        (!self.text.is_empty()).then_some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut log = EventLog::default();
        log.push(&Event::Progress { stage: "train", done: 1 });
        for _ in 0..3000 {
            log.push(&Event::Warning { stage: "train", message: "x".repeat(500) });
        }
        let text = log.finish().unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["left_out"].as_u64().unwrap(), 3001 - text.lines().count() as u64);
        assert!(EventLog::default().finish().is_none());
    }
}
