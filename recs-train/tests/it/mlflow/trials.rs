//! Trials of a search as runs of their own, while no server is there.

use super::{config, host};
use crate::it::search::{rates, run, search, slow, timeless};
use recs_train::TrainConfig;
use recs_train::tracking::mlflow::{MlflowRun, MlflowTrials, Outcome};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_dead_server_changes_no_trial_and_gets_their_runs_later() {
    let base = TrainConfig { epochs: 2, ..slow() };
    let random = rates(&json!({"kind": "random", "trials": 3}));
    let (spool, listener) =
        (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = config(&url, &spool);
    let parent = Arc::new(MlflowRun::start(&settings, host()).unwrap());
    let tracker = MlflowTrials::new(settings, host(), Arc::clone(&parent));
    let tracked = run(&search(&base, random.clone()).await.unwrap().with_tracker(Arc::new(tracker)));
    let report = parent.finish(Outcome::Finished, Duration::ZERO);
    assert_eq!(timeless(&tracked), timeless(&run(&search(&base, random).await.unwrap())));

    let mut runs = Vec::new();
    for entry in std::fs::read_dir(spool.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let head: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let journal = std::fs::read_to_string(path.with_extension("jsonl")).unwrap();
            let lines: Vec<Value> = journal.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            runs.push((head, lines));
        }
    }
    assert_eq!(runs.len(), 1 + 3);
    for trial in &tracked.trials {
        let number = &trial.number.to_string();
        let is_its = |(head, _): &&(Value, Vec<Value>)| head["tags"]["recs.trial"] == *number;
        let (head, lines) = runs.iter().find(is_its).unwrap();
        assert_eq!(head["tags"]["recs.parent_run_key"], report.run_key);
        assert_eq!(head["run_name"], format!("trial {} rung 0", trial.number));
        let score = lines.iter().find(|line| line["key"] == "score").unwrap();
        assert_eq!((&score["value"], &score["step"]), (&json!(trial.score), &json!(2)));
        let of = |op: &str| lines.iter().filter(|line| line["op"] == op).count();
        assert!(of("param") > 25 && of("end") == 1, "{lines:?}");
    }
}
