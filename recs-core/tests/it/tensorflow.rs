//! TensorFlow's answers, stored under `tests/data/tensorflow/`.

use recs_core::artifact::Digest;
use recs_core::example::{Example, Feature, RowReader, RowWriter};
use recs_core::hash::{fingerprint64, hash_bucket};
use recs_core::model::{FeatureEncoder, TowerColumns, cyclical};
use recs_core::schema::{Schema, Value as Cell};
use recs_core::tfrecord::{RecordReader, RecordWriter};
use recs_core::vocab::{Buckets, Vocabulary, linspace};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tensorflow").join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn buckets(spec: &Value) -> Buckets {
    let (min, max) = (spec["min"].as_f64().unwrap(), spec["max"].as_f64().unwrap());
    Buckets::new("golden", linspace(min, max, spec["num"].as_u64().unwrap() as usize)).unwrap()
}

#[test]
fn hash_buckets() {
    let golden = golden("tf_hash_and_bucket.json");
    let strings = golden["strings"].as_array().unwrap();
    assert!(strings.len() >= 13);
    for (i, text) in strings.iter().enumerate() {
        let bytes = text.as_str().unwrap().as_bytes();
        assert_eq!(Some(hash_bucket(bytes, 5000)), golden["to_hash_bucket_fast_5000"][i].as_u64(), "{text}");
        assert_eq!(Some(hash_bucket(bytes, 5000)), golden["keras_hashing_5000"][i].as_u64(), "{text}");
        assert_eq!(
            Some(fingerprint64(bytes) % (1 << 62)),
            golden["to_hash_bucket_fast_2pow62"][i].as_u64(),
            "{text}"
        );
    }
}

#[test]
fn discretization() {
    let golden = golden("tf_hash_and_bucket.json");
    let buckets = buckets(&golden["boundaries"]);
    let values = numbers(&golden["values_f32"]);
    for (x, expected) in values.iter().zip(numbers(&golden["discretization"])) {
        assert_eq!(f64::from(buckets.bucket(*x as f32)), expected, "{x}");
    }
}

#[test]
fn cyclical_time() {
    let golden = golden("tf_features.json");
    for (ts, expected) in numbers(&golden["timestamps"]).iter().zip(golden["cyclical"].as_array().unwrap()) {
        for (i, (ours, theirs)) in cyclical(*ts as i64).iter().zip(numbers(expected)).enumerate() {
            assert!(
                (f64::from(*ours) - theirs).abs() < 5e-7,
                "timestamp {ts}, number {i}: {ours} instead of {theirs}"
            );
        }
    }
}

#[test]
fn timestamp_and_revenue_buckets() {
    let golden = golden("tf_features.json");
    for (values, bounds, expected) in [
        ("timestamps", "timestamp_boundaries", "timestamp_bucket"),
        ("revenues", "revenue_boundaries", "revenue_bucket"),
    ] {
        let buckets = buckets(&golden[bounds]);
        for (x, expected) in numbers(&golden[values]).iter().zip(numbers(&golden[expected])) {
            assert_eq!(f64::from(buckets.bucket(*x as f32)), expected, "{values} {x}");
        }
    }
}

/// A vocabulary with the golden's boundaries and normalisation.
fn vocabulary(schema: &Schema, golden: &Value) -> Arc<Vocabulary> {
    let line = |spec: &Value| {
        linspace(
            spec["min"].as_f64().unwrap(),
            spec["max"].as_f64().unwrap(),
            spec["num"].as_u64().unwrap() as usize,
        )
    };
    let adapted = numbers(&golden["normalisation"]["adapted_to"]);
    let mean = adapted.iter().sum::<f64>() / adapted.len() as f64;
    let std = (adapted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / adapted.len() as f64).sqrt();
    let file = json!({
        "customer_id": [], "city": [], "product_id": [], "art_name": [], "category": [], "subcategory": [],
        "revenue_buckets": line(&golden["revenue_boundaries"]), "timestamp_buckets": line(&golden["timestamp_boundaries"]),
        "metadata": {"total_examples": 6, "revenue_stats": {"min": 0.0, "max": 1.0, "mean": mean, "std": std}}});
    Arc::new(Vocabulary::parse(file.to_string().as_bytes(), schema, "golden").unwrap())
}

