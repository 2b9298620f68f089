//! Publishing and loading a model version.

use recs_core::Error;
use recs_core::artifact::{
    Candidates, Customers, MANIFEST_FILE, MAX_PROBES, Manifest, ModelArtifact, ModelMetadata, PROBE_FILE,
    Probe,
};
use recs_core::model::{ModelConfig, Weights};
use recs_core::schema::{Schema, Value};
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_core::vocab::{VocabularyBuilder, VocabularyConfig};
use std::sync::Arc;

pub(super) fn model(version: &str) -> ModelArtifact {
    use Value::{Float, Int64, Text};
    let schema = Schema::retail();
    let mut builder = VocabularyBuilder::new(&schema, &VocabularyConfig::default()).unwrap();
    for (customer, product) in [("1", 10), ("2", 11), ("é", 12)] {
        let row = [
            Text(customer),
            Text("x"),
            Float(1.5),
            Int64(86_400),
            Int64(product),
            Text("n"),
            Text("c"),
            Text("s"),
        ];
        builder.push(&row).unwrap();
    }
    let (vocabulary, config) = (builder.finish().unwrap(), ModelConfig::reference(schema));
    let weights = Weights::build(&config, &vocabulary, |name, shape| {
        Ok((0..shape.iter().product::<usize>()).map(|i| ((i + name.len()) % 13) as f32 * 0.01).collect())
    })
    .unwrap();
    let candidates = Candidates {
        ids: vec!["10".into(), "11".into(), "12".into()],
        names: vec!["n".into(); 3],
        categories: vec!["c".into(); 3],
        available: vec![true, false, true],
        popularity: vec![1, 5, 1],
        vectors: ndarray::Array2::from_shape_fn((3, 32), |(i, j)| (i * 32 + j) as f32),
    };
    let customers = Customers {
        ids: vec!["1".into(), "2".into(), "é".into()],
        offsets: vec![0, 2, 2, 3],
        products: vec![0, 2, 1],
        counts: vec![3, 1, 2],
        repeat: vec![0.0, -1.5, 2.25],
        last_day: vec![1, 2, -3],
        segment: vec!["x".into(), String::new(), "x".into()],
    };
    ModelArtifact {
        metadata: ModelMetadata { model_version: version.into(), ..ModelMetadata::default() },
        config,
        weights: Arc::new(weights),
        vocabulary: Arc::new(vocabulary),
        candidates: Arc::new(candidates),
        customers: Arc::new(customers),
        probe: [("1", vec!["10".to_owned(), "12".into()]), ("é", Vec::new())].map(probe).into(),
        training_stats: serde_json::json!({"epochs": 3}),
    }
}

fn probe((customer, product_ids): (&str, Vec<String>)) -> Probe {
    Probe { customer_id: customer.into(), city: "x".into(), timestamp: -86_400, product_ids }
}

fn root(store: &Store) -> TenantRoot {
    store.tenant(&TenantId::new("acme").unwrap()).unwrap()
}

#[tokio::test]
async fn a_published_model_loads_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for store in [Store::local(folder.path()).unwrap(), Store::memory()] {
        let (root, published) = (root(&store), model("v1"));
        published.publish(&root, "2018-01-02T00:00:00Z").await.unwrap();
        assert_eq!(ModelArtifact::latest_version(&root).await.unwrap(), "v1");
        let loaded = ModelArtifact::load(&root, "v1").await.unwrap();
        assert_eq!(loaded.weights, published.weights);
        assert_eq!(loaded.candidates, published.candidates);
        assert_eq!(loaded.customers, published.customers);
        assert_eq!(loaded.probe, published.probe);
        assert_eq!(loaded.config, published.config);
        assert_eq!(loaded.training_stats, published.training_stats);
        assert_eq!(loaded.candidates.by_popularity(), [1, 0, 2]);
    }
}

/// Versions of earlier releases have no probe set.
#[tokio::test]
async fn a_version_without_a_probe_set_loads() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(&Store::local(folder.path()).unwrap());
    model("v1").publish(&root, "2018-01-02T00:00:00Z").await.unwrap();
    let path = folder.path().join("tenants/acme/models/v1").join(MANIFEST_FILE);
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(manifest["files"].as_object_mut().unwrap().remove(PROBE_FILE).is_some());
    std::fs::write(&path, manifest.to_string()).unwrap();
    assert!(ModelArtifact::load(&root, "v1").await.unwrap().probe.is_empty());
}

/// Searches by bisection go by these orders.
#[tokio::test]
async fn tables_out_of_order_are_not_published() {
    type Spoil = fn(&mut Candidates, &mut Customers);
    let cases: [(&str, Spoil); 4] = [
        ("product_id", |c, _| c.ids[2] = "10".into()),
        ("customer_id", |_, c| c.ids.swap(0, 1)),
        ("product_ids", |_, c| c.products.swap(0, 1)),
        ("product_ids", |_, c| c.products[2] = 3),
    ];
    for (column, spoil) in cases {
        let (store, mut broken) = (Store::memory(), model("v1"));
        spoil(Arc::make_mut(&mut broken.candidates), Arc::make_mut(&mut broken.customers));
        let error = broken.publish(&root(&store), "t").await.unwrap_err();
        assert!(matches!(&error, Error::InvalidValue { column: c, .. } if c == column), "{error}");
        assert!(matches!(ModelArtifact::latest_version(&root(&store)).await, Err(Error::NotFound { .. })));
    }
}

