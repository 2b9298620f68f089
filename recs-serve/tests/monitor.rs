//! What is kept of what was served and of what customers did, and who is told.

use crate::artifact::{CUSTOMERS, NOW, artifact, host, repeating_artifact};
use crate::http_client::{assert_problem, post_request, send, tenant};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, TimestampMillisecondType};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request as HttpRequest};
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recs_core::notify::{Alert, AlertState, CollectAlerts, Notifier};
use recs_core::store::{Store, TenantRoot};
use recs_serve::deploy::{Live, Serving, Side, Split, Trial, Version};
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::monitor::{
    AlertConfig, AskedWith, Event, Monitor, MonitorConfig, Outcome, Outcomes, Prediction,
};
use recs_serve::retriever::{Request, Retriever};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Of `NOW`.
const DAY: &str = "2018-01-01";

fn version(name: &str) -> Arc<Version> {
    let mut artifact = artifact(name);
    artifact.training_stats = json!({"inputs": {"rows": 300, "inputs": [
        {"name": "city", "bins": {"ids": [1, 2, 3]}, "counts": [0, 100, 100, 100, 0]},
    ]}});
    Arc::new(Version::new(Arc::new(Retriever::new(Arc::new(artifact), host()).unwrap())))
}

fn every_list() -> MonitorConfig {
    MonitorConfig { max_a_second: u32::MAX, ..MonitorConfig::default() }
}

struct Acme {
    root: TenantRoot,
    live: Arc<Live>,
    monitor: Arc<Monitor>,
    app: Router,
}

fn acme_with(store: &Store, config: MonitorConfig, notifiers: Vec<Arc<dyn Notifier>>) -> Acme {
    let (name, root) = (tenant("acme"), store.tenant(&tenant("acme")).unwrap());
    let serve = ServeConfig { default_tenant: Some(name.clone()), ..ServeConfig::default() };
    let state = AppState::new(host(), serve).unwrap();
    let live = state.live(&name);
    live.swap(Serving { production: Some(version("v1")), ..Serving::default() });
    let monitor = Arc::new(Monitor::new(&root, Arc::clone(&live), host(), config, notifiers).unwrap());
    state.monitor(&name, Arc::clone(&monitor));
    Acme { root, live, monitor, app: router(state, Auth::Open) }
}

fn acme(spool: &Path) -> Acme {
    acme_with(&Store::memory(), MonitorConfig { spool: Some(spool.to_owned()), ..every_list() }, Vec::new())
}

impl Acme {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (response, json) = send(self.app.clone(), post_request(path, body.to_string())).await;
        (response.status().as_u16(), json)
    }

    async fn ask(&self, customer: &str, city: &str) {
        let body = json!({"customer_id": customer, "city": city, "revenue": 1.0, "num_recommendations": 5});
        assert_eq!(self.post("/recommend", &body).await.0, 200);
    }

    async fn monitoring(&self) -> Value {
        let request = HttpRequest::get("/monitoring").body(Body::empty()).unwrap();
        let (response, json) = send(self.app.clone(), request).await;
        assert_eq!(response.status(), 200, "{json}");
        json
    }

    async fn rows(&self, table: &str) -> Vec<RecordBatch> {
        let table = self.root.day_table(table, DAY).unwrap();
        let mut batches = Vec::new();
        for file in table.files().await.unwrap() {
            let bytes = table.folder().get(&file.file, 1 << 20).await.unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            batches.extend(reader.map(|batch| batch.unwrap()));
        }
        batches
    }

    async fn outcomes(&self) -> Outcomes {
        Outcomes::load(&self.root, &[DAY.to_owned()]).await.unwrap()
    }
}

fn bought(customer: &str, product: &str) -> Value {
    json!({"customer_id": customer, "product_id": product, "outcome": "bought"})
}

