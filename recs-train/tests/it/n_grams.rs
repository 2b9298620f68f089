//! Hashed n-grams of texts in both towers: gradients, serving, caches, and texts that nobody has seen.

use super::finite_differences::{Place, compare, loss};
use super::made::{Made, encoded};
use super::shards::{dataset, groups};
use recs_core::model::{FeatureEncoder, TowerColumns, TowerModel, Weights};
use recs_core::schema::{Encoding, Schema, Tower, Value};
use recs_train::TrainConfig;
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::optim::Clip;
use serde_json::json;
use std::sync::Arc;

pub(super) fn n_grams(field: &str, table: Option<&str>) -> Encoding {
    let (name, table) = (format!("{field}_n_grams"), table.map(str::to_owned));
    Encoding::NGrams { name, field: field.into(), from: 2, to: 4, words: true, bins: 97, dim: 5, table }
}

/// N-grams of cities and of products' names beside the reference's encodings, by tables of their own or by one.
fn schema(table: Option<&str>) -> Schema {
    let mut schema = Schema::retail();
    schema.query.insert(1, n_grams("city", table));
    schema.candidate.push(n_grams("art_name", table));
    schema.candidate.push(n_grams("product_id", None));
    schema.validate().unwrap();
    schema
}

async fn made(config: &TrainConfig, schema: Schema) -> Made {
    Made::new(config, schema, 4, 0.5).await
}

impl Made {
    fn embed(&self, weights: &Weights, tower: Tower, columns: &TowerColumns) -> ndarray::Array2<f32> {
        TowerModel::new(&self.model, tower, Arc::clone(weights.tower(tower))).unwrap().embed(columns).unwrap()
    }
}

fn config() -> TrainConfig {
    let mut config = TrainConfig::reference();
    (config.loss, config.clip) = (loss(&json!({})), Clip::None);
    for tower in [&mut config.query, &mut config.candidate] {
        tower.layers = vec![7, 5];
    }
    config
}

