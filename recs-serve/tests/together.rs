//! Requests that come at the same time, answered together.

use crate::artifact::{artifact, host};
use crate::http_client::{post_request, send, tenant};
use axum::Router;
use axum::http::StatusCode;
use recs_serve::deploy::{Serving, Split, Trial, Version};
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::index::{ExactIndex, Filter, Hit, Query, Scratch, ScratchPool, VectorIndex};
use recs_serve::retriever::{Request, Retriever};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// An index that says it is better asked for many at once, and notes for how many it was; it answers none until it is let.
#[derive(Debug)]
struct Noted {
    exact: ExactIndex,
    asked: Mutex<Vec<usize>>,
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Panics when it is asked for several.
    refuses_many: AtomicBool,
    /// And for a list of so many.
    refuses: usize,
}

impl Noted {
    fn enter(&self, queries: usize) {
        self.asked.lock().unwrap().push(queries);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl VectorIndex for Noted {
    fn len(&self) -> usize {
        self.exact.len()
    }

    fn dim(&self) -> usize {
        self.exact.dim()
    }

    fn gains_together(&self) -> bool {
        true
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> recs_serve::Result<()> {
        self.enter(1);
        assert!(k != self.refuses, "on purpose");
        self.exact.search(query, k, filter, scratch, out)
    }

    fn search_batch(&self, queries: &[Query<'_>], pool: &ScratchPool) -> recs_serve::Result<Vec<Vec<Hit>>> {
        self.enter(queries.len());
        assert!(!self.refuses_many.load(Ordering::Relaxed), "on purpose");
        self.exact.search_batch(queries, pool)
    }
}

fn noted(version: &str, refuses: usize) -> (Arc<Noted>, Arc<Retriever>) {
    let artifact = Arc::new(artifact(version));
    let index = Arc::new(Noted {
        exact: ExactIndex::new(artifact.candidates.vectors.clone()).unwrap(),
        asked: Mutex::default(),
        is_open: Mutex::new(false),
        opened: Condvar::new(),
        refuses_many: AtomicBool::new(false),
        refuses,
    });
    (Arc::clone(&index), Arc::new(Retriever::with_index(artifact, index, host()).unwrap()))
}

fn state(together: usize) -> AppState {
    // By the workers: this test's thread has to go on.
    let config = ServeConfig {
        default_tenant: Some(tenant("acme")),
        together,
        inline_multiply_adds: 0,
        ..ServeConfig::default()
    };
    AppState::new(host(), config).unwrap()
}

fn body(i: usize) -> Value {
    json!({"customer_id": format!("c{}", i % 20), "city": "alpha", "revenue": 10.0 + i as f32, "num_recommendations": 3 + i % 5,
           "timestamp": 1_514_764_800})
}

/// Without what differs from time to time.
fn list((status, mut answer): (StatusCode, Value)) -> (StatusCode, Value) {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("inference_time_ms");
        answer.remove("request_id");
    }
    (status, answer)
}

async fn ask(app: Router, body: Value) -> (StatusCode, Value) {
    let (response, json) = send(app, post_request("/recommend", body.to_string())).await;
    list((response.status(), json))
}

/// Asks for all at the same time; the first one is waited for by the others.
async fn ask_all(app: &Router, index: &Noted, bodies: &[Value]) -> Vec<(StatusCode, Value)> {
    let asked: Vec<_> = bodies.iter().map(|body| tokio::spawn(ask(app.clone(), body.clone()))).collect();
    while index.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // All others are in the queue by now: this runtime has one thread, and they never wait before that.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    index.open();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    answers
}

async fn expected(bodies: &[Value]) -> Vec<(StatusCode, Value)> {
    let state = state(1);
    let retriever = Retriever::new(Arc::new(artifact("v1")), host()).unwrap();
    state.swap(&tenant("acme"), Arc::new(retriever));
    let app = router(state, Auth::Open);
    let mut answers = Vec::new();
    for body in bodies {
        answers.push(ask(app.clone(), body.clone()).await);
    }
    answers
}

#[tokio::test]
async fn what_came_meanwhile_is_answered_together_and_the_same() {
    let (index, retriever) = noted("v1", usize::MAX);
    let state = state(6);
    state.swap(&tenant("acme"), retriever);
    let app = router(state, Auth::Open);
    let bodies: Vec<Value> = (0..20).map(body).collect();
    let answers = ask_all(&app, &index, &bodies).await;
    assert_eq!(answers, expected(&bodies).await);
    let asked = std::mem::take(&mut *index.asked.lock().unwrap());
    assert_eq!(asked.iter().sum::<usize>(), 20, "{asked:?}");
    assert!(asked.len() < 8 && asked.iter().all(|&queries| queries <= 6), "{asked:?}");
    // Nobody is at work any more, and the next one is answered alone.
    assert_eq!(ask(app, bodies[0].clone()).await.0, StatusCode::OK);
    assert_eq!(*index.asked.lock().unwrap(), [1]);
}

#[tokio::test]
async fn one_alone_where_that_is_wanted() {
    let (index, retriever) = noted("v1", usize::MAX);
    index.open();
    let state = state(1);
    state.swap(&tenant("acme"), retriever);
    let bodies: Vec<Value> = (0..8).map(body).collect();
    ask_all(&router(state, Auth::Open), &index, &bodies).await;
    assert_eq!(*index.asked.lock().unwrap(), [1; 8]);
}

#[tokio::test]
async fn the_fault_of_one_is_no_others() {
    // Four of the twenty ask for seven products.
    let (index, retriever) = noted("v1", 7);
    index.refuses_many.store(true, Ordering::Relaxed);
    let state = state(64);
    state.swap(&tenant("acme"), retriever);
    let live = state.live(&tenant("acme"));
    let bodies: Vec<Value> = (0..20).map(body).collect();
    let answers = ask_all(&router(state, Auth::Open), &index, &bodies).await;
    let expected = expected(&bodies).await;
    for (i, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
        match bodies[i]["num_recommendations"].as_u64() {
            Some(7) => assert_eq!(answer.0, StatusCode::INTERNAL_SERVER_ERROR),
            _ => assert_eq!(answer, expected),
        }
    }
    // Each is counted once, however often it was tried.
    assert_eq!(live.serving().production.as_ref().unwrap().counts(), (16, 4));
}

#[tokio::test]
async fn each_customer_gets_the_version_on_their_side_of_a_trial() {
    let ((index, production), (trial, canary)) = (noted("v1", usize::MAX), noted("v2", usize::MAX));
    trial.open();
    let (state, split) = (state(64), Split::new(0.5, "trial"));
    let version = |retriever| Arc::new(Version::new(retriever));
    let serving = Serving {
        production: Some(version(production)),
        canary: Some(Trial { version: version(canary), split: split.clone() }),
        shadow: None,
    };
    state.live(&tenant("acme")).swap(serving);
    let mut bodies: Vec<Value> = (0..20).map(body).collect();
    let is_tried = |body: &Value| split.has(body["customer_id"].as_str().unwrap());
    // Production is the one that is held open.
    bodies.sort_by_key(is_tried);
    let answers = ask_all(&router(state, Auth::Open), &index, &bodies).await;
    for (body, (status, answer)) in bodies.iter().zip(&answers) {
        assert_eq!(*status, StatusCode::OK);
        assert_eq!(answer["model_version"], if is_tried(body) { "v2" } else { "v1" });
    }
    assert!(trial.asked.lock().unwrap().iter().any(|&queries| queries > 1));
}

#[tokio::test]
async fn whoever_goes_away_is_not_answered_and_holds_nobody_up() {
    let (index, retriever) = noted("v1", usize::MAX);
    let state = state(64);
    state.swap(&tenant("acme"), retriever);
    let app = router(state, Auth::Open);
    // One alone, and one who finds nobody at work: both wait for the index.
    let mut first = Vec::new();
    for i in 0..2 {
        first.push(tokio::spawn(ask(app.clone(), body(i))));
        while index.asked.lock().unwrap().len() <= i {
            tokio::task::yield_now().await;
        }
    }
    let gone: Vec<_> = (2..9).map(|i| tokio::spawn(ask(app.clone(), body(i)))).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for gone in gone {
        gone.abort();
        assert!(gone.await.is_err());
    }
    index.open();
    for first in first {
        assert_eq!(first.await.unwrap().0, StatusCode::OK);
    }
    assert_eq!(ask(app, body(9)).await.0, StatusCode::OK);
    assert_eq!(*index.asked.lock().unwrap(), [1, 1, 1]);
}

/// Who sends slowly is told so (408); this one sent all there is, and the time is the server's.
#[tokio::test]
async fn an_answer_that_takes_too_long_is_the_servers_fault() {
    let (index, retriever) = noted("v1", usize::MAX);
    let config = ServeConfig { time_limit_ms: 50, ..state(1).config().clone() };
    let state = AppState::new(host(), config).unwrap();
    state.swap(&tenant("acme"), retriever);
    let request = post_request("/recommend", body(0).to_string());
    let (response, problem) = send(router(state, Auth::Open), request).await;
    index.open();
    assert_eq!(
        (response.status(), &problem["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("urn:recs:problem:too-slow"))
    );
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn a_cap_that_cannot_be_filled_ranks_no_more_than_it_takes() {
    let mut sufficed = 0;
    for customer in 0..20 {
        let (index, retriever) = noted("v1", usize::MAX);
        index.open();
        let request = Request {
            customer_id: format!("c{customer}"),
            k: 30,
            categories: Some(["DAIRY", "FRUIT", "MEAT"].map(str::to_owned).to_vec()),
            category_cap: Some(2),
            timestamp: Some(1_514_764_800),
            ..Request::default()
        };
        let answer = retriever.recommend(&request).unwrap();
        assert_eq!(answer.items.len(), 6);
        assert!(answer.shortfall.unwrap().detail.contains("at most 2 of a category"));
        let searches = index.asked.lock().unwrap().len();
        assert!(searches <= 2, "{searches}");
        sufficed += usize::from(searches == 1);
    }
    assert!(sufficed > 0, "the first thirty have all that a list can have for some");
}