#[tokio::test]
async fn lists_that_are_served_are_kept_as_a_table() {
    let acme = acme_with(&Store::memory(), every_list(), Vec::new());
    acme.ask("c1", "alpha").await;
    let batch: Vec<Value> = ["c2", "nobody"]
        .map(|customer| json!({"customer_id": customer, "city": "beta", "revenue": 2.5}))
        .to_vec();
    let mut request =
        post_request("/recommend-batch", json!({"requests": batch, "num_recommendations": 3}).to_string());
    request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    assert_eq!(send(acme.app.clone(), request).await.0.status(), 200);
    acme.monitor.finish().await.unwrap();
    let rows = acme.rows("served").await;
    let [rows] = &rows[..] else { panic!("{} batches", rows.len()) };
    let texts = |name: &str| -> Vec<String> {
        let column = arrow::compute::cast(&rows[name], &arrow::datatypes::DataType::Utf8).unwrap();
        column.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
    };
    // A batch is begun anywhere.
    let mut sources: Vec<_> = texts("customer_id").into_iter().zip(texts("source")).collect();
    sources[1..].sort();
    let expected = [("c1", "model"), ("c2", "model"), ("nobody", "features_only")];
    assert_eq!(sources, expected.map(|(customer, source)| (customer.to_owned(), source.to_owned())));
    assert_eq!(texts("request_id")[1..], ["mine", "mine"]);
    assert_eq!((texts("model_version"), texts("side")), (vec!["v1".into(); 3], vec!["production".into(); 3]));
    assert_eq!(rows["at"].as_primitive::<TimestampMillisecondType>().value(0), NOW * 1000);
    let production = acme.live.serving().production.clone().unwrap();
    let request = Request {
        customer_id: "c1".into(),
        city: Some("alpha".into()),
        revenue: Some(1.0),
        k: 5,
        ..Request::default()
    };
    let expected = production.retriever().recommend(&request).unwrap();
    let (products, scores) =
        (rows["product_ids"].as_list::<i32>().value(0), rows["scores"].as_list::<i32>().value(0));
    assert_eq!(expected.items.len(), 5);
    for (i, item) in expected.items.iter().enumerate() {
        assert_eq!(products.as_string::<i32>().value(i), item.product_id);
        assert_eq!(scores.as_primitive::<Float32Type>().value(i), item.score);
    }
    acme.monitor.finish().await.unwrap();
    assert_eq!(
        acme.root.day_table("served", DAY).unwrap().files().await.unwrap().len(),
        1,
        "nothing new, no file"
    );
    let report = acme.monitoring().await;
    assert_eq!((&report["predictions_kept"], &report["predictions_lost"]), (&json!(3), &json!(0)));
    assert_eq!(report["served"]["sources"], json!({"model": 2, "features_only": 1}));
}

#[tokio::test]
async fn a_second_has_so_many_places() {
    for (config, most) in [
        (MonitorConfig { max_a_second: 4, ..every_list() }, 12),
        (MonitorConfig { sample: 0.0, ..every_list() }, 0),
    ] {
        let acme = acme_with(&Store::memory(), config, Vec::new());
        // Within two seconds; a third one if the machine is busy.
        let sampled = (0..10_000).filter(|_| acme.monitor.is_sampled()).count();
        assert!(sampled <= most && sampled >= most / 12, "{sampled}");
    }
    let half = acme_with(&Store::memory(), MonitorConfig { sample: 0.5, ..every_list() }, Vec::new());
    let sampled = (0..10_000).filter(|_| half.monitor.is_sampled()).count();
    // Five standard deviations.
    assert!(sampled.abs_diff(5000) < 250, "{sampled}");
}

