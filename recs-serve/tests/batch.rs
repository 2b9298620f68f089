use crate::artifact::shared;
use crate::rules::request;
use proptest::prelude::*;
use recs_serve::retriever::{Recommendations, Request};
use std::collections::BTreeMap;

/// Same products and scores; products may change places where scores agree to 1e-5.
fn assert_same(one: &Recommendations<'_>, batch: &Recommendations<'_>) {
    let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
    assert_eq!(
        (one.items.len(), one.source, &one.ignored),
        (batch.items.len(), batch.source, &batch.ignored)
    );
    assert_eq!(one.shortfall, batch.shortfall);
    let scores: BTreeMap<&str, f32> = one.items.iter().map(|i| (i.product_id, i.score)).collect();
    let last = one.items.last().map_or(0.0, |i| i.score);
    for (a, b) in one.items.iter().zip(&batch.items) {
        assert!(close(a.score, b.score), "{a:?} {b:?}");
        let same = scores.get(b.product_id).map_or(last, |s| *s);
        assert!(close(same, b.score), "{b:?} is not in the single answer");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn a_batch_gives_what_single_requests_give(requests in proptest::collection::vec(request(), 1..150)) {
        // Caps choose between products of nearly equal scores; they have a test of their own.
        let requests: Vec<Request> = requests.into_iter().map(|r| Request { category_cap: None, ..r }).collect();
        let batch = shared().recommend_batch(&requests).unwrap();
        prop_assert_eq!(batch.len(), requests.len());
        for (request, answer) in requests.iter().zip(&batch) {
            assert_same(&shared().recommend(request).unwrap(), answer);
        }
    }
}

#[test]
fn a_thousand_with_caps_come_in_order() {
    let one = |i: usize| Request {
        customer_id: format!("c{}", i % 25),
        city: Some("alpha".into()),
        k: 1 + i % 40,
        category_cap: Some(1 + i % 5),
        ..Request::default()
    };
    let requests: Vec<Request> = (0..1000).map(one).collect();
    let batch = shared().recommend_batch(&requests).unwrap();
    for (request, answer) in requests.iter().zip(&batch) {
        assert_same(&shared().recommend(request).unwrap(), answer);
    }
}
