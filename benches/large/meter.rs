//! Peaks of the resident memory, by `/proc/self/status` twenty times a second.

use crate::Failure;
use recs_core::observe::{Event, Observer};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(50);
const STATUS: &str = "/proc/self/status";

/// Kilobytes resident: private memory, mapped files, and the most that both together ever were.
#[derive(Debug, Clone, Copy, Default)]
struct Resident {
    anon: u64,
    file: u64,
    high_water: u64,
}

impl Resident {
    fn now() -> Result<Self, Failure> {
        let status = std::fs::read_to_string(STATUS).map_err(|e| format!("{STATUS}: {e}; needs Linux"))?;
        let of = |key: &str| -> Result<u64, Failure> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
            number.ok_or_else(|| format!("{STATUS} has no {key}; needs Linux 4.5").into())
        };
        Ok(Self { anon: of("RssAnon:")?, file: of("RssFile:")?, high_water: of("VmHWM:")? })
    }

    fn max(self, other: Self) -> Self {
        Self {
            anon: self.anon.max(other.anon),
            file: self.file.max(other.file),
            high_water: self.high_water.max(other.high_water),
        }
    }
}

/// A stage that ended.
#[derive(Debug)]
struct Stage {
    name: &'static str,
    /// Worked on; none for what was there already.
    rows: u64,
    seconds: f64,
    peak: Resident,
}

/// The stage that runs, and those before it.
#[derive(Debug, Default)]
struct Stages {
    current: Option<(&'static str, u64, Instant)>,
    peak: Resident,
    ended: Vec<Stage>,
}

/// Watches memory in a thread of its own.
#[derive(Debug)]
pub(crate) struct Meter {
    stages: Arc<Mutex<Stages>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    pub(crate) fn start() -> Result<Self, Failure> {
        Resident::now()?;
        let (stages, ended) = (Arc::<Mutex<Stages>>::default(), Arc::<AtomicBool>::default());
        let (shared, stop) = (Arc::clone(&stages), Arc::clone(&ended));
        let watch = move || {
            while !stop.load(Ordering::Relaxed) {
                sample(&mut lock(&shared));
                thread::sleep(EVERY);
            }
        };
        Ok(Self { stages, ended, thread: Some(thread::spawn(watch)) })
    }

    /// Ends the stage that runs and begins one that works on `rows`.
    pub(crate) fn begin(&self, name: &'static str, rows: u64) {
        let mut stages = lock(&self.stages);
        end(&mut stages);
        stages.current = Some((name, rows, Instant::now()));
        sample(&mut stages);
    }

    /// The report, with what else there is to say.
    pub(crate) fn finish(mut self, results: Map<String, Value>) -> Report {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let mut stages = lock(&self.stages);
        end(&mut stages);
        Report { stages: std::mem::take(&mut stages.ended), results }
    }
}

impl Observer for Meter {
    /// Evaluation follows training inside one call.
    fn on_event(&self, event: &Event) {
        if let Event::Started { stage: "evaluate", total, .. } = event {
            self.begin("evaluate", total.unwrap_or(0));
        }
    }
}

fn lock(stages: &Mutex<Stages>) -> MutexGuard<'_, Stages> {
    stages.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sample(stages: &mut Stages) {
    if let Ok(now) = Resident::now() {
        stages.peak = stages.peak.max(now);
    }
}

fn end(stages: &mut Stages) {
    sample(stages);
    let peak = std::mem::take(&mut stages.peak);
    if let Some((name, rows, begin)) = stages.current.take() {
        stages.ended.push(Stage { name, rows, seconds: begin.elapsed().as_secs_f64(), peak });
    }
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    stages: Vec<Stage>,
    results: Map<String, Value>,
}

fn mib(kilobytes: u64) -> u64 {
    kilobytes.div_ceil(1024)
}

fn rounded(x: f64, unit: f64) -> f64 {
    (x * unit).round() / unit
}

impl Stage {
    fn rows_per_s(&self) -> f64 {
        rounded(self.rows as f64 / self.seconds.max(1e-9), 1.0)
    }
}

impl Report {
    /// `{"stages": [{"stage", "rows", "seconds", "rows_per_s", "rss_anon_mib", "rss_file_mib", "vm_hwm_mib"}], …}`.
    pub(crate) fn json(self) -> Value {
        let stage = |s: &Stage| {
            json!({
                "stage": s.name, "rows": s.rows, "seconds": rounded(s.seconds, 100.0), "rows_per_s": s.rows_per_s(),
                "rss_anon_mib": mib(s.peak.anon), "rss_file_mib": mib(s.peak.file),
                "vm_hwm_mib": mib(s.peak.high_water),
            })
        };
        let mut all = Map::from_iter([("stages".into(), self.stages.iter().map(stage).collect())]);
        all.extend(self.results);
        Value::Object(all)
    }

    /// The same to read; peaks in MiB. A stage without rows found its work done.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "stage               rows   seconds     rows/s   RssAnon   RssFile  VmHWM so far (MiB)\n",
        );
        for s in &self.stages {
            let (anon, file, most) = (mib(s.peak.anon), mib(s.peak.file), mib(s.peak.high_water));
            let (rows, speed) = (s.rows, s.rows_per_s());
            // Writing into text does not fail.
            let _ = writeln!(
                text,
                "{:<12} {rows:>11} {:>9.1} {speed:>10} {anon:>9} {file:>9} {most:>9}",
                s.name, s.seconds
            );
        }
        for (name, value) in &self.results {
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }
}
