//! Searches whose trials differ in what they read.

use super::checks::refused;
use super::shards::{Purchase, dataset, groups, load};
use super::trainer::{loaded, small};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::Vocabulary;
use recs_train::search::{Search, SearchConfig, SearchReport};
use recs_train::{TrainConfig, TrainData};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn a_search_trains_each_choice_of_encodings_on_rows_that_were_encoded_for_it() {
    let base = small(TrainConfig { epochs: 1, ..TrainConfig::recommended() });
    let (rows, schema) = (groups(20, 40, 40), Schema::retail());
    let history =
        |dim: usize| json!([{"kind": "history", "name": "history", "field": "product_id", "dim": dim}]);
    let product =
        |dim: usize| json!({"kind": "embedding", "name": "product_id", "field": "product_id", "dim": dim});
    let bias = |of: &str| json!({"kind": "bias", "name": "bias", "field": of});
    let config = |candidates: &[Value]| -> SearchConfig {
        let trial = |c: &Value| json!({"encodings": {"query": history(c[0]["dim"].as_u64().unwrap() as usize), "candidate": c}});
        let trials: Vec<Value> = candidates.iter().map(trial).collect();
        serde_json::from_value(json!({"algorithm": {"kind": "listed", "trials": trials}})).unwrap()
    };
    // Widths change no row.
    let widths =
        config(&[json!([product(32), bias("product_id")]), json!([product(16), bias("product_id")])]);
    assert_eq!(widths.schemas(&base, &schema).unwrap().len(), 1);
    let others = config(&[
        json!([product(32), bias("category")]),
        json!([product(32)]),
        json!([product(16)]),
        json!([product(32), bias("product_id")]),
    ]);
    let schemas = others.schemas(&base, &schema).unwrap();
    assert_eq!(schemas.len(), 3);
    let (_, _, vocabulary) = loaded(&rows, &base).await;
    let data = encoded(&rows, &vocabulary, &schemas).await;
    let search = |data: &[Arc<TrainData>], config: &SearchConfig| {
        Search::new(data.to_vec(), &schema, Arc::clone(&vocabulary), base.clone(), config.clone())
    };
    search(&data[..1], &widths).unwrap();
    let report = search(&data, &others).unwrap().run(&Silent, &CancelToken::new()).unwrap();
    assert!(report.trials.len() == 5 && report.trials.iter().all(|t| t.score.is_some()), "{report:?}");
    // In whatever order they come.
    let turned: Vec<_> = data.iter().rev().cloned().collect();
    let again = search(&turned, &others).unwrap().run(&Silent, &CancelToken::new()).unwrap();
    let scores = |r: &SearchReport| r.trials.iter().map(|t| (t.number, t.score)).collect::<Vec<_>>();
    assert_eq!(scores(&again), scores(&report));
    let message = refused(search(&data[..1], &others));
    assert!(message.contains("trial 1") && message.contains("ids of category"), "{message}");
    assert!(refused(search(&[], &others)).contains("needs rows"));
    let fewer = encoded(&rows[..rows.len() - 1], &vocabulary, &schemas[1..2]).await;
    let mixed = [Arc::clone(&data[0]), Arc::clone(&fewer[0]), Arc::clone(&data[2])];
    assert!(refused(search(&mixed, &others)).contains("several datasets"));
}

/// The rows of one dataset, encoded with each schema.
async fn encoded(rows: &[Purchase], vocabulary: &Arc<Vocabulary>, schemas: &[Schema]) -> Vec<Arc<TrainData>> {
    let (dataset, mut all) = (dataset(rows, 3).await, Vec::new());
    for schema in schemas {
        all.push(load(&dataset, schema, vocabulary).await);
    }
    all
}
