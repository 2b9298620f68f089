//! The spool folder: what in it is ours.

use super::fake::Fake;
use super::{config, host};
use recs_core::observe::{Collect, Event, Observer};
use recs_train::tracking::mlflow::{MlflowConfig, MlflowRun, Outcome, replay};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(60);
const KEY: &str = "1500000000000-0123456789abcdef";

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|p| (p.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(p).unwrap()))
        .collect()
}

#[test]
fn files_of_others_in_the_same_folder_stay_as_they_are() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let torn = "{\"metric\": \"loss\", \"value\": 1}\n{\"metric\": \"lo";
    let files = [
        ("metrics.jsonl", torn),
        ("metrics.json", "{\"a\": 1}"),
        ("events.jsonl", ""),
        ("binary.jsonl", "no newline at all"),
        ("15-0123456789abcdef.jsonl", torn),
        // Named as ours, and without or with another's head.
        ("1500000000000-0123456789abcdee.jsonl", torn),
        ("1500000000000-0123456789abcdef.jsonl", torn),
        ("1500000000000-0123456789abcdef.json", "{\"a\": 1}"),
    ];
    for (name, text) in files {
        let path = spool.path().join(name);
        std::fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
    let (before, warnings) = (contents(spool.path()), Arc::new(Collect::default()));
    let with_warnings = host().with_warnings(warnings.clone());
    assert!(replay(&config(&server.url, &spool), with_warnings, LONG).unwrap().is_empty());
    assert!(contents(spool.path()) == before, "after a replay: {:?}", contents(spool.path()).keys());
    let heard = warnings.events();
    let names_it = |e: &Event| matches!(e, Event::Warning { message, .. } if message.contains(KEY));
    assert!(heard.len() == 1 && names_it(&heard[0]), "{heard:?}");
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    run.on_event(&Event::Metric { name: "loss".into(), step: 1, value: 0.5 });
    assert_eq!(run.finish(Outcome::Finished, LONG).sent, 2);
    assert!(contents(spool.path()) == before, "after a run: {:?}", contents(spool.path()).keys());
}

/// What a process leaves that died before its run began.
#[test]
fn an_empty_file_of_ours_goes_when_it_is_old() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let path = spool.path().join(format!("{KEY}.jsonl"));
    File::create(&path).unwrap();
    let sent = || replay(&config(&server.url, &spool), host(), LONG).unwrap();
    assert!(sent().is_empty() && path.exists(), "its process may be about to begin");
    let old = SystemTime::now() - Duration::from_secs(7200);
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    assert!(sent().is_empty() && !path.exists());
}

#[test]
fn a_deadline_beyond_all_time_is_as_long_as_it_takes() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let dead = MlflowConfig { retry_s: 1, ..config("http://127.0.0.1:9", &spool) };
    let left = MlflowRun::start(&dead, host()).unwrap();
    assert_eq!(left.finish(Outcome::Finished, Duration::from_millis(600)).spooled, 1);
    let reports = replay(&config(&server.url, &spool), host(), Duration::MAX).unwrap();
    assert_eq!((reports.len(), reports[0].sent, reports[0].spooled), (1, 1, 0), "{reports:?}");
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    run.on_event(&Event::Metric { name: "loss".into(), step: 1, value: 0.5 });
    let report = run.finish(Outcome::Finished, Duration::MAX);
    assert_eq!((report.sent, report.spooled), (2, 0), "{report:?}");
}
