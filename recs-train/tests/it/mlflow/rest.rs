//! Reads back what the server has.

use super::http;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::runtime::Runtime;

pub(super) struct Rest {
    url: String,
    http: reqwest::Client,
    runtime: Runtime,
}

/// A point as the server has it: step, timestamp, value.
pub(super) type Point = (u64, i64, Value);

impl Rest {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.into(), http: http(), runtime: Runtime::new().unwrap() }
    }

    fn fetch(&self, request: reqwest::RequestBuilder) -> Vec<u8> {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, bytes) = (answer.status(), answer.bytes().await.unwrap());
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
            bytes.to_vec()
        })
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("{}/api/2.0/mlflow/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        serde_json::from_slice(&self.fetch(self.http.get(url))).unwrap()
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/api/2.0/mlflow/{path}", self.url);
        serde_json::from_slice(&self.fetch(self.http.post(url).json(body))).unwrap()
    }

    /// All runs of an experiment, by its name.
    pub(super) fn runs(&self, experiment: &str) -> Vec<Value> {
        let found = self.get("experiments/get-by-name", &[("experiment_name", experiment)]);
        let id = &found["experiment"]["experiment_id"];
        let runs = self.post("runs/search", &json!({"experiment_ids": [id], "max_results": 100}));
        runs["runs"].as_array().cloned().unwrap_or_default()
    }

    /// A curve, in the order of its steps.
    pub(super) fn history(&self, run_id: &str, name: &str) -> Vec<Point> {
        let mut points = Vec::new();
        let mut page = String::new();
        loop {
            let query =
                [("run_id", run_id), ("metric_key", name), ("max_results", "500"), ("page_token", &page)];
            let found = self.get("metrics/get-history", if page.is_empty() { &query[..3] } else { &query });
            for point in found["metrics"].as_array().into_iter().flatten() {
                let [step, time] = ["step", "timestamp"].map(|key| point[key].as_i64().unwrap_or_default());
                points.push((step as u64, time, point["value"].clone()));
            }
            match found["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => page = next.into(),
                _ => break,
            }
        }
        points.sort_by_key(|(step, time, _)| (*step, *time));
        points
    }

    pub(super) fn artifact(&self, run: &Value, path: &str) -> Vec<u8> {
        let root = run["info"]["artifact_uri"].as_str().unwrap().strip_prefix("mlflow-artifacts:/").unwrap();
        self.fetch(self.http.get(format!("{}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}", self.url)))
    }

    pub(super) fn versions(&self, model: &str) -> Vec<Value> {
        let found = self.get("model-versions/search", &[("filter", &format!("name='{model}'"))]);
        found["model_versions"].as_array().cloned().unwrap_or_default()
    }
}

/// `params` or `tags` of a run, or those of a version.
pub(super) fn map(list: &Value) -> BTreeMap<String, String> {
    let pair =
        |p: &Value| (p["key"].as_str().unwrap().to_owned(), p["value"].as_str().unwrap_or("").to_owned());
    list.as_array().into_iter().flatten().map(pair).collect()
}
