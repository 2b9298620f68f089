//! A model of histories with a repeat term: lists equal those by hand.

use crate::artifact::{CUSTOMERS, FORGOTTEN, PRODUCTS, host, product_id, purchases, repeating_artifact};
use recs_core::artifact::ModelArtifact;
use recs_core::schema::Encoding;
use recs_serve::retriever::{Reason, Request, Retriever};
use std::sync::Arc;

fn ask(customer: &str) -> Request {
    Request { customer_id: customer.to_owned(), ..Request::default() }
}

/// What each product of the catalogue scores for a customer, from the definition: cosine of the pooled history and the
/// product by the temperature, the bias, and the repeat term.
fn by_hand(artifact: &ModelArtifact, customer: &str) -> Vec<f32> {
    let table = &artifact.weights.query.embeddings[0];
    let lookup = artifact.vocabulary.lookup("product_id").unwrap();
    let position = artifact.customers.position(customer).unwrap();
    let (products, counts) = artifact.customers.purchases(position);
    let mut pooled = vec![0.0f64; table.ncols()];
    for (&product, &count) in products.iter().zip(counts) {
        let row = table.row(lookup.id(&product_id(product as usize)) as usize);
        let weight = f64::from(count).ln_1p();
        pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * f64::from(*x));
    }
    let length = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
    let added: Vec<(u32, f32)> = artifact.customers.repeats(position).collect();
    let of = |product: usize| {
        let vector = artifact.candidates.vectors.row(product);
        let cosine: f64 = pooled.iter().zip(vector).map(|(a, b)| a / length * f64::from(*b)).sum();
        let bias = f64::from(vector[vector.len() - 1]);
        let added =
            added.iter().find(|(p, _)| *p as usize == product).map_or(0.0, |(_, value)| f64::from(*value));
        (cosine / 0.125 + bias + added) as f32
    };
    (0..PRODUCTS).map(of).collect()
}

#[test]
fn lists_and_scores_are_those_by_hand() {
    let artifact = repeating_artifact();
    assert!(matches!(artifact.config.schema.candidate[1], Encoding::Bias { .. }));
    let retriever = Retriever::new(Arc::new(artifact.clone()), host()).unwrap();
    let customers: Vec<String> =
        (0..CUSTOMERS).map(|c| format!("c{c}")).chain([FORGOTTEN.to_owned()]).collect();
    let requests: Vec<Request> =
        customers.iter().map(|customer| Request { k: PRODUCTS, explain: true, ..ask(customer) }).collect();
    let together = retriever.recommend_batch(&requests).unwrap();
    for ((customer, request), batched) in customers.iter().zip(&requests).zip(&together) {
        let expected = by_hand(&artifact, customer);
        for answer in [&retriever.recommend(request).unwrap(), batched] {
            assert_eq!((answer.source, answer.items.len()), (Reason::Model, PRODUCTS), "{customer}");
            for item in &answer.items {
                let product = (0..PRODUCTS).find(|&p| product_id(p) == item.product_id).unwrap();
                assert!((item.score - expected[product]).abs() < 1e-4, "{customer} {product}");
                let parts = item.explain.unwrap();
                assert!((parts.base + parts.repeat + parts.boost - item.score).abs() < 1e-5);
            }
            assert!(answer.items.windows(2).all(|w| w[0].score >= w[1].score));
        }
    }
}

#[test]
fn short_lists_are_the_beginning_of_long_ones_and_rules_hold() {
    let retriever = Retriever::new(Arc::new(repeating_artifact()), host()).unwrap();
    for c in 0..CUSTOMERS {
        let ids = |request: &Request| -> Vec<String> {
            let answer = retriever.recommend(request).unwrap();
            answer.items.iter().map(|item| item.product_id.to_owned()).collect()
        };
        let customer = format!("c{c}");
        let all = ids(&Request { k: PRODUCTS, ..ask(&customer) });
        for k in [1, 5, 20] {
            assert_eq!(ids(&Request { k, ..ask(&customer) }), all[..k]);
        }
        let bought: Vec<String> = purchases(c).into_iter().map(product_id).collect();
        let new = ids(&Request { k: PRODUCTS, exclude_purchased: true, ..ask(&customer) });
        let expected: Vec<&String> = all.iter().filter(|id| !bought.contains(id)).collect();
        assert_eq!(new.iter().collect::<Vec<_>>(), expected);
        let without = Request { k: 10, exclude: vec![all[0].clone()], ..ask(&customer) };
        assert_eq!(ids(&without), all[1..11]);
    }
}

#[test]
fn customers_without_purchases_get_what_others_buy() {
    let retriever = Retriever::new(Arc::new(repeating_artifact()), host()).unwrap();
    let answer = retriever.recommend(&Request { k: 5, ..ask("nobody") }).unwrap();
    assert_eq!((answer.source, answer.items.len()), (Reason::Popularity, 5));
    let in_city = Request { k: 5, city: Some("alpha".into()), ..ask("nobody") };
    assert_eq!(retriever.recommend(&in_city).unwrap().source, Reason::Segment);
}

#[test]
fn similar_products_are_those_of_the_direction_alone() {
    let artifact = repeating_artifact();
    let vectors = artifact.candidates.vectors.clone();
    let retriever = Retriever::new(Arc::new(artifact), host()).unwrap();
    let dim = vectors.ncols() - 1;
    let of = |p: usize| vectors.row(p).to_vec()[..dim].to_vec();
    for hit in retriever.similar(&product_id(3), 10).unwrap() {
        let other = (0..PRODUCTS).find(|&p| product_id(p) == hit.product_id).unwrap();
        let cosine: f32 = of(3).iter().zip(of(other)).map(|(a, b)| a * b).sum();
        assert!((hit.score - cosine).abs() < 1e-4);
    }
}
