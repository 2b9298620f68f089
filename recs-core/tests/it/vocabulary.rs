//! `vocabularies.json`: round trip, order, and what is refused.

use proptest::prelude::*;
use recs_core::Error;
use recs_core::schema::{Schema, Value as Cell};
use recs_core::vocab::{Vocabulary, VocabularyBuilder, VocabularyConfig};
use serde_json::Value;

fn build(rows: &[(String, String, f32, i64, i64)]) -> Vocabulary {
    let config = VocabularyConfig { revenue_buckets: 7, timestamp_buckets: 3, ..VocabularyConfig::default() };
    let mut builder = VocabularyBuilder::new(&Schema::retail(), &config).unwrap();
    for (customer, city, revenue, ts, product) in rows {
        builder.push(&row(customer, city, *revenue, *ts, *product)).unwrap();
    }
    builder.finish().unwrap()
}

fn row<'a>(customer: &'a str, city: &'a str, revenue: f32, ts: i64, product: i64) -> [Cell<'a>; 8] {
    use Cell::{Float, Int64, Text};
    [Text(customer), Text(city), Float(revenue), Int64(ts), Int64(product), Text("n"), Text("c"), Text("s")]
}

fn rows() -> impl Strategy<Value = Vec<(String, String, f32, i64, i64)>> {
    proptest::collection::vec(
        ("[0-9a-zA-ZäЖ😀]{0,4}", ".{0,4}", 0f32..1e5, 0i64..2_000_000_000, any::<i64>()),
        1..40,
    )
}

proptest! {
    #[test]
    fn json_comes_back_and_is_stable(rows in rows()) {
        let (schema, built) = (Schema::retail(), build(&rows));
        let json = built.to_json(&schema).unwrap();
        let back = Vocabulary::parse(&json, &schema, "v").unwrap();
        for field in ["customer_id", "city", "product_id"] {
            prop_assert_eq!(back.lookup(field).unwrap(), built.lookup(field).unwrap());
        }
        prop_assert_eq!(back.buckets("revenue").unwrap(), built.buckets("revenue").unwrap());
        prop_assert!((back.stats("revenue").unwrap().std() - built.stats("revenue").unwrap().std()).abs() < 1e-6);
        prop_assert_eq!(&back.to_json(&schema).unwrap()[..200.min(json.len())], &json[..200.min(json.len())]);
    }

    #[test]
    fn the_order_of_rows_does_not_matter_to_ids(rows in rows()) {
        let mut reversed = rows.clone();
        reversed.reverse();
        let (a, b) = (build(&rows), build(&reversed));
        prop_assert_eq!(a.lookup("customer_id").unwrap(), b.lookup("customer_id").unwrap());
    }

    #[test]
    fn any_json_is_parsed_or_refused(text in "\\PC{0,80}") {
        let _ = Vocabulary::parse(text.as_bytes(), &Schema::retail(), "v");
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let schema = Schema::retail();
    let rows = [("b".into(), "x".into(), 1.0, 86_400, 7), ("a".into(), "x".into(), 3.0, 259_200, -2)];
    let json: Value = serde_json::from_slice(&build(&rows).to_json(&schema).unwrap()).unwrap();
    assert_eq!(json["customer_id"], serde_json::json!(["a", "b"]));
    assert_eq!(json["product_id"], serde_json::json!(["-2", "7"]));
    assert_eq!(json["revenue_buckets"].as_array().unwrap().len(), 7);
    let metadata = &json["metadata"];
    assert_eq!(
        metadata["vocab_sizes"],
        serde_json::json!({
        "customers": 2, "cities": 1, "products": 2, "product_names": 1, "product_categories": 1,
        "product_subcategories": 1, "revenue_buckets": 7, "timestamp_buckets": 3})
    );
    assert_eq!(
        metadata["revenue_stats"],
        serde_json::json!({"min": 1.0, "max": 3.0, "mean": 2.0, "std": 1.0})
    );
    assert_eq!(metadata["timestamp_stats"]["range_days"], 2.0);
    assert_eq!(metadata["timestamp_stats"]["approach"], "tensorflow_linear_buckets");
}

#[test]
fn faults_name_file_and_key() {
    let schema = Schema::retail();
    let good: Value =
        serde_json::from_slice(&build(&[("a".into(), "x".into(), 1.0, 0, 7)]).to_json(&schema).unwrap())
            .unwrap();
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut json = good.clone();
        change(&mut json);
        Vocabulary::parse(json.to_string().as_bytes(), &schema, "vocabularies.json").unwrap_err().to_string()
    };
    for (message, expected) in [
        (broken(&|j| drop(j.as_object_mut().unwrap().remove("city"))), "no `city`"),
        (broken(&|j| drop(j.as_object_mut().unwrap().remove("revenue_buckets"))), "no `revenue_buckets`"),
        (broken(&|j| j["city"] = serde_json::json!(["b", "a"])), "city: value 1"),
        (broken(&|j| j["city"] = serde_json::json!(["a", 3])), "`city`: value 1 is no string"),
        (broken(&|j| j["revenue_buckets"] = serde_json::json!([2.0, 1.0])), "revenue_buckets: boundary 1"),
        (broken(&|j| j["metadata"] = serde_json::json!(3)), "`metadata`"),
        (broken(&|j| *j = serde_json::json!([])), "invalid type"),
    ] {
        assert!(message.contains("vocabularies.json") && message.contains(expected), "{message}");
    }
}

#[test]
fn empty_and_non_finite_input_is_refused() {
    let schema = Schema::retail();
    let builder = VocabularyBuilder::new(&schema, &VocabularyConfig::default()).unwrap();
    assert!(matches!(builder.clone().finish(), Err(Error::InvalidValue { .. })));
    let mut builder = builder;
    assert!(matches!(builder.push(&row("a", "b", f32::NAN, 0, 0)), Err(Error::InvalidValue { .. })));
    let tight = VocabularyConfig { max_text_bytes: 3, ..VocabularyConfig::default() };
    let mut builder = VocabularyBuilder::new(&schema, &tight).unwrap();
    assert!(matches!(builder.push(&row("abcdef", "b", 0.0, 0, 0)), Err(Error::TooLarge { .. })));
}