fn row<'a>(customer: &'a str, city: &'a str, revenue: f32, timestamp: i64) -> [Cell<'a>; 8] {
    use Cell::{Float, Int64, Text};
    [Text(customer), Text(city), Float(revenue), Int64(timestamp), Int64(1), Text(""), Text(""), Text("")]
}

#[test]
fn normalised_revenue_through_the_encoder() {
    let (schema, golden) = (Schema::retail(), golden("tf_features.json"));
    let encoder = FeatureEncoder::new(&schema, vocabulary(&schema, &golden)).unwrap();
    for (x, expected) in numbers(&golden["revenues"]).iter().zip(numbers(&golden["normalisation"]["values"]))
    {
        let mut columns = TowerColumns::default();
        encoder.query.encode(&row("c", "d", *x as f32, 0), &mut columns).unwrap();
        let ours = f64::from(columns.numbers[0]);
        assert!(
            (ours - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{x}: {ours} instead of {expected}"
        );
    }
}

#[test]
fn both_crosses_through_the_encoder() {
    let (schema, golden) = (Schema::retail(), golden("tf_features.json"));
    let encoder = FeatureEncoder::new(&schema, vocabulary(&schema, &golden)).unwrap();
    let entries = golden["cross2"].as_array().unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let mut columns = TowerColumns::default();
        let (revenue, ts) = (entry["revenue"].as_f64().unwrap() as f32, entry["timestamp"].as_i64().unwrap());
        encoder.query.encode(&row("900", "store_31800", revenue, ts), &mut columns).unwrap();
        assert_eq!(Some(u64::from(columns.ids[5])), entry["bin"].as_u64(), "{entry}");
        assert_eq!(columns.ids[3], 172, "cross 1 of 900_x_store_31800");
    }
}

#[test]
fn a_shard_that_tensorflow_wrote() {
    let schema = Schema::retail()
        .with_records([
            ("customer_id", "cust_person_id"),
            ("category", "stratbuy_domain_desc"),
            ("subcategory", "mge_main_cat_desc"),
        ])
        .unwrap();
    let mut reader = RecordReader::open(&path("tf_written_shard.tfrecord.gz")).unwrap();
    let mut rows = RowReader::new(&schema, "tf");
    let writer = RowWriter::new(&schema);
    let (mut count, mut lines, mut back) = (0, Vec::new(), RecordWriter::plain(Vec::new()));
    while let Some((at, record)) = reader.read().unwrap() {
        let mut row = Vec::new();
        rows.read(record, at, &mut row).unwrap();
        let text: Vec<String> = row
            .iter()
            .map(|cell| match cell {
                Cell::Text(text) => (*text).to_owned(),
                Cell::Int64(n) => n.to_string(),
                Cell::Float(x) => format!("{:08x}", x.to_bits()),
            })
            .collect();
        lines.extend(format!("{}\n", text.join("\t")).into_bytes());
        // The same values written by us decode to the same Example.
        let mut ours = Vec::new();
        writer.write(&row, &mut ours).unwrap();
        let example = Example::decode(record).unwrap();
        assert_eq!(Example::decode(&ours).unwrap(), example);
        assert!(matches!(example.features["product_id"], Feature::Int64(_)));
        back.write(&ours).unwrap();
        count += 1;
    }
    let golden = golden("tf_written_shard.json");
    assert_eq!(count, 11_017);
    assert_eq!(golden["rows"], count);
    assert_eq!(golden["sha256"], Digest::of(&lines).sha256);
    assert_eq!(back.records(), count);
}
