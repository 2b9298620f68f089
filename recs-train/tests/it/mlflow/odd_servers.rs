//! Servers that are slow, busy, or will not take something.

use super::fake::{Fake, Odd};
use super::{config, host, wait};
use recs_core::observe::{Collect, Event, Observer};
use recs_train::Error;
use recs_train::tracking::mlflow::{MlflowConfig, MlflowRun, Outcome, Secret, replay};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn metric(name: &str, step: u64) -> Event {
    Event::Metric { name: name.into(), step, value: step as f64 / 3.0 }
}

/// Names and steps of all points of all batches.
fn points(server: &Fake) -> Vec<(String, u64)> {
    let batches = server.bodies("runs/log-batch");
    let points = batches.iter().flat_map(|b| b["metrics"].as_array().cloned().unwrap_or_default());
    points.map(|p| (p["key"].as_str().unwrap().to_owned(), p["step"].as_u64().unwrap())).collect()
}

fn steps(name: &str, n: u64) -> Vec<(String, u64)> {
    (0..n).map(|step| (name.to_owned(), step)).collect()
}

#[test]
fn a_server_that_never_answers_costs_the_job_nothing() {
    let (server, spool) = (Fake::start(|_| Some(Odd::Hang)), tempfile::tempdir().unwrap());
    let warnings = Arc::new(Collect::default());
    let host = host().with_warnings(warnings.clone());
    let config = MlflowConfig { timeout_s: 1, ..config(&server.url, &spool) };
    let run = MlflowRun::start(&config, host).unwrap();
    let began = Instant::now();
    (0..10_000).for_each(|step| run.on_event(&metric("loss", step)));
    // It takes some milliseconds; waiting for one request each would take hours.
    println!("10,000 events took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    wait(|| run.report().problem.is_some());
    let began = Instant::now();
    let report = run.finish(Outcome::Finished, Duration::from_millis(600));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((report.sent, report.spooled, report.dropped, report.refused), (0, 10_001, 0, 0));
    assert!(report.problem.is_some_and(|p| p.contains("too late")) && report.spool.unwrap().exists());
    assert_eq!(warnings.events().len(), 1, "one an outage: {:?}", warnings.events());
}

#[test]
fn a_busy_server_is_asked_again_and_gets_everything_in_order() {
    let mut troubles = vec![
        Odd::Status(503, "", json!("starting")),
        Odd::Status(
            429,
            "retry-after: 1\r\n",
            json!({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}),
        ),
        Odd::Status(500, "", json!({"error_code": "INTERNAL_ERROR", "message": "database is locked"})),
        Odd::Status(200, "", json!("not MLflow")),
    ];
    let server = Fake::start(move |_| troubles.pop());
    let spool = tempfile::tempdir().unwrap();
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    (0..2500).for_each(|step| run.on_event(&metric("loss", step)));
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!((report.sent, report.spooled, report.problem), (2501, 0, None));
    assert_eq!(points(&server), steps("loss", 2500));
    assert!(server.bodies("runs/log-batch").iter().all(|b| b["metrics"].as_array().unwrap().len() <= 1000));
    assert_eq!(server.bodies("runs/update")[0]["status"], "FINISHED");
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "sent runs leave nothing behind");
}

#[test]
fn what_the_server_will_never_take_is_reported_once_and_blocks_nothing() {
    let bad = |body: &Value| body["metrics"].as_array().is_some_and(|m| m.iter().any(|p| p["key"] == "bad"));
    let server = Fake::start(move |request| {
        let answer = json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "no such metric"});
        bad(&request.body).then_some(Odd::Status(400, "", answer))
    });
    let (spool, warnings) = (tempfile::tempdir().unwrap(), Arc::new(Collect::default()));
    let run = MlflowRun::start(&config(&server.url, &spool), host().with_warnings(warnings.clone())).unwrap();
    for step in 0..300 {
        run.on_event(&metric(if step == 137 { "bad" } else { "good" }, step));
    }
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!((report.sent, report.spooled, report.refused), (300, 0, 1));
    assert_eq!(report.refusals[0].what, "metric bad, step 137");
    assert!(report.refusals[0].reason.contains("no such metric"));
    let mut points = points(&server);
    points.sort_by_key(|(_, step)| *step);
    let expected: Vec<_> = steps("good", 300).into_iter().filter(|(_, step)| *step != 137).collect();
    assert_eq!(points, expected);
    assert_eq!(warnings.events().len(), 1);
}