#[tokio::test]
async fn events_judge_every_version_that_serves() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let (v1, v2, v3) = (version("v1"), version("v2"), version("v3"));
    let split = Split::new(0.5, "acme");
    let is_tried = |customer: &str| split.has(customer);
    acme.live.swap(Serving {
        production: Some(Arc::clone(&v1)),
        canary: Some(Trial { version: v2, split: split.clone() }),
        shadow: Some(v3),
    });
    let list = |customer: &str| {
        let request = Request { customer_id: customer.into(), ..Request::default() };
        let items = v1.retriever().recommend(&request).unwrap().items;
        items.iter().map(|item| item.product_id.to_owned()).collect::<Vec<_>>()
    };
    let customers: Vec<String> = (0..20).map(|c| format!("c{c}")).collect();
    let tried = customers.iter().filter(|customer| is_tried(customer)).count() as u64;
    assert!(tried > 2 && tried < 18);
    // What is third in the list.
    let mut events: Vec<Value> =
        customers.iter().map(|customer| bought(customer, &list(customer)[2])).collect();
    events.push(json!({"customer_id": "c1", "product_id": "?", "outcome": "shown", "model_version": "old"}));
    events
        .push(json!({"customer_id": "c1", "product_id": "?", "outcome": "clicked", "model_version": "old"}));
    events.push(bought("c1", "no such product"));
    assert_eq!(acme.post("/events", &json!({"events": events})).await, (200, json!({"kept": 23})));
    acme.monitor.finish().await.unwrap();
    let report = acme.outcomes().await.report();
    let names: Vec<&str> = report.keys().map(String::as_str).collect();
    assert_eq!(names, ["old", "v1", "v2", "v3"]);
    assert_eq!((report["old"].shown, report["old"].click_rate.unwrap().rate), (1, 1.0));
    let bought_of_v2 = tried + u64::from(is_tried("c1"));
    assert_eq!((report["v1"].bought, report["v2"].bought), (21 - bought_of_v2, bought_of_v2));
    for version in ["v1", "v2", "v3"] {
        let judged = &report[version];
        assert_eq!((judged.judged, judged.recall_at_10.unwrap().rate), (21, 20.0 / 21.0), "{version}");
    }
    // Clients cannot make up versions here.
    let told = acme.monitoring().await;
    let mut expected = serde_json::to_value(&report).unwrap();
    let old = expected.as_object_mut().unwrap().remove("old").unwrap();
    expected["others"] = old;
    assert_eq!(told["outcomes"], expected);
    assert_eq!(std::fs::read_dir(folder.path().join(acme.root.local_name())).unwrap().flatten().count(), 1);
}

#[tokio::test]
async fn events_outlive_the_process_and_are_counted_once() {
    let (folder, store) = (tempfile::tempdir().unwrap(), Store::memory());
    let config = || MonitorConfig { spool: Some(folder.path().to_owned()), ..every_list() };
    let first = acme_with(&store, config(), Vec::new());
    for i in 0..5 {
        assert_eq!(first.post("/events", &json!({"events": [bought(&format!("c{i}"), "p")]})).await.0, 200);
    }
    assert_eq!(first.outcomes().await, Outcomes::default(), "nothing was brought to the store");
    drop(first);
    // Whoever wrote for it ends, too.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = acme_with(&store, config(), Vec::new());
    second.monitor.ship().await.unwrap();
    assert_eq!(second.outcomes().await.report()["v1"].bought, 5);
    second.monitor.ship().await.unwrap();
    assert_eq!(second.outcomes().await.report()["v1"].bought, 5);
}

/// As [`Acme::ask`] asks for it.
fn bytes_of_one_list() -> usize {
    let (version, request) = (
        version("v1"),
        Request { customer_id: "c1".into(), city: Some("alpha".into()), k: 5, ..Request::default() },
    );
    let answer = version.retriever().recommend(&request).unwrap();
    let id_bytes = 32;
    Prediction::of((&version, Side::Production), &request, &answer).bytes() + id_bytes
}

