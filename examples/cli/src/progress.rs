//! Progress bars with rows a second and time left, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use recs_core::observe::{Event, Observer};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Shows a job's progress on standard error when that is a terminal; warnings and epochs are printed either way.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
}

const WITH_TOTAL: &str = "{msg:>10} {wide_bar} {human_pos}/{human_len} {unit}  {per_sec}  {eta}";
const WITHOUT_TOTAL: &str = "{msg:>10} {spinner} {human_pos} {unit}  {elapsed}";

impl Terminal {
    fn start(&self, stage: &'static str, total: Option<u64>, unit: &'static str) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), WITH_TOTAL),
            None => (ProgressBar::new_spinner(), WITHOUT_TOTAL),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(&template.replace("{unit}", unit)) {
            bar.set_style(style);
        }
        bar.set_message(stage);
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn print(&self, line: &str) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match bar.as_ref() {
            Some(bar) => bar.suspend(|| drop(writeln!(std::io::stderr(), "{line}"))),
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }
}

impl Observer for Terminal {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Started { stage, total, unit } => self.start(stage, *total, unit),
            Event::Progress { done, .. } => {
                if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                    bar.set_position(*done);
                }
            }
            Event::Finished { .. } => {
                if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    bar.finish_and_clear();
                }
            }
            Event::Metric { name, step, value } if name == "validation_recall_at_100" => {
                self.print(&format!("epoch {step}: validation Recall@100 {value:.4}"));
            }
            Event::Trial { number, rung, score, seconds, error, .. } => {
                let score =
                    score.map(|score| format!("{score:.4}")).or_else(|| error.clone()).unwrap_or_default();
                self.print(&format!("trial {number}, rung {rung}: {score} ({seconds:.1} s)"));
            }
            Event::Warning { stage, message } => self.print(&format!("warning: {stage}: {message}")),
            _ => {}
        }
    }
}