#[test]
fn wrong_credentials_lose_nothing_and_are_never_shown() {
    let denied = json!({"error_code": "PERMISSION_DENIED", "message": "who are you?"});
    let server = Fake::start(move |r| {
        let known = r.authorization.as_deref() == Some("Bearer right");
        (!known).then(|| Odd::Status(403, "", denied.clone()))
    });
    let spool = tempfile::tempdir().unwrap();
    let with = |token: &str| MlflowConfig { token: Some(Secret::new(token)), ..config(&server.url, &spool) };
    let run = MlflowRun::start(&with("s3cr3t"), host()).unwrap();
    run.on_event(&metric("loss", 1));
    let began = Instant::now();
    let report = run.finish(Outcome::Finished, LONG);
    assert!(began.elapsed() < LONG / 2, "no credentials appear by waiting");
    assert_eq!((report.sent, report.spooled), (0, 2));
    assert!(
        report.problem.as_ref().is_some_and(|p| p.contains("token") && !p.contains("s3cr3t")),
        "{report:?}"
    );
    let reports = replay(&with("right"), host(), LONG).unwrap();
    assert_eq!((reports.len(), reports[0].sent, reports[0].spooled), (1, 2, 0));
    assert_eq!(server.authorization().as_deref(), Some("Bearer right"));
}

#[test]
fn a_lost_answer_makes_no_second_run() {
    let mut lost = vec!["runs/create", "runs/log-batch"];
    let server = Fake::start(move |request| {
        let at = lost.iter().position(|path| request.path.ends_with(path))?;
        lost.remove(at);
        Some(Odd::LoseAnswer)
    });
    let spool = tempfile::tempdir().unwrap();
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    run.on_event(&metric("loss", 1));
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!((report.sent, report.spooled, report.run_id.as_deref()), (2, 0, Some("run0")));
    assert_eq!(server.bodies("runs/create").len(), 1);
    // The server drops the second one: the test against the real one proves it.
    assert_eq!(points(&server), [("loss".to_owned(), 1), ("loss".to_owned(), 1)]);
}

/// The child of the next test: it dies without a word.
#[test]
fn dies_when_told_to() {
    let Ok(folder) = std::env::var("RECS_TEST_DIES_WITH_SPOOL") else { return };
    let config = MlflowConfig { spool_dir: folder.into(), ..MlflowConfig::new("http://127.0.0.1:9") };
    let run = MlflowRun::start(&config, host()).unwrap();
    (0..100).for_each(|step| run.on_event(&metric("loss", step)));
    let journal = run.report().spool.unwrap();
    wait(|| std::fs::read_to_string(&journal).unwrap().lines().count() == 100);
    std::process::abort();
}

#[test]
fn the_run_of_a_process_that_died_is_sent_by_the_next_run_and_ended_as_killed() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "it::mlflow::odd_servers::dies_when_told_to"]);
    child.env("RECS_TEST_DIES_WITH_SPOOL", spool.path());
    assert!(!child.output().unwrap().status.success());
    // A run for another server leaves it alone; one for its own sends it, here by a file that says so.
    let other = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    assert_eq!(other.finish(Outcome::Finished, LONG).sent, 1);
    let head = std::fs::read_dir(spool.path()).unwrap().map(|f| f.unwrap().path());
    let head = head.into_iter().find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
    let text = std::fs::read_to_string(&head).unwrap().replace("http://127.0.0.1:9", &server.url);
    std::fs::write(&head, text).unwrap();
    let next = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    assert_eq!(next.finish(Outcome::Finished, LONG).sent, 1);
    assert_eq!(points(&server), steps("loss", 100));
    let ends = server.bodies("runs/update");
    assert!(ends.iter().any(|end| end["status"] == "KILLED"), "{ends:?}");
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
}

#[test]
fn a_server_that_lost_its_memory_gets_the_whole_run_again() {
    let (mut requests, spool) = (0, tempfile::tempdir().unwrap());
    // Takes the experiment, the run and the first points, then nothing.
    let forgetful = Fake::start(move |_| {
        requests += 1;
        (requests > 5).then(|| Odd::Status(503, "", json!("down")))
    });
    let run = MlflowRun::start(&config(&forgetful.url, &spool), host()).unwrap();
    run.on_event(&metric("loss", 0));
    wait(|| run.report().sent == 1);
    run.on_event(&metric("loss", 1));
    let report = run.finish(Outcome::Finished, Duration::from_millis(300));
    assert_eq!((report.sent, report.spooled), (1, 2), "{report:?}");
    let unknown = json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"});
    let new =
        Fake::start(move |r| r.path.ends_with("runs/get").then(|| Odd::Status(404, "", unknown.clone())));
    let reports = replay(&config(&new.url, &spool), host(), LONG).unwrap();
    assert_eq!((reports[0].sent, reports[0].spooled), (3, 0), "{reports:?}");
    assert_eq!(points(&new), steps("loss", 2));
}