#[tokio::test]
async fn while_the_store_is_away_everything_waits() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = place.path().join("store");
    let store = Store::local(&path).unwrap();
    let config = MonitorConfig {
        spool: Some(folder.path().to_owned()),
        max_held_bytes: 7 * bytes_of_one_list() / 2,
        ..every_list()
    };
    let acme = acme_with(&store, config, Vec::new());
    std::fs::remove_dir_all(&path).ok();
    std::fs::write(&path, "a file where the store was").unwrap();
    for i in 0..5 {
        acme.ask(&format!("c{i}"), "alpha").await;
        assert_eq!(acme.post("/events", &json!({"events": [bought(&format!("c{i}"), "p")]})).await.0, 200);
    }
    assert!(acme.monitor.finish().await.is_err() && acme.monitor.ship().await.is_err());
    assert_eq!(acme.monitor.held(), 3, "the latest");
    assert_eq!(acme.monitoring().await["predictions_lost"], 2);
    std::fs::remove_file(&path).unwrap();
    acme.monitor.finish().await.unwrap();
    assert_eq!(acme.outcomes().await.report()["v1"].bought, 5);
    assert_eq!(acme.rows("served").await.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[tokio::test]
async fn events_that_make_no_sense_or_find_no_room_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        MonitorConfig { spool: Some(folder.path().to_owned()), max_spool_bytes: 600, ..every_list() };
    let acme = acme_with(&Store::memory(), config, Vec::new());
    let old =
        json!({"customer_id": "c1", "product_id": "p", "outcome": "sold", "timestamp": 1e15, "colour": 1});
    let post = async |body: Value| send(acme.app.clone(), post_request("/events", body.to_string())).await;
    let (response, problem) = post(json!({"events": [bought("c1", "p"), old]})).await;
    assert_problem(&response, &problem, 422, "invalid-request");
    let pointers: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/events/1/outcome", "/events/1/timestamp", "/events/1/colour"]);
    let (response, problem) = post(json!({"events": []})).await;
    assert_problem(&response, &problem, 422, "invalid-request");
    assert_eq!(acme.monitoring().await["outcomes"], json!({}), "all or nothing");
    assert_eq!(post(json!({"events": [bought("c1", "p")]})).await.0.status(), 200);
    let many: Vec<Value> = (0..20).map(|_| bought("c1", "p")).collect();
    let (response, problem) = post(json!({"events": many})).await;
    assert_problem(&response, &problem, 503, "overloaded");
    acme.monitor.ship().await.unwrap();
    assert_eq!(post(json!({"events": [bought("c1", "p")]})).await.0.status(), 200, "there is room again");
    // A host that watches but has no folder, and one that does not watch.
    let without = acme_with(&Store::memory(), every_list(), Vec::new());
    assert_eq!(without.post("/events", &json!({"events": [bought("c1", "p")]})).await.0, 404);
}

/// Refuses until it is told otherwise.
#[derive(Debug, Default)]
struct Moody(AtomicBool, CollectAlerts);

impl Notifier for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, recs_core::Result<()>> {
        if self.0.load(Ordering::SeqCst) {
            return self.1.notify(alert);
        }
        let refusal = recs_core::Error::Notify { by: "moody".into(), reason: "not now".into() };
        Box::pin(async { Err(refusal) })
    }
}

#[tokio::test]
async fn people_are_told_of_drift_and_of_failures_until_somebody_listens() {
    let moody = Arc::new(Moody::default());
    let alerts = AlertConfig {
        min_lists: 30,
        min_requests: 30,
        min_personalisation: None,
        max_score_drift: None,
        ..AlertConfig::default()
    };
    let listens = Arc::new(CollectAlerts::default());
    let config = MonitorConfig { window_lists: 60, alerts, ..every_list() };
    let acme = acme_with(&Store::memory(), config, vec![moody.clone(), listens.clone()]);
    let ask_all = async |city: fn(usize) -> &'static str| {
        for i in 0..60 {
            acme.ask(&format!("c{}", i % 20), city(i)).await;
        }
        acme.monitor.gather().await.unwrap();
    };
    ask_all(|i| ["alpha", "beta", "gamma"][i % 3]).await;
    acme.monitor.check().await.unwrap();
    assert_eq!(acme.monitoring().await["alerts"], json!([]));
    ask_all(|_| "alpha").await;
    acme.monitor.check().await.unwrap_err();
    assert_eq!(acme.monitoring().await["alerts"][0]["rule"], "input_drift_city", "known, if not told");
    moody.0.store(true, Ordering::SeqCst);
    acme.monitor.check().await.unwrap();
    let told = moody.1.alerts();
    let [alert] = &told[..] else { panic!("{told:?}") };
    assert_eq!((alert.rule.as_str(), alert.state), ("input_drift_city", AlertState::Firing));
    // Two thirds of the rows moved from two bins to a third.
    assert!(alert.value > 1.0 && alert.tenant.as_str() == "acme", "{alert:?}");
    assert_eq!(acme.monitoring().await["alerts"][0]["rule"], "input_drift_city");
    for _ in 0..2 {
        ask_all(|i| ["alpha", "beta", "gamma"][i % 3]).await;
    }
    (0..100).for_each(|_| acme.monitor.count(true, Some(Duration::from_millis(1))));
    acme.monitor.check().await.unwrap();
    (0..100).for_each(|_| acme.monitor.count(true, Some(Duration::from_millis(1))));
    // Whole once may be chance, twice is not.
    acme.monitor.check().await.unwrap();
    let rules: Vec<_> =
        moody.1.alerts().iter().map(|alert| (alert.rule.clone(), alert.state)).skip(1).collect();
    let (drift, errors) = ("input_drift_city".to_owned(), "error_rate".to_owned());
    assert_eq!(rules, [(errors, AlertState::Firing), (drift, AlertState::Resolved)]);
    assert_eq!(listens.alerts().len(), moody.1.alerts().len(), "who listened was told once, too");
    let report = acme.monitoring().await;
    assert!(report["served"]["coverage"].as_f64().unwrap() > 0.1, "{report}");
    assert!(
        report["traffic"]["failed"] == 200 && report["traffic"]["p99_ms"].as_f64().unwrap() > 0.0,
        "{report}"
    );
}

