//! What rules promise, over random combinations of all of them.

use crate::artifact::{
    CUSTOMERS, PRODUCTS, artifact, category, host, is_available, product_id, purchases, shared,
};
use proptest::prelude::*;
use recs_core::observe::CancelToken;
use recs_serve::index::{HnswConfig, HnswIndex};
use recs_serve::retriever::{Ignored, Reason, Recommendations, Request, Retriever};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

fn products(max: usize) -> impl Strategy<Value = Vec<String>> {
    let id = prop_oneof![9 => (0..PRODUCTS).prop_map(product_id), 1 => Just("unknown".to_owned())];
    proptest::collection::vec(id, 0..max)
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let customer = prop_oneof![
        6 => (0..CUSTOMERS).prop_map(|c| format!("c{c}")),
        2 => Just("stranger".to_owned()),
        1 => Just(crate::artifact::FORGOTTEN.to_owned()),
    ];
    let city = proptest::option::of(prop_oneof![Just("alpha".to_owned()), Just("nowhere".to_owned())]);
    let categories =
        proptest::collection::vec(prop_oneof![Just("DAIRY"), Just("FRUIT"), Just(""), Just("?")], 0..3);
    let boost = proptest::collection::vec(((0..PRODUCTS).prop_map(product_id), -3f32..3.0), 0..6);
    let who = (customer, city, proptest::option::of(0f32..500.0), 1usize..80);
    let lists = (products(20), proptest::option::weighted(0.4, products(40)), products(8));
    let rest = (
        proptest::option::weighted(0.3, categories),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1usize..9),
        boost,
    );
    (who, lists, rest).prop_map(|((customer_id, city, revenue, k), (exclude, allow, pin), rest)| {
        let (categories, exclude_purchased, available_only, category_cap, boost) = rest;
        let categories = categories.map(|list| list.into_iter().map(str::to_owned).collect());
        Request {
            customer_id,
            city,
            revenue,
            timestamp: None,
            k,
            exclude_purchased,
            exclude,
            allow,
            categories,
            available_only,
            category_cap,
            boost,
            pin,
            explain: true,
        }
    })
}

/// As `shared`, searching a graph: a sparse one, so that not everything is found by walking.
fn by_graph() -> &'static Retriever {
    static BY_GRAPH: LazyLock<Retriever> = LazyLock::new(|| {
        let artifact = Arc::new(artifact("v1"));
        let config = HnswConfig { m: 3, ef_construction: 6, ef_search: 6, ..HnswConfig::default() };
        let index = HnswIndex::build_shared(Arc::clone(&artifact.candidates), &config, &CancelToken::new());
        Retriever::with_index(artifact, Arc::new(index.unwrap()), host()).unwrap()
    });
    &BY_GRAPH
}

fn number(id: &str) -> usize {
    (0..PRODUCTS).find(|&i| product_id(i) == id).unwrap()
}

/// The products that a request allows, by number; written down a second time, as sets.
fn allowed(request: &Request) -> BTreeSet<usize> {
    let bought = match request.customer_id.strip_prefix('c') {
        Some(c) => purchases(c.parse().unwrap()),
        None if request.customer_id == crate::artifact::FORGOTTEN => vec![7, 11, 50],
        None => vec![],
    };
    (0..PRODUCTS)
        .filter(|&i| !request.exclude.contains(&product_id(i)))
        .filter(|&i| request.allow.as_ref().is_none_or(|list| list.contains(&product_id(i))))
        .filter(|&i| request.categories.as_ref().is_none_or(|list| list.iter().any(|c| c == category(i))))
        .filter(|&i| !request.available_only || is_available(i))
        .filter(|i| !request.exclude_purchased || !bought.contains(i))
        .collect()
}

/// How many products fit: of each category at most the cap.
fn room(request: &Request, allowed: &BTreeSet<usize>) -> usize {
    let Some(cap) = request.category_cap else { return allowed.len() };
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    allowed.iter().for_each(|&i| *sizes.entry(category(i)).or_default() += 1);
    sizes.into_iter().map(|(name, n)| if name.is_empty() { n } else { n.min(cap) }).sum()
}

