//! What a job tells, shown on Python's `sys.stderr`: a line that rewrites itself on terminals and in notebooks, plain
//! lines elsewhere.

use crate::errors::RecsWarning;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use recs_core::observe::{Event, Observer};
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Takes events from the job's threads, and keeps them until the waiting thread shows them.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    stage: Option<Stage>,
    loss: Option<f64>,
    lines: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    total: Option<u64>,
    unit: &'static str,
    done: u64,
    started: Instant,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a line with the progress.
    pub(crate) fn say(&self, line: String) {
        self.lock().lines.push(line);
    }
}

impl Observer for Events {
    fn on_event(&self, event: &Event) {
        let mut heard = self.lock();
        match event {
            Event::Started { stage, total, unit } => {
                let started = Instant::now();
                heard.stage = Some(Stage { name: stage, total: *total, unit, done: 0, started });
            }
            Event::Progress { done, .. } => {
                if let Some(stage) = &mut heard.stage {
                    stage.done = *done;
                }
            }
            Event::Finished { .. } => heard.stage = None,
            Event::Metric { name, value, .. } if name == "loss" => heard.loss = Some(*value),
            Event::Metric { name, step, value } if name == "validation_recall_at_100" => {
                let loss = heard.loss.unwrap_or(f64::NAN);
                heard.lines.push(format!("epoch {step}: loss {loss:.4}, validation Recall@100 {value:.4}"));
            }
            Event::Warning { message, .. } => heard.warnings.push(message.clone()),
            _ => {}
        }
    }
}

impl Stage {
    fn line(&self, loss: Option<f64>) -> String {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let (name, unit, done) = (self.name, self.unit, self.done);
        let loss = loss.map(|l| format!("  loss {l:.4}")).unwrap_or_default();
        match self.total.filter(|&total| total > 0 && done > 0) {
            None => format!("{name}: {done} {unit}"),
            Some(total) => {
                let left = total.saturating_sub(done) as f64 / rate.max(1e-3);
                let percent = 100 * done / total;
                format!(
                    "{name}: {percent:>3} % of {total} {unit}  {rate:.0} {unit}/s  {left:.0} s left{loss}"
                )
            }
        }
    }
}

/// Shows the events of one job, or nothing but its warnings.
#[derive(Debug)]
pub(crate) struct Progress {
    events: Arc<Events>,
    is_shown: bool,
    /// Characters of the line that rewrites itself.
    width: usize,
}

impl Progress {
    /// Shows progress when asked to.
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { events: Arc::default(), is_shown, width: 0 }
    }

    /// Shows warnings only.
    pub(crate) fn silent() -> Self {
        Self::new(false)
    }

    pub(crate) fn events(&self) -> Arc<Events> {
        Arc::clone(&self.events)
    }

    /// Writes what is new.
    pub(crate) fn show(&mut self, py: Python<'_>) -> PyResult<()> {
        if !self.is_shown {
            return Ok(());
        }
        let (lines, live) = {
            let mut heard = self.events.lock();
            let live = heard.stage.as_ref().map(|s| s.line(heard.loss));
            (std::mem::take(&mut heard.lines), live)
        };
        self.write(py, &lines, live.as_deref().unwrap_or_default())
    }

    /// Writes the last lines and issues the warnings. `with_warnings` is false after a failure.
    pub(crate) fn finish(&mut self, py: Python<'_>, with_warnings: bool) -> PyResult<()> {
        self.events.lock().stage = None;
        self.show(py)?;
        let warnings = std::mem::take(&mut self.events.lock().warnings);
        if with_warnings { warnings.iter().try_for_each(|message| warn(py, message)) } else { Ok(()) }
    }

    fn write(&mut self, py: Python<'_>, lines: &[String], live: &str) -> PyResult<()> {
        let stream = py.import("sys")?.getattr("stderr")?;
        if stream.is_none() {
            return Ok(());
        }
        let is_live = rewrites(&stream)?;
        if lines.is_empty() && (!is_live || (live.is_empty() && self.width == 0)) {
            return Ok(());
        }
        let mut text = String::new();
        if self.width > 0 {
            text.push_str(&format!("\r{:1$}\r", "", self.width));
            self.width = 0;
        }
        lines.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
        if is_live {
            text.push_str(live);
            self.width = live.chars().count();
        }
        let written = stream.call_method1("write", (text,)).and_then(|_| stream.call_method0("flush"));
        match written {
            // A closed stream is no reason to stop a job; an interrupt that arrives here is.
            Err(e) if e.is_instance_of::<PyException>(py) => self.is_shown = false,
            written => drop(written?),
        }
        Ok(())
    }
}

/// True for a terminal and for the output of a notebook, which shows a carriage return as it should.
fn rewrites(stream: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module: String = stream.get_type().getattr("__module__")?.extract()?;
    if module.starts_with("ipykernel") {
        return Ok(true);
    }
    stream.call_method0("isatty")?.is_truthy()
}

/// Issues a `RecsWarning`, which the user may have turned into an error.
pub(crate) fn warn(py: Python<'_>, message: &str) -> PyResult<()> {
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    PyErr::warn(py, &py.get_type::<RecsWarning>(), &text, 1)
}