/// A model that has diverged, or of another width, would be found out by whoever loads it.
#[tokio::test]
async fn what_could_not_be_loaded_is_not_published() {
    let store = Store::memory();
    let mut diverged = model("v1");
    Arc::make_mut(&mut Arc::make_mut(&mut diverged.weights).query).embeddings[1][[0, 3]] = f32::NAN;
    let mut narrow = model("v1");
    Arc::make_mut(&mut narrow.candidates).vectors = ndarray::Array2::zeros((3, 31));
    let mut infinite = model("v1");
    Arc::make_mut(&mut infinite.candidates).vectors[[1, 2]] = f32::INFINITY;
    let mut long = model("v1");
    long.probe = vec![probe(("1", Vec::new())); MAX_PROBES + 1].into();
    let cases = [
        (diverged, "number 3 is NaN"),
        (narrow, "vector"),
        (infinite, "number 2 is inf"),
        (long, "allowed are 1024"),
    ];
    for (broken, expected) in cases {
        let error = broken.publish(&root(&store), "t").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(store.list("").await.unwrap().is_empty());
}

/// Killed between manifest and log: whoever tries again mends the log.
#[tokio::test]
async fn a_version_that_was_not_noted_is_noted_by_the_next_try() {
    let store = Store::memory();
    let root = root(&store);
    model("v1").publish(&root, "t").await.unwrap();
    model("v2").publish(&root, "t").await.unwrap();
    root.store().delete("registry/models/000002.json").await.unwrap();
    assert_eq!(ModelArtifact::latest_version(&root).await.unwrap(), "v1");
    assert!(matches!(model("v2").publish(&root, "t").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(ModelArtifact::latest_version(&root).await.unwrap(), "v2");
    assert!(matches!(model("v1").publish(&root, "t").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(ModelArtifact::latest_version(&root).await.unwrap(), "v2");
}

#[tokio::test]
async fn a_version_is_published_once() {
    let store = Store::memory();
    let root = root(&store);
    model("v1").publish(&root, "t").await.unwrap();
    let before = root.model("v1").unwrap().get(MANIFEST_FILE, 1 << 20).await.unwrap();
    assert!(matches!(model("v1").publish(&root, "u").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(root.model("v1").unwrap().get(MANIFEST_FILE, 1 << 20).await.unwrap(), before);
    ModelArtifact::load(&root, "v1").await.unwrap();
}

#[tokio::test]
async fn every_file_is_verified() {
    let store = Store::memory();
    let root = root(&store);
    let manifest = model("v1").publish(&root, "t").await.unwrap();
    assert_eq!(manifest.files.len(), 8);
    let folder = root.model("v1").unwrap();
    for name in manifest.files.keys() {
        let good = folder.get(name, 1 << 30).await.unwrap();
        let mut flipped = good.to_vec();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        for broken in [flipped, good[..at].to_vec()] {
            folder.put(name, broken.into()).await.unwrap();
            let error = ModelArtifact::load(&root, "v1").await.unwrap_err();
            assert!(matches!(error, Error::Digest { .. }), "{error}");
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
        folder.delete(name).await.unwrap();
        assert!(matches!(ModelArtifact::load(&root, "v1").await, Err(Error::NotFound { .. })));
        folder.put(name, good).await.unwrap();
    }
    ModelArtifact::load(&root, "v1").await.unwrap();
}

#[tokio::test]
async fn a_model_of_another_tenant_or_layout_is_refused() {
    let store = Store::memory();
    let (ours, theirs) = (root(&store), store.tenant(&TenantId::new("other").unwrap()).unwrap());
    model("v1").publish(&ours, "t").await.unwrap();
    for path in ours.store().list("models").await.unwrap() {
        let bytes = ours.store().get(&path, 1 << 30).await.unwrap();
        theirs.store().put(&path, bytes).await.unwrap();
    }
    let error = ModelArtifact::load(&theirs, "v1").await.unwrap_err();
    assert!(error.to_string().contains("is of tenant acme"), "{error}");
    assert!(matches!(ModelArtifact::load(&ours, "v2").await, Err(Error::NotFound { .. })));
    assert!(matches!(ModelArtifact::latest_version(&theirs).await, Err(Error::NotFound { .. })));
}

#[test]
fn weights_of_another_shape_are_refused() {
    let (a, mut b) = (model("v1"), model("v1"));
    let bytes = a.weights.to_safetensors(&a.config, &a.vocabulary).unwrap();
    b.config.query.layers = vec![128, 32];
    let error =
        Weights::from_safetensors(&bytes, &b.config, &b.vocabulary, "weights.safetensors").unwrap_err();
    assert!(matches!(&error, Error::Shape { tensor, .. } if tensor == "query.dense_1.kernel"), "{error}");
    for cut in [0, 7, 8, 100, bytes.len() - 1] {
        assert!(Weights::from_safetensors(&bytes[..cut], &a.config, &a.vocabulary, "w").is_err());
    }
}

#[test]
fn manifests_of_another_shape_are_refused() {
    let good = serde_json::json!({"format_version": 1, "model_version": "v", "tenant": "acme", "created_at": "t", "files": {}});
    let parse = |json: &serde_json::Value| Manifest::parse(json.to_string().as_bytes(), "manifest.json");
    parse(&good).unwrap();
    let digest = serde_json::json!({"size_bytes": 1, "sha256": "0".repeat(64)});
    for (key, value) in [
        ("format_version", serde_json::json!(2)),
        ("tenant", serde_json::json!("../x")),
        ("files", serde_json::json!({"../x": digest})),
        ("files", serde_json::json!({"x": {"size_bytes": 1, "sha256": "zz"}})),
        ("files", serde_json::json!([1])),
        ("surplus", serde_json::json!(1)),
    ] {
        let mut broken = good.clone();
        broken[key] = value;
        assert!(parse(&broken).is_err(), "{broken}");
    }
}
