//! The calls of MLflow's REST API that a run needs; each may be made again without changing anything.

use super::batch::Batch;
use super::client::{Client, Failure};
use super::entry::{Entry, Outcome};
use super::head::{Head, KEY_TAG};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A run on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerRun {
    pub(super) run_id: String,
    pub(super) artifact_uri: String,
}

impl Client {
    /// The id of an experiment, which is made when it is not there.
    pub(super) async fn experiment(&self, name: &str) -> Result<String, Failure> {
        if let Some(id) = self.find_experiment(name).await? {
            return Ok(id);
        }
        match self.post("experiments/create", &json!({"name": name})).await {
            Ok(answer) => text(&answer, "/experiment_id"),
            // Somebody else was quicker.
            Err(e) if e.exists() => {
                let found = self.find_experiment(name).await?;
                found.ok_or_else(|| Failure::unreachable(format!("experiment {name} is there and is not")))
            }
            Err(e) => Err(e),
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<Option<String>, Failure> {
        let found = match self.get("experiments/get-by-name", &[("experiment_name", name)]).await {
            Err(e) if e.is_missing() => return Ok(None),
            found => found?,
        };
        if found.pointer("/experiment/lifecycle_stage").and_then(Value::as_str) == Some("deleted") {
            let what =
                format!("experiment {name} is deleted: restore it, or name another in mlflow.experiment");
            return Err(Failure::blocked(what));
        }
        text(&found, "/experiment/experiment_id").map(Some)
    }

    /// The run with this key, which is made when it is not there. It is looked for first, since the answer to an earlier
    /// creation may have been lost.
    pub(super) async fn start_run(
        &self,
        experiment: &str,
        key: &str,
        head: &Head,
    ) -> Result<ServerRun, Failure> {
        let filter = format!("tags.`{KEY_TAG}` = '{key}'");
        let search = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let found = self.post("runs/search", &search).await?;
        if let Some(run) = found.pointer("/runs/0") {
            return server_run(run);
        }
        let mut run = json!({
            "experiment_id": experiment, "start_time": head.start_time, "tags": tags(&head.tags),
        });
        if let Some(name) = &head.run_name {
            run["run_name"] = json!(name);
        }
        let made = self.post("runs/create", &run).await?;
        server_run(made.get("run").unwrap_or(&Value::Null))
    }

    /// Nothing when the run takes entries.
    pub(super) async fn check_active(&self, run_id: &str) -> Result<(), Failure> {
        let found = self.get("runs/get", &[("run_id", run_id)]).await?;
        match found.pointer("/run/info/lifecycle_stage").and_then(Value::as_str) {
            Some("deleted") => {
                Err(Failure::blocked(format!("run {run_id} is deleted: restore it in MLflow")))
            }
            _ => Ok(()),
        }
    }

    /// Points, parameters and tags.
    pub(super) async fn log_batch(&self, run_id: &str, entries: &[Entry]) -> Result<(), Failure> {
        self.post("runs/log-batch", &Batch::new(run_id, entries)).await.map(drop)
    }

    /// Makes the folder `source` of a run a version of `model`, unless it is one already; the version.
    pub(super) async fn register(
        &self,
        model: &str,
        source: &str,
        run_id: &str,
        version_tags: &BTreeMap<String, String>,
    ) -> Result<String, Failure> {
        match self.post("registered-models/create", &json!({"name": model})).await {
            Err(e) if !e.exists() => return Err(e),
            _ => {}
        }
        if let Some(version) = self.find_version(model, source, run_id).await? {
            return Ok(version);
        }
        let tags = tags(version_tags);
        let version = json!({"name": model, "source": source, "run_id": run_id, "tags": tags});
        let made = self.post("model-versions/create", &version).await?;
        text(&made, "/model_version/version")
    }

    async fn find_version(&self, model: &str, source: &str, run_id: &str) -> Result<Option<String>, Failure> {
        let filter = format!("name='{model}' and run_id='{run_id}'");
        let found = self.get("model-versions/search", &[("filter", &filter)]).await?;
        let versions = found.get("model_versions").and_then(Value::as_array);
        let same = |v: &&Value| v.get("source").and_then(Value::as_str) == Some(source);
        versions.into_iter().flatten().find(same).map(|v| text(v, "/version")).transpose()
    }

    /// Ends a run.
    pub(super) async fn end_run(&self, run_id: &str, status: Outcome, end_time: i64) -> Result<(), Failure> {
        let update = json!({"run_id": run_id, "status": status.name(), "end_time": end_time});
        self.post("runs/update", &update).await.map(drop)
    }
}

fn tags(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

fn server_run(run: &Value) -> Result<ServerRun, Failure> {
    Ok(ServerRun { run_id: text(run, "/info/run_id")?, artifact_uri: text(run, "/info/artifact_uri")? })
}

fn text(answer: &Value, pointer: &str) -> Result<String, Failure> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| {
        Failure::unreachable(format!("the answer has no text at {pointer}: is this an MLflow server?"))
    })
}
