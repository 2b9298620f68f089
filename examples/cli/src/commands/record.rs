//! `{root}/experiments/{time}-{what}.jsonl`: what a training or a search was asked and said, and how it ended.
//!
//! First a line with the settings and the dataset, then what [`JsonLines`] writes, last `{"outcome": …}`, one of `finished`,
//! `killed` and `failed`, with the command's report or error.
//! A process that is killed leaves what it had said until [`EVERY`] before. A store that fails is warned of, and stops nothing.

use super::Context;
use crate::error::Result;
use crate::output::Report;
use recs_core::observe::{Event, Observer};
use recs_core::store::Store;
use recs_train::tracking::JsonLines;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The file is written anew this often, if there is more to say.
const EVERY: Duration = Duration::from_secs(10);

/// A record that is being kept.
pub(super) struct Record {
    file: Arc<RecordFile>,
    lines: Arc<JsonLines<Text>>,
    stop: oneshot::Sender<()>,
    saving: JoinHandle<()>,
}

struct RecordFile {
    text: Text,
    experiments: Store,
    name: String,
    warnings: Arc<dyn Observer>,
}

/// Lines so far: some hundred bytes an epoch or trial.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Record {
    /// Begins a record of `what`, with all that was asked for.
    pub(super) fn begin(context: &Context, what: &str, mut asked: Value) -> Result<Self> {
        let (text, time) = (Text::default(), context.name_by_time());
        (asked["what"], asked["time"]) = (json!(what), json!(time));
        asked["recs"] = json!(env!("CARGO_PKG_VERSION"));
        text.line(&asked);
        let file = Arc::new(RecordFile {
            text: text.clone(),
            experiments: context.root.experiments()?,
            name: format!("{time}-{what}.jsonl"),
            warnings: context.observer.clone(),
        });
        let (stop, stopped) = oneshot::channel();
        let saving = tokio::spawn(keep_saving(Arc::clone(&file), stopped));
        Ok(Self { file, lines: Arc::new(JsonLines::new(text)), stop, saving })
    }

    /// What hears the events.
    pub(super) fn observer(&self) -> Arc<dyn Observer> {
        self.lines.clone()
    }

    /// Ends it as the command ended, and says where it is.
    pub(super) async fn end(self, result: &mut Result<Report>) {
        drop(self.stop);
        let _ = self.saving.await;
        let last = match &*result {
            Ok(report) => json!({"outcome": "finished", "report": report.json()}),
            Err(error) => {
                let outcome = if error.is_cancelled() { "killed" } else { "failed" };
                json!({"outcome": outcome, "error": error.to_string()})
            }
        };
        self.file.text.line(&last);
        if let Err(error) = self.file.save().await {
            self.file.warn(&error);
        }
        if let Ok(report) = result {
            let place = self.file.experiments.show(&self.file.name);
            report.line(format!("record {place}"));
            report.set("record", place);
        }
    }
}

async fn keep_saving(file: Arc<RecordFile>, mut stopped: oneshot::Receiver<()>) {
    let (mut saved, mut is_well) = (0, true);
    loop {
        let length = file.text.length();
        if length > saved {
            match file.save().await {
                Ok(()) => (saved, is_well) = (length, true),
                // It is tried again, and told once.
                Err(error) => {
                    if is_well {
                        file.warn(&error);
                    }
                    is_well = false;
                }
            }
        }
        if tokio::time::timeout(EVERY, &mut stopped).await.is_ok() {
            return;
        }
    }
}

impl RecordFile {
    async fn save(&self) -> recs_core::Result<()> {
        self.experiments.put(&self.name, self.text.bytes().into()).await.map(drop)
    }

    fn warn(&self, error: &recs_core::Error) {
        let message = format!("the record of this run is not kept: {error}");
        self.warnings.on_event(&Event::Warning { stage: "record", message });
    }
}

impl Text {
    fn line(&self, value: &Value) {
        let _ = writeln!(self.clone(), "{value}");
    }

    fn length(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
