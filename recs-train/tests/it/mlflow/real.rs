//! What a real server has after good and bad days. `scripts/test mlflow` runs these.

use super::rest::{Rest, map};
use super::server::Server;
use super::{config, host, wait};
use crate::it::shards::{dataset, groups, load};
use recs_core::artifact::{Digest, Manifest};
use recs_core::observe::{CancelToken, Collect, Event, Observer, Silent, Tee};
use recs_core::schema::Schema;
use recs_core::store::Store;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::tracking::mlflow::{MlflowConfig, MlflowRun, Outcome, replay};
use recs_train::{TrainConfig, Trainer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);
const EXPERIMENT: &str = "retail/daily";

/// Trains, tells MLflow everything, and returns what was told.
async fn train(run: &Arc<MlflowRun>, models: &Store) -> (TrainConfig, Vec<Event>, Manifest) {
    let (schema, cancel) = (Schema::retail(), CancelToken::new());
    let dataset = dataset(&groups(30, 80, 30), 3).await;
    let small = VocabularyConfig { revenue_buckets: 10, timestamp_buckets: 5, ..VocabularyConfig::default() };
    let vocabulary =
        Arc::new(Vocabulary::build(&dataset, &schema, &small, 2, Arc::new(Silent), &cancel).await.unwrap());
    let mut train = TrainConfig::recommended();
    (train.epochs, train.batch, train.threads) = (3, 64, 1);
    let model = train.model(&schema).unwrap();
    let data = load(&dataset, &model.schema, &vocabulary).await;
    run.log_params(&train).unwrap();
    run.log_data("run-1", dataset.metadata(), &vocabulary, &schema).unwrap();
    let heard = Arc::new(Collect::default());
    let both = Tee::new([Arc::clone(run) as Arc<dyn Observer>, heard.clone()]);
    let fitted = Trainer::new(data, model, vocabulary, train.clone()).unwrap().fit(&both, &cancel).unwrap();
    run.log_fitted(&fitted);
    let root = models.tenant(&"demo".parse().unwrap()).unwrap();
    let artifact = fitted.into_artifact("v1").unwrap();
    let manifest = artifact.publish(&root, "2018-01-02T00:00:00Z").await.unwrap();
    run.log_model(&root.model("v1").unwrap(), &manifest).unwrap();
    (train, heard.events(), manifest)
}

