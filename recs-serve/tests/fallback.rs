//! Who is answered by what.

use crate::artifact::{FORGOTTEN, OLD_TOWN, PRODUCTS, artifact, host, product_id, purchases, shared};
use recs_core::artifact::segment_share;
use recs_serve::Error;
use recs_serve::retriever::{Reason, Request, Retriever};
use std::sync::Arc;

fn ask(customer: &str, city: Option<&str>, k: usize) -> Request {
    Request {
        customer_id: customer.into(),
        city: city.map(str::to_owned),
        k,
        explain: true,
        ..Request::default()
    }
}

#[test]
fn a_known_customer_is_answered_by_the_model_and_repeats_are_marked() {
    for city in [Some("alpha"), Some("nowhere"), None] {
        let answer = shared().recommend(&ask("c3", city, PRODUCTS)).unwrap();
        assert_eq!(answer.source, Reason::Model);
        for item in &answer.items {
            let bought = purchases(3).iter().any(|&p| product_id(p) == item.product_id);
            assert_eq!(item.reason, if bought { Reason::Repeat } else { Reason::Model });
            let parts = item.explain.unwrap();
            assert_eq!((parts.source, parts.bought > 0), (Reason::Model, bought));
        }
    }
}

/// The vocabulary holds customers of the test rows too; nothing was learned about those.
#[test]
fn a_customer_without_training_rows_is_unknown_whatever_the_vocabulary_says() {
    let mut untrained = artifact("v1");
    let customers = Arc::make_mut(&mut untrained.customers);
    let at = customers.position("c3").unwrap();
    let from = customers.offsets[at]..customers.offsets[at + 1];
    customers.ids.remove(at);
    customers.segment.remove(at);
    customers.last_day.remove(at);
    customers.offsets.remove(at + 1);
    customers.offsets[at + 1..].iter_mut().for_each(|o| *o -= from.len());
    customers.products.drain(from.clone());
    customers.counts.drain(from);
    let retriever = Retriever::new(Arc::new(untrained), host()).unwrap();
    let answer = retriever.recommend(&ask("c3", Some("beta"), 5)).unwrap();
    assert_eq!(answer.source, Reason::FeaturesOnly);
    assert_eq!(retriever.recommend(&ask("c3", None, 5)).unwrap().source, Reason::Popularity);
    assert_eq!(retriever.recommend(&ask("c4", Some("beta"), 5)).unwrap().source, Reason::Model);
}

#[test]
fn without_a_city_a_customer_is_where_they_bought_most() {
    let home = shared().recommend(&ask("c3", Some("alpha"), 5)).unwrap();
    assert_eq!(shared().recommend(&ask("c3", None, 5)).unwrap(), home);
    assert_ne!(shared().recommend(&ask("c3", Some("beta"), 5)).unwrap(), home);
    let both = [ask("c3", None, 5), ask("c3", Some("alpha"), 5)];
    let batch = shared().recommend_batch(&both).unwrap();
    assert_eq!(batch[0], batch[1]);
}

#[test]
fn milliseconds_are_refused() {
    let request = Request { timestamp: Some(1_514_764_800_000_000), ..ask("c3", None, 5) };
    assert!(shared().recommend(&request).unwrap_err().to_string().contains("timestamp"));
}

#[test]
fn an_unknown_customer_in_a_known_city_is_answered_by_the_other_features() {
    let answer = shared().recommend(&ask("stranger", Some("beta"), 5)).unwrap();
    assert!(
        answer.source == Reason::FeaturesOnly
            && answer.items.iter().all(|i| i.reason == Reason::FeaturesOnly)
    );
    let elsewhere = shared().recommend(&ask("stranger", Some("gamma"), 5)).unwrap();
    assert_ne!(answer.items[0].score, elsewhere.items[0].score, "the city counts");
    let rich =
        shared().recommend(&Request { revenue: Some(250.0), ..ask("stranger", Some("beta"), 5) }).unwrap();
    assert_ne!(answer.items[0].score, rich.items[0].score, "revenue counts");
    let later = Request { timestamp: Some(1_510_000_000), ..ask("stranger", Some("beta"), 5) };
    assert_ne!(answer.items[0].score, shared().recommend(&later).unwrap().items[0].score, "the time counts");
}