#[tokio::test]
async fn the_lists_of_a_trial_are_told_beside_productions() {
    let acme = acme_with(&Store::memory(), every_list(), Vec::new());
    let split = Split::new(0.5, "acme");
    let customers: Vec<String> = (0..20).map(|c| format!("c{c}")).collect();
    let tried = customers.iter().filter(|customer| split.has(customer)).count();
    let production = acme.live.serving().production.clone();
    let trial = |name: &str| {
        let canary = Some(Trial { version: version(name), split: split.clone() });
        acme.live.swap(Serving { production: production.clone(), canary, ..Serving::default() });
    };
    let lists = async || {
        acme.monitor.gather().await.unwrap();
        let report = acme.monitoring().await;
        ["served", "canary"].map(|side| {
            let of = &report[side];
            of["model_version"]
                .as_str()
                .map(|version| (version.to_owned(), of["lists"].as_u64().unwrap() as usize))
        })
    };
    let known = |version: &str, lists: usize| Some((version.to_owned(), lists));
    trial("v2");
    for customer in &customers {
        acme.ask(customer, "alpha").await;
    }
    assert_eq!(lists().await, [known("v1", 20 - tried), known("v2", tried)]);
    let of = acme.monitoring().await;
    assert!(of["canary"]["personalisation"].as_f64().is_some_and(|of| of > 0.0), "{of}");
    trial("v3");
    assert_eq!(lists().await, [known("v1", 20 - tried), known("v3", 0)], "another one begins anew");
    acme.live.swap(Serving { production: production.clone(), ..Serving::default() });
    assert_eq!(lists().await, [known("v1", 20 - tried), None]);
}

#[tokio::test]
async fn what_is_known_stands_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    acme.ask("c1", "alpha").await;
    acme.ask("c2", "alpha").await;
    acme.post("/events", &json!({"events": [bought("c1", "p")]})).await;
    acme.monitor.gather().await.unwrap();
    let request = HttpRequest::builder().method(Method::GET).uri("/metrics").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(acme.app.clone(), request).await.unwrap();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for line in [
        "recs_outcomes{tenant=\"acme\",version=\"v1\",outcome=\"bought\"} 1",
        "recs_predictions_kept{tenant=\"acme\"} 2",
        "recs_alerts_firing{tenant=\"acme\"} 0",
        "recs_input_drift{tenant=\"acme\",side=\"production\",input=\"city\"} ",
        "recs_coverage{tenant=\"acme\",side=\"production\"} 0.",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn one_request_for_a_thousand_events_and_a_thousand_requests_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let acme = Arc::new(acme(folder.path()));
    let mut jobs = tokio::task::JoinSet::new();
    for i in 0..200 {
        let acme = Arc::clone(&acme);
        jobs.spawn(async move {
            let event = Event {
                at_ms: NOW * 1000,
                received_ms: NOW * 1000,
                customer_id: format!("c{i}"),
                product_id: "p".into(),
                outcome: Outcome::Clicked,
                model_version: Some("v1".into()),
                is_told: true,
                request_id: None,
                event_id: None,
                asked: AskedWith::default(),
                judged: Vec::new(),
            };
            acme.monitor.keep(&vec![event; 5]).await.unwrap();
        });
    }
    while let Some(done) = jobs.join_next().await {
        done.unwrap();
    }
    acme.monitor.ship().await.unwrap();
    assert_eq!(acme.outcomes().await.report()["v1"].clicked, 1000);
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let named = |customer: &str, id: &str| {
        let mut event = bought(customer, "p");
        event["event_id"] = json!(id);
        json!({"events": [event]})
    };
    for (customer, id) in [("c1", "e1"), ("c1", "e1"), ("c2", "e1"), ("c1", "e2")] {
        assert_eq!(acme.post("/events", &named(customer, id)).await.0, 200);
        acme.monitor.ship().await.unwrap();
    }
    assert_eq!(acme.outcomes().await.report()["v1"].bought, 3);
}