#[test]
#[ignore = "needs a real mlflow server: scripts/test mlflow"]
fn everything_of_a_training_can_be_read_back() {
    let (mut server, spool, models) =
        (Server::at_rest(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    server.start();
    let mut config = config(&server.url, &spool);
    (config.run_name, config.registered_model) = (Some("first".into()), Some("retail-two-tower".into()));
    config.tags.insert("team".into(), "growth é".into());
    let run = Arc::new(MlflowRun::start(&config, host()).unwrap());
    for (step, value) in [(0, f64::NAN), (1, f64::INFINITY), (2, 0.1 + 0.2), (3, f64::MIN_POSITIVE)] {
        run.log_metric("odd values@1", step, value);
    }
    run.log_params(&json!({"long": "x".repeat(7000)})).unwrap();
    run.set_tag("note", "one");
    run.set_tag("note", "two");
    let store = Store::local(models.path()).unwrap();
    let (train, events, manifest) = tokio::runtime::Runtime::new().unwrap().block_on(train(&run, &store));
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!(
        (report.spooled, report.dropped, report.refused, &report.problem),
        (0, 0, 0, &None),
        "{report:?}"
    );

    let rest = Rest::new(&server.url);
    let runs = rest.runs(EXPERIMENT);
    assert_eq!(runs.len(), 1);
    let (info, data) = (&runs[0]["info"], &runs[0]["data"]);
    let id = info["run_id"].as_str().unwrap();
    assert_eq!(
        (Some(id), &info["run_name"], &info["status"]),
        (report.run_id.as_deref(), &json!("first"), &json!("FINISHED"))
    );
    assert!(info["end_time"].as_i64() >= info["start_time"].as_i64());

    let params = map(&data["params"]);
    let of = |name: &str| params.get(name).map(String::as_str);
    assert_eq!(
        (of("epochs"), of("learning_rate"), of("query.layers")),
        (Some("3"), Some("0.01"), Some("[]"))
    );
    assert_eq!(of("long").map(str::len), Some(6000));
    assert!(params.len() > 25 && train.epochs == 3);

    let tags = map(&data["tags"]);
    for (name, value) in
        [("team", "growth é"), ("note", "two"), ("recs.dataset", "run-1"), ("recs.dataset_rows", "900")]
    {
        assert_eq!(tags[name], value);
    }
    assert_eq!((tags["recs.dataset_sha256"].len(), &tags["recs.run_key"]), (64, &report.run_key));

    let odd: Vec<Value> = rest.history(id, "odd values_1").into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(odd, [json!("NaN"), json!(f64::MAX), json!(0.1 + 0.2), json!(f64::MIN_POSITIVE)]);
    curves_are_those_of(&events, &rest, id);
    let names: Vec<&str> =
        data["metrics"].as_array().unwrap().iter().filter_map(|m| m["key"].as_str()).collect();
    assert!(
        ["test_recall_at_100", "popularity_mrr", "fit_seconds"].iter().all(|n| names.contains(n)),
        "{names:?}"
    );

    for (name, digest) in &manifest.files {
        assert_eq!(&Digest::of(&rest.artifact(&runs[0], &format!("model/{name}"))), digest, "{name}");
    }
    assert_eq!(rest.artifact(&runs[0], "model/manifest.json"), manifest.to_json().unwrap());
    let lines = String::from_utf8(rest.artifact(&runs[0], "events.jsonl")).unwrap();
    assert!(lines.lines().any(|line| line.contains(r#""stage":"train""#)), "{lines}");

    let versions = rest.versions("retail-two-tower");
    assert_eq!(
        (versions.len(), &versions[0]["version"], &versions[0]["run_id"]),
        (1, &json!("1"), &json!(id))
    );
    assert_eq!(versions[0]["source"], format!("{}/model", info["artifact_uri"].as_str().unwrap()));
    let tags = map(&versions[0]["tags"]);
    assert_eq!((tags["recs.model_version"].as_str(), tags["recs.tenant"].as_str()), ("v1", "demo"));
}

/// Every metric that an observer beside MLflow heard, and nothing else; those of the refit under their own names.
fn curves_are_those_of(events: &[Event], rest: &Rest, run_id: &str) {
    for name in ["loss", "learning_rate", "examples_per_s", "validation_recall_at_100"] {
        let (mut trainings, mut expected) = (0, [Vec::new(), Vec::new()]);
        for event in events {
            match event {
                Event::Started { stage: "train", .. } => trainings += 1,
                Event::Metric { name: n, step, value } if n == name => {
                    expected[trainings - 1].push((*step, json!(value)))
                }
                _ => {}
            }
        }
        let names = [name.to_owned(), format!("refit/{name}")];
        assert_eq!(expected[0].len(), 3, "one an epoch");
        for (expected, name) in expected.iter().zip(names) {
            let found: Vec<(u64, Value)> =
                rest.history(run_id, &name).into_iter().map(|(s, _, v)| (s, v)).collect();
            assert_eq!(&found, expected, "{name}");
        }
    }
}

#[test]
#[ignore = "needs a real mlflow server: scripts/test mlflow"]
fn a_server_killed_half_way_has_every_point_once_after_its_restart() {
    const POINTS: u64 = 3000;
    let (mut server, spool) = (Server::at_rest(), tempfile::tempdir().unwrap());
    server.start();
    let run = Arc::new(MlflowRun::start(&config(&server.url, &spool), host()).unwrap());
    let training = {
        let run = Arc::clone(&run);
        std::thread::spawn(move || {
            let mut spent = Duration::ZERO;
            for step in 0..POINTS {
                let began = Instant::now();
                run.on_event(&Event::Metric { name: "loss".into(), step, value: 1.0 / (step as f64 + 1.0) });
                spent += began.elapsed();
                std::thread::sleep(Duration::from_millis(2));
            }
            spent
        })
    };
    wait(|| run.report().sent > POINTS / 10);
    server.kill();
    let sent = run.report().sent;
    let spent = training.join().unwrap();
    // It is some milliseconds for all of them; a single request that nobody answers is given five seconds.
    assert!(spent < Duration::from_secs(5), "all events took {spent:?}");
    wait(|| run.report().problem.is_some());
    let report = run.report();
    assert!(report.sent >= sent && report.sent < POINTS, "{report:?}");
    println!("sent when killed: {sent}; waiting: {}; {POINTS} events took {spent:?}", report.spooled);

    server.start();
    let report = run.finish(Outcome::Finished, LONG);
    assert_eq!((report.sent, report.spooled, report.problem), (POINTS + 1, 0, None));
    let rest = Rest::new(&server.url);
    let runs = rest.runs(EXPERIMENT);
    assert_eq!((runs.len(), &runs[0]["info"]["status"]), (1, &json!("FINISHED")));
    let points = rest.history(&report.run_id.unwrap(), "loss");
    let found: Vec<(u64, Value)> = points.into_iter().map(|(step, _, value)| (step, value)).collect();
    let expected: Vec<(u64, Value)> = (0..POINTS).map(|s| (s, json!(1.0 / (s as f64 + 1.0)))).collect();
    assert_eq!(found, expected);
}

#[test]
#[ignore = "needs a real mlflow server: scripts/test mlflow"]
fn a_run_without_any_server_is_complete_after_its_replay() {
    let (mut server, spool, files) =
        (Server::at_rest(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = MlflowConfig { registered_model: Some("m".into()), ..config(&server.url, &spool) };
    let run = MlflowRun::start(&config, host()).unwrap();
    run.log_params(&json!({"batch": 64, "loss": {"temperature": 0.05}})).unwrap();
    run.set_tag("note", "nobody was there");
    (0..1500).for_each(|step| run.log_metric("loss", step, step as f64 / 7.0));
    let store = Store::local(files.path()).unwrap();
    let bytes: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let digest = runtime.block_on(store.put("big.bin", bytes.clone().into())).unwrap();
    run.log_file(&store, "big.bin", "data/big file.bin", &digest).unwrap();
    run.log_file(&store, "never-there.bin", "data/never.bin", &digest).unwrap();
    let began = Instant::now();
    let report = run.finish(Outcome::Finished, Duration::from_secs(1));
    assert!(began.elapsed() < LONG / 4);
    assert_eq!((report.sent, report.spooled, report.dropped, report.run_id), (0, 1506, 0, None));
    let kept: Vec<Value> = lines(&report.spool.unwrap());

    // Another run, whose process died: its spool has no end.
    let killed = MlflowRun::start(&config, host()).unwrap();
    killed.log_metric("loss", 1, 0.5);
    let spooled = killed.finish(Outcome::Finished, Duration::from_millis(200)).spool.unwrap();
    let text = std::fs::read_to_string(&spooled).unwrap();
    std::fs::write(&spooled, format!("{}\n{{\"op\":\"met", text.lines().next().unwrap())).unwrap();

    server.start();
    let reports = replay(&config, host(), LONG).unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].sent, reports[0].spooled, reports[0].refused), (1505, 0, 1), "{:?}", reports[0]);
    assert!(
        reports[0].refusals[0].what.contains("data/never.bin")
            && reports[0].refusals[0].reason.contains("not found")
    );
    assert_eq!((reports[1].sent, reports[1].spooled), (2, 0), "{:?}", reports[1]);
    assert!(replay(&config, host(), LONG).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);

    let rest = Rest::new(&server.url);
    let runs = rest.runs(EXPERIMENT);
    let of =
        |id: &Option<String>| runs.iter().find(|r| r["info"]["run_id"].as_str() == id.as_deref()).unwrap();
    let (whole, cut) = (of(&reports[0].run_id), of(&reports[1].run_id));
    assert_eq!(
        (runs.len(), &whole["info"]["status"], &cut["info"]["status"]),
        (2, &json!("FINISHED"), &json!("KILLED"))
    );
    let params = map(&whole["data"]["params"]);
    assert_eq!(params, [("batch".into(), "64".into()), ("loss.temperature".into(), "0.05".into())].into());
    assert_eq!(map(&whole["data"]["tags"])["note"], "nobody was there");
    assert_eq!(rest.artifact(whole, "data/big%20file.bin"), bytes);
    // Times are those of the run, not of the replay.
    let expected: Vec<Value> = kept.iter().filter(|line| line["op"] == "metric").cloned().collect();
    let found = rest.history(reports[0].run_id.as_ref().unwrap(), "loss");
    assert_eq!(found.len(), 1500);
    for (line, (step, timestamp, value)) in expected.iter().zip(&found) {
        assert_eq!(
            (&line["step"], &line["timestamp"], &line["value"]),
            (&json!(step), &json!(timestamp), value)
        );
    }
    sending_twice_changes_nothing(&rest, reports[0].run_id.as_ref().unwrap(), &expected);
}

/// What the module says about requests whose answer was lost.
fn sending_twice_changes_nothing(rest: &Rest, run_id: &str, metrics: &[Value]) {
    let before = (rest.history(run_id, "loss"), rest.get("runs/get", &[("run_id", run_id)]));
    let metrics: Vec<Value> = metrics[..1000].to_vec();
    let batch = json!({"run_id": run_id, "metrics": metrics});
    rest.post("runs/log-batch", &batch);
    rest.post("runs/log-batch", &json!({"run_id": run_id, "params": [{"key": "batch", "value": "64"}]}));
    assert_eq!(before, (rest.history(run_id, "loss"), rest.get("runs/get", &[("run_id", run_id)])));
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