#[test]
fn a_segment_answers_before_popularity_and_is_drawn_towards_it() {
    let candidates = artifact("v1").candidates;
    let total = candidates.popularity.iter().sum::<u64>() as f64;
    // Products 7, 11 and 50 were bought 2, 3 and 3 times.
    let bought = |p: usize| [(7, 2), (11, 3), (50, 3)].iter().find(|(q, _)| *q == p).map_or(0, |(_, n)| *n);
    let at = |p: usize| candidates.ids.iter().position(|id| *id == product_id(p)).unwrap();
    let share = |p: usize| segment_share(bought(p), 8, candidates.popularity[at(p)] as f64 / total);
    let mut expected: Vec<usize> = (0..PRODUCTS).collect();
    expected.sort_by(|&a, &b| share(b).total_cmp(&share(a)).then(at(a).cmp(&at(b))));
    let expected: Vec<String> = expected.into_iter().map(product_id).collect();
    // By the customer's own segment, and by a city that names one.
    let own = shared().recommend(&ask(FORGOTTEN, None, 100)).unwrap();
    let by_city = shared().recommend(&ask("stranger", Some(OLD_TOWN), 100)).unwrap();
    for answer in [&own, &by_city] {
        assert_eq!((answer.source, answer.items.len()), (Reason::Segment, PRODUCTS));
        assert_eq!(answer.items.iter().map(|i| i.product_id).collect::<Vec<_>>(), expected);
        for item in &answer.items {
            let p = (0..PRODUCTS).find(|&p| product_id(p) == item.product_id).unwrap();
            let source = if bought(p) > 0 { Reason::Segment } else { Reason::Popularity };
            assert_eq!(item.explain.unwrap().source, source);
            assert!((item.score - share(p)).abs() < 1e-7);
            // FORGOTTEN is who bought them.
            let reasons =
                if bought(p) > 0 { [Reason::Repeat, Reason::Segment] } else { [Reason::Popularity; 2] };
            let is_own = std::ptr::eq(answer, &raw const own);
            assert_eq!(item.reason, reasons[usize::from(!is_own)]);
        }
    }
}

#[test]
fn nobody_from_nowhere_gets_the_bestsellers() {
    let answer = shared().recommend(&ask("", None, 100)).unwrap();
    assert_eq!((answer.source, answer.items.len()), (Reason::Popularity, PRODUCTS));
    let candidates = artifact("v1").candidates;
    let expected: Vec<&str> =
        candidates.by_popularity().iter().map(|&i| candidates.ids[i as usize].as_str()).collect();
    assert_eq!(answer.items.iter().map(|i| i.product_id).collect::<Vec<_>>(), expected);
    let total: f32 = answer.items.iter().map(|i| i.score).sum();
    assert!((total - 1.0).abs() < 1e-5, "scores are shares of all rows: {total}");
}

#[test]
fn a_query_that_the_model_cannot_score_falls_back() {
    let absurd = Request { revenue: Some(f32::MAX), ..ask("c3", Some("alpha"), 10) };
    let answer = shared().recommend(&absurd).unwrap();
    assert_eq!(answer.items.len(), 10);
    assert!(answer.items.iter().all(|i| i.score.is_finite()));
}

#[test]
fn bad_values_are_all_named() {
    let request = Request {
        revenue: Some(f32::NAN),
        k: 0,
        category_cap: Some(0),
        boost: vec![("a/b~c".into(), f32::INFINITY)],
        ..Request::default()
    };
    let Err(Error::Request { faults, unlisted: 0 }) = shared().recommend(&request) else { panic!() };
    let pointers: Vec<&str> = faults.iter().map(|f| f.pointer.as_str()).collect();
    assert_eq!(pointers, ["/revenue", "/k", "/category_cap", "/boost/a~1b~0c"]);
    for size in [0, 1001] {
        let refused = shared().recommend_batch(&vec![Request::default(); size]).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("/requests has {size} requests, allowed are 1 to 1000")),
            "{refused}"
        );
    }
}

#[test]
fn similar_products_are_ordered_by_cosine() {
    let candidates = artifact("v1").candidates;
    let similar = shared().similar(&product_id(9), 100).unwrap();
    assert_eq!(similar.len(), PRODUCTS - 1);
    let cosine = |id: &str| {
        let row = |id: &str| candidates.vectors.row(candidates.ids.iter().position(|x| x == id).unwrap());
        let (a, b) = (row(&product_id(9)).to_owned(), row(id));
        a.dot(&b) / (a.dot(&a).sqrt() * b.dot(&b).sqrt())
    };
    assert!(similar.windows(2).all(|w| w[0].score >= w[1].score));
    assert!(
        similar
            .iter()
            .zip(1..)
            .all(|(s, rank)| s.rank == rank && (cosine(s.product_id) - s.score).abs() < 1e-5)
    );
    assert!(similar.iter().all(|s| s.product_id != product_id(9)));
    assert_eq!(shared().similar(&product_id(9), 3).unwrap(), similar[..3]);
    assert!(matches!(shared().similar("none", 3), Err(Error::UnknownProduct { .. })));
}