#[tokio::test]
async fn what_clients_write_stays_within_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let hostile = "v\"} 1\nrecs_alerts_firing{tenant=\"other\"} 0\nx";
    let event = json!({"customer_id": "c1", "product_id": "p", "outcome": "shown", "model_version": hostile});
    assert_eq!(acme.post("/events", &json!({"events": [event]})).await.0, 200);
    let request = HttpRequest::get("/metrics").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(acme.app.clone(), request).await.unwrap();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(
        text.contains("version=\"others\",outcome=\"shown\"} 1") && !text.contains("tenant=\"other\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_version_that_makes_room_is_gone() {
    let acme = acme_with(&Store::memory(), every_list(), Vec::new());
    acme.ask("c1", "alpha").await;
    acme.monitor.gather().await.unwrap();
    let version = Arc::downgrade(acme.live.serving().production.as_ref().unwrap().retriever());
    acme.live.swap(Serving::default());
    assert!(version.upgrade().is_none(), "somebody holds it");
}

#[tokio::test]
async fn a_tenant_without_a_model_keeps_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    acme.live.swap(Serving::default());
    assert_eq!(acme.post("/events", &json!({"events": [bought("c1", "p")]})).await.0, 200);
    acme.monitor.finish().await.unwrap();
    assert_eq!(acme.rows("events").await[0].num_rows(), 1);
}

#[tokio::test]
async fn two_who_ship_at_once_ship_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    for i in 0..3 {
        assert_eq!(acme.post("/events", &json!({"events": [bought(&format!("c{i}"), "p")]})).await.0, 200);
        acme.ask("c1", "alpha").await;
    }
    acme.monitor.gather().await.unwrap();
    let (one, other) = tokio::join!(acme.monitor.finish(), acme.monitor.ship());
    one.unwrap();
    other.unwrap();
    assert_eq!(acme.outcomes().await.report()["v1"].bought, 3);
    assert_eq!(acme.rows("served").await.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

/// An index that fails in the middle of its work.
#[derive(Debug)]
struct Broken(recs_serve::index::ExactIndex);

impl recs_serve::index::VectorIndex for Broken {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn search(
        &self,
        _: &[f32],
        _: usize,
        _: &recs_serve::index::Filter,
        _: &mut recs_serve::index::Scratch,
        _: &mut Vec<recs_serve::index::Hit>,
    ) -> recs_serve::Result<()> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_version_that_cannot_judge_loses_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let artifact = Arc::new(artifact("broken"));
    let index = Broken(recs_serve::index::ExactIndex::new(artifact.candidates.vectors.clone()).unwrap());
    let broken = Retriever::with_index(artifact, Arc::new(index), host()).unwrap();
    let shadow = Some(Arc::new(Version::new(Arc::new(broken))));
    acme.live.swap(Serving { production: Some(version("v1")), shadow, ..Serving::default() });
    let events = json!({"events": [bought("c1", "1000")]});
    assert_eq!(acme.post("/events", &events).await, (200, json!({"kept": 1})));
    acme.monitor.finish().await.unwrap();
    let report = acme.outcomes().await.report();
    assert_eq!((report["v1"].bought, report["v1"].judged), (1, 1));
    assert!(!report.contains_key("broken"), "it is not judged");
}

#[tokio::test]
async fn purchases_are_judged_by_the_list_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let list = json!({"customer_id": "nobody", "city": "beta", "revenue": 900.0, "num_recommendations": 100});
    let (_, answer) = acme.post("/recommend", &list).await;
    let first = answer["recommendations"][0]["product_id"].as_str().unwrap();
    let mut event = bought("nobody", first);
    event["city"] = json!("beta");
    event["revenue"] = json!(900.0);
    assert_eq!(acme.post("/events", &json!({"events": [event.clone()]})).await.0, 200);
    acme.monitor.finish().await.unwrap();
    let report = acme.outcomes().await.report();
    assert_eq!(report["v1"].recall_at_10.unwrap().rate, 1.0);
    event["revenue"] = json!(-1);
    event["city"] = json!(7);
    let (status, problem) = acme.post("/events", &json!({"events": [event]})).await;
    let pointers: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
    assert!(status == 422 && pointers == ["/events/0/city", "/events/0/revenue"], "{pointers:?}");
}