#[tokio::test]
async fn gradients() {
    for table in [None, Some("letters")] {
        let config = config();
        let made = made(&config, schema(table)).await;
        let rows: Vec<u32> = (0..20).collect();
        let loss = |weights: Weights| {
            made.backend(&config, weights).gradients(Batch::rows(&rows)).unwrap().0.total()
        };
        let (_, gradients) =
            made.backend(&config, made.weights.clone()).gradients(Batch::rows(&rows)).unwrap();
        let (city, name) = (&gradients.query.embeddings[1], &gradients.candidate.embeddings[3]);
        let number = &gradients.candidate.embeddings[4];
        let of_city = |i: usize| (city.rows[i] as usize, city.values[i * city.dim + 3]);
        let ((first, d_first), (other, d_other)) = (of_city(0), of_city(7));
        let (last, d_last) = (number.rows[2] as usize, number.values[2 * number.dim]);
        let checks: [(&str, f32, Place<'_>); 3] = [
            ("a city", d_first, &|w| &mut Arc::make_mut(&mut w.query).embeddings[1][[first, 3]]),
            ("another", d_other, &|w| &mut Arc::make_mut(&mut w.query).embeddings[1][[other, 3]]),
            ("a number", d_last, &|w| &mut Arc::make_mut(&mut w.candidate).embeddings[4][[last, 0]]),
        ];
        compare(&checks, &made.weights, &loss, &format!("{table:?}"));
        assert_eq!(name.rows.is_empty(), table.is_some());
        if table.is_none() {
            let (row, gradient) = (name.rows[5] as usize, name.values[5 * name.dim + 1]);
            let checks: [(&str, f32, Place<'_>); 1] =
                [("a name", gradient, &|w| &mut Arc::make_mut(&mut w.candidate).embeddings[3][[row, 1]])];
            compare(&checks, &made.weights, &loss, "names");
        }
    }
}

/// Training looks n-grams up by a text's place in the vocabulary, serving takes them from the text.
#[tokio::test]
async fn serving_encodes_as_training_and_texts_that_are_new() {
    let config = config();
    let made = made(&config, schema(Some("letters"))).await;
    let rows: Vec<u32> = (0..20).collect();
    let mut backend = made.backend(&config, made.weights.clone());
    for _ in 0..3 {
        backend.step(Batch::rows(&rows), 0.01).unwrap();
    }
    let bytes = backend.weights().to_safetensors(&made.model, &made.vocabulary).unwrap();
    let weights = Weights::from_safetensors(&bytes, &made.model, &made.vocabulary, "f").unwrap();
    assert_eq!(weights, backend.weights());
    let encoder = FeatureEncoder::new(&made.model.schema, Arc::clone(&made.vocabulary)).unwrap();
    let row = |name: &'static str, city: &'static str| {
        [
            Value::Text("c1"),
            Value::Text(city),
            Value::Float(11.0),
            Value::Int64(1_500_000_000),
            Value::Int64(3),
            Value::Text(name),
            Value::Text("group3"),
            Value::Text("sub3"),
        ]
    };
    let encode = |rows: &[[Value<'_>; 8]]| {
        let mut columns = [TowerColumns::default(), TowerColumns::default()];
        for row in rows {
            encoder.query.encode(row, &mut columns[0]).unwrap();
            encoder.candidate.encode(row, &mut columns[1]).unwrap();
        }
        columns
    };
    // Rows one after the other, and by parts that are joined.
    let three = [row("product 3", "city1"), row("product 33", "city9"), row("", "")];
    let [mut queries, mut candidates] = encode(&three[..1]);
    let [more_queries, more_candidates] = encode(&three[1..]);
    queries.append(more_queries);
    candidates.append(more_candidates);
    for (tower, parts, whole) in
        [(Tower::Query, &queries, &encode(&three)[0]), (Tower::Candidate, &candidates, &encode(&three)[1])]
    {
        let embedded = made.embed(&weights, tower, parts);
        assert_eq!(embedded, made.embed(&weights, tower, whole));
        assert!((&embedded.row(1) - &embedded.row(2)).iter().any(|d| d.abs() > 1e-4), "new texts differ");
    }
    // The catalogue's own product 3.
    let names = made.vocabulary.lookup("product_id").unwrap();
    let at = made.data.catalogue.ids.iter().position(|&id| names.text(id) == Some("3")).unwrap();
    let catalogue = made.embed(&weights, Tower::Candidate, &made.data.catalogue_columns());
    let served = made.embed(&weights, Tower::Candidate, &candidates);
    assert!(catalogue.row(at).iter().zip(served.row(0)).all(|(a, b)| (a - b).abs() < 1e-6));
    // The backend's forward pass: the in-batch softmax of what TowerModel embeds.
    let q = made.embed(&weights, Tower::Query, &made.data.query_columns(&rows));
    let place = |row: u32| made.data.product[row as usize] as usize;
    let logit = |i: usize, row: u32| f64::from(q.row(i).dot(&catalogue.row(place(row)))) / 0.5;
    let of_row = |(i, row): (usize, &u32)| {
        rows.iter().map(|row| logit(i, *row).exp()).sum::<f64>().ln() - logit(i, *row)
    };
    let expected = rows.iter().enumerate().map(of_row).sum::<f64>() / rows.len() as f64;
    let (found, _) = backend.gradients(Batch::rows(&rows)).unwrap();
    assert!((found.retrieval - expected).abs() < 1e-4 * expected, "{} {expected}", found.retrieval);
}

#[tokio::test]
async fn mapped_rows_have_the_same_lists() {
    let (rows, schema) = (dataset(&groups(20, 16, 4), 3).await, schema(None));
    let folder = tempfile::tempdir().unwrap();
    let (_, in_memory) = encoded(&rows, &schema, None).await;
    for _ in 0..2 {
        let (_, mapped) = encoded(&rows, &schema, Some(folder.path())).await;
        assert_eq!((&mapped.query.bags, &mapped.candidates), (&in_memory.query.bags, &in_memory.candidates));
        assert_eq!(*mapped.query.ids, *in_memory.query.ids);
    }
    // A list for each value, not for each row; of an unknown one, nothing.
    assert_eq!((in_memory.query.bags.len(), in_memory.query.bags[0].bags.len()), (1, 6));
    assert!(in_memory.query.bags[0].bags.list(0).is_empty());
}

#[tokio::test]
async fn refuses_what_does_not_fit() {
    let mut schema = schema(None);
    if let Encoding::NGrams { from, .. } = &mut schema.query[1] {
        *from = 5;
    }
    assert!(schema.validate().unwrap_err().to_string().contains("schema.query.city_n_grams"));
    let config = TrainConfig { clip: Clip::PerVariable { norm: 1.0 }, ..config() };
    let made = made(&config, self::schema(None)).await;
    let (data, pool) = (Arc::clone(&made.data), Arc::clone(&made.pool));
    let refused = CpuBackend::new(data, made.model, config, made.weights, vec![], pool).unwrap_err();
    assert!(refused.to_string().contains("train.clip.kind"), "{refused}");
    let minimal = json!({"kind": "n_grams", "name": "n", "field": "city", "bins": 10, "dim": 2});
    let read: Encoding = serde_json::from_value(minimal).unwrap();
    assert!(matches!(read, Encoding::NGrams { from: 3, to: 5, words: true, table: None, .. }));
}