fn check_order(answer: &Recommendations<'_>) {
    let unpinned = answer.items.iter().filter(|i| i.reason != Reason::Pinned);
    // A segment and everybody are one list, whichever of the two a product is in for.
    let list = |source| if answer.source == Reason::Segment { Reason::Segment } else { source };
    let mut last: Option<(Reason, f32)> = None;
    for item in unpinned {
        let source = list(item.explain.unwrap().source);
        if let Some((before, score)) = last {
            assert!(source != before || item.score <= score, "{answer:?}");
            assert!(source == before || source == Reason::Popularity, "only popularity fills up: {answer:?}");
        }
        last = Some((source, item.score));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_hold_and_k_products_come_when_k_exist(request in request(), walks in any::<bool>()) {
        let retriever = if walks { by_graph() } else { shared() };
        let answer = retriever.recommend(&request).unwrap();
        let allowed = allowed(&request);
        let found: Vec<usize> = answer.items.iter().map(|i| number(i.product_id)).collect();

        prop_assert!(found.iter().all(|i| allowed.contains(i)), "a rule was broken: {:?}", answer);
        prop_assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "a product came twice");
        prop_assert_eq!(found.len(), request.k.min(room(&request, &allowed)), "{:?}", answer);
        prop_assert_eq!(answer.shortfall.is_some(), found.len() < request.k);
        prop_assert!(answer.items.iter().zip(1..).all(|(item, rank)| item.rank == rank && item.score.is_finite()));
        check_order(&answer);
    }

    #[test]
    fn the_cap_counts_over_the_whole_list(request in request(), cap in 1usize..4) {
        let answer = shared().recommend(&Request { category_cap: Some(cap), ..request }).unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &answer.items {
            *counts.entry(category(number(item.product_id))).or_default() += 1;
        }
        counts.remove("");
        prop_assert!(counts.values().all(|&n| n <= cap), "{:?}", counts);
    }

    #[test]
    fn allowed_pins_stand_on_top_in_their_order(request in request()) {
        let request = Request { category_cap: None, ..request };
        let answer = shared().recommend(&request).unwrap();
        let allowed = allowed(&request);
        let mut pins: Vec<&String> = Vec::new();
        for pin in request.pin.iter().filter(|p| *p != "unknown" && allowed.contains(&number(p))) {
            if !pins.contains(&pin) {
                pins.push(pin);
            }
        }
        pins.truncate(request.k);
        let top: Vec<&str> = answer.items.iter().take(pins.len()).map(|i| i.product_id).collect();
        prop_assert_eq!(&top, &pins);
        let pinned = answer.items.iter().filter(|i| i.reason == Reason::Pinned).count();
        prop_assert_eq!(pinned, pins.len());
    }

    /// Boosting one product by an amount moves it as if its score had been higher, and changes nothing else.
    #[test]
    fn a_boost_is_added_to_the_score(c in 0..CUSTOMERS, product in 0..PRODUCTS, amount in -4f32..4.0, k in 1usize..70) {
        let request = Request { customer_id: format!("c{c}"), k: PRODUCTS, explain: true, ..Request::default() };
        let plain = shared().recommend(&request).unwrap();
        let mut expected: Vec<(&str, f32)> = plain.items.iter().map(|i| (i.product_id, i.score)).collect();
        let id = product_id(product);
        expected.iter_mut().filter(|(p, _)| *p == id).for_each(|(_, score)| *score += amount);
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(number(a.0).cmp(&number(b.0))));
        expected.truncate(k);
        let boosted = shared().recommend(&Request { boost: vec![(id.clone(), amount)], k, ..request }).unwrap();
        let got: Vec<(&str, f32)> = boosted.items.iter().map(|i| (i.product_id, i.score)).collect();
        prop_assert_eq!(got, expected);
        for item in boosted.items.iter().filter(|i| i.product_id == id) {
            let parts = item.explain.unwrap();
            prop_assert_eq!((parts.boost, parts.base + parts.boost), (amount, item.score));
        }
    }
}

#[test]
fn values_without_effect_are_reported() {
    let request = Request {
        customer_id: "c1".into(),
        k: 2,
        exclude: vec![product_id(4), "nothing".into()],
        categories: Some(vec!["DAIRY".into(), "FRUIT".into(), "SPACE".into()]),
        pin: vec![product_id(1), product_id(4), product_id(1), "none".into(), product_id(2), product_id(5)],
        boost: vec![("void".into(), 1.0), (product_id(3), 1.0)],
        ..Request::default()
    };
    let answer = shared().recommend(&request).unwrap();
    let ignored: Vec<(&str, &str, Ignored)> =
        answer.ignored.iter().map(|i| (i.field, i.value.as_str(), i.why)).collect();
    let (four, one, three, five) = (product_id(4), product_id(1), product_id(3), product_id(5));
    let expected = [
        ("categories", "SPACE", Ignored::Unknown),
        ("exclude", "nothing", Ignored::Unknown),
        ("pin", four.as_str(), Ignored::Filtered),
        ("pin", one.as_str(), Ignored::Repeated),
        ("pin", "none", Ignored::Unknown),
        ("boost", "void", Ignored::Unknown),
        ("boost", three.as_str(), Ignored::Filtered),
        ("pin", five.as_str(), Ignored::NoRoom),
    ];
    assert_eq!(ignored, expected);
}

#[test]
fn a_short_list_says_why() {
    let ask = |request| shared().recommend(&request).unwrap().shortfall.unwrap();
    let nothing = ask(Request { allow: Some(vec![]), ..Request::default() });
    assert_eq!((nothing.asked, nothing.passed), (100, 0));
    assert_eq!(nothing.detail, "0 of 60 products pass the rules of the request");
    let catalogue = ask(Request::default());
    assert_eq!((catalogue.passed, catalogue.detail.as_str()), (60, "the catalogue has 60 products"));
    let capped = ask(Request { category_cap: Some(1), ..Request::default() });
    assert_eq!(capped.detail, "60 of 60 products pass the rules, 18 of them with at most 1 of a category");
}