#[tokio::test]
async fn nothing_is_written_where_a_disk_is_to_be_mounted() {
    let disks = tempfile::tempdir().unwrap();
    let (here, away, spool) =
        (disks.path().join("store"), disks.path().join("away"), disks.path().join("spool"));
    let acme = || {
        let config = MonitorConfig { spool: Some(spool.clone()), ..every_list() };
        acme_with(&Store::local(&here).unwrap(), config, Vec::new())
    };
    let events = json!({"events": [bought("c1", "1000")]});
    let first = acme();
    artifact("v1").publish(&first.root, "2026-01-01T00:00:00Z").await.unwrap();
    assert_eq!(first.post("/events", &events).await.0, 200);
    first.monitor.finish().await.unwrap();
    drop(first);
    // What is left of a disk that is not mounted is an empty folder.
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    let second = acme();
    assert_eq!(second.post("/events", &events).await.0, 200);
    second.ask("c1", "alpha").await;
    let error = second.monitor.finish().await.unwrap_err().to_string();
    assert!(error.contains("registry/models"), "{error}");
    assert!(std::fs::read_dir(&here).unwrap().next().is_none(), "nothing is written there");
    drop(second);
    std::fs::remove_dir(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    let third = acme();
    third.monitor.finish().await.unwrap();
    assert_eq!(third.outcomes().await.report()["v1"].bought, 2);
}

#[tokio::test]
async fn a_model_of_histories_has_customers_in_cities_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let acme = acme(folder.path());
    let retriever = Retriever::new(Arc::new(repeating_artifact()), host()).unwrap();
    acme.live.swap(Serving::only(Arc::new(retriever)));
    let drift = async || acme.monitoring().await["served"]["input_drift"].clone();
    // Everybody is where they were in training, whether they say so or not.
    for c in 0..CUSTOMERS {
        acme.ask(&format!("c{c}"), ["alpha", "beta", "gamma"][c % 3]).await;
    }
    acme.monitor.gather().await.unwrap();
    let usual = drift().await["city"].as_f64().unwrap();
    assert!(usual < 0.25, "{usual}");
    for c in 0..200 {
        acme.ask(&format!("c{}", c % CUSTOMERS), "gamma").await;
    }
    acme.monitor.gather().await.unwrap();
    let moved = drift().await["city"].as_f64().unwrap();
    assert!(moved > 0.5, "{moved}");
}

#[tokio::test]
async fn refusals_are_no_sign_of_how_the_server_does() {
    let acme = acme_with(&Store::memory(), every_list(), Vec::new());
    acme.ask("c1", "alpha").await;
    for body in [json!({}), json!({"customer_id": 7}), json!([])] {
        assert_eq!(acme.post("/recommend", &body).await.0, 422);
    }
    acme.monitor.check().await.unwrap();
    let traffic = acme.monitoring().await["traffic"].clone();
    assert_eq!((&traffic["requests"], &traffic["failed"]), (&json!(1), &json!(0)), "{traffic}");
}