#[test]
fn a_full_spool_counts_what_it_drops_and_still_ends_the_run() {
    let (spool, warnings) = (tempfile::tempdir().unwrap(), Arc::new(Collect::default()));
    let config = MlflowConfig { spool_bytes: 64 << 10, ..config("http://127.0.0.1:9", &spool) };
    let run = MlflowRun::start(&config, host().with_warnings(warnings.clone())).unwrap();
    for step in 0..5000 {
        run.on_event(&metric("loss", step));
    }
    let report = run.finish(Outcome::Finished, Duration::from_millis(300));
    assert!(report.dropped > 3000 && report.spooled > 100, "{report:?}");
    assert_eq!(report.sent + report.spooled + report.dropped + report.refused, 5001);
    let full = |e: &&Event| matches!(e, Event::Warning { message, .. } if message.contains("spool_bytes"));
    assert_eq!(warnings.events().iter().filter(full).count(), 1);
    let journal = std::fs::read_to_string(report.spool.unwrap()).unwrap();
    assert!(
        journal.ends_with("\"timestamp\":") || journal.lines().last().unwrap().contains("\"op\":\"end\"")
    );
}

/// The limit counts what the server does not have, not what ever was.
#[test]
fn a_long_run_on_a_healthy_server_never_fills_its_spool() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let config = MlflowConfig { spool_bytes: 256 << 10, flush_ms: 1, ..config(&server.url, &spool) };
    let run = MlflowRun::start(&config, host()).unwrap();
    for step in 0..10_000 {
        run.on_event(&metric("loss", step));
        if step % 500 == 0 {
            wait(|| run.report().spooled <= 500);
        }
    }
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!((report.sent, report.dropped, report.spooled), (10_001, 0, 0));
    assert_eq!(points(&server), steps("loss", 10_000));
}

#[test]
fn events_become_points_tags_and_a_document() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    let phase = |phase| Event::Phase { stage: "train", phase };
    let warning = |stage| Event::Warning { stage, message: "lists are alike".into() };
    // As a training says it whose process goes on in a refit, and one that begins.
    for event in [phase("refit"), metric("loss", 2), phase("first"), metric("loss", 1)] {
        run.on_event(&event);
    }
    [warning("evaluate"), warning("tracking")].iter().for_each(|event| run.on_event(event));
    run.on_event(&Event::Finished { stage: "train", seconds: 2.5 });
    assert!(matches!(run.log_text("../x", ""), Err(Error::Config { .. })));
    assert_eq!(run.finish(Outcome::Finished, LONG).spooled, 0);
    assert_eq!(points(&server), [("refit/loss".to_owned(), 2), ("loss".to_owned(), 1)]);
    let batches = server.bodies("runs/log-batch");
    let tags: Vec<&Value> = batches.iter().flat_map(|b| b["tags"].as_array().unwrap()).collect();
    assert_eq!(tags, [&json!({"key": "recs.warning.01", "value": "evaluate: lists are alike"})]);
    assert_eq!(server.bodies("artifacts/events.jsonl").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_dropped_in_an_async_host_ends_as_failed() {
    let (server, spool) = (Fake::start(|_| None), tempfile::tempdir().unwrap());
    let run = MlflowRun::start(&config(&server.url, &spool), host()).unwrap();
    run.on_event(&metric("loss", 1));
    drop(run);
    wait(|| !server.bodies("runs/update").is_empty());
    assert_eq!(server.bodies("runs/update")[0]["status"], "FAILED");
}

#[test]
fn a_spool_that_cannot_be_written_is_an_error_before_the_job() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = MlflowConfig { spool_dir: file.path().join("x"), ..MlflowConfig::new("http://127.0.0.1:9") };
    let error = MlflowRun::start(&config, host()).unwrap_err();
    assert!(
        matches!(error, Error::Spool { .. }) && error.to_string().contains("mlflow.spool_dir"),
        "{error}"
    );
}
