//! Models that must not be served, and those that need nothing special.

use crate::artifact::{artifact, host, shared};
use ndarray::{Array2, ShapeBuilder};
use recs_core::artifact::{Candidates, Customers, ModelArtifact};
use recs_core::schema::{Role, Schema};
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_serve::Error;
use recs_serve::index::ExactIndex;
use recs_serve::retriever::{Reason, Request, Retriever};
use std::sync::Arc;

fn with_candidates(change: impl FnOnce(&mut Candidates)) -> Result<Retriever, Error> {
    let mut artifact = artifact("v1");
    change(Arc::make_mut(&mut artifact.candidates));
    Retriever::new(Arc::new(artifact), host())
}

fn with_customers(change: impl FnOnce(&mut Customers)) -> Result<Retriever, Error> {
    let mut artifact = artifact("v1");
    change(Arc::make_mut(&mut artifact.customers));
    Retriever::new(Arc::new(artifact), host())
}

#[test]
fn contradicting_parts_are_refused_by_name() {
    let refused = [
        (with_candidates(|c| c.names.truncate(3)), "60 ids but 3 names"),
        (with_candidates(|c| c.ids[5] = c.ids[9].clone()), "is in record 5 too"),
        (with_customers(|c| c.ids.swap(0, 1)), "ids ascend"),
        (with_customers(|c| c.products[0] = 900), "not ascending numbers of the 60 candidates"),
        (with_customers(|c| c.offsets[1] = 1_000_000), "lists that do not lie end to end"),
        (with_customers(|c| c.segment.truncate(1)), "ids but 1 segments"),
    ];
    for (result, expected) in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Core(_)) && error.to_string().contains(expected), "{error}");
    }
    let not_finite = with_candidates(|c| c.vectors[[7, 3]] = f32::NAN).unwrap_err();
    assert!(
        matches!(&not_finite, Error::Core(recs_core::Error::InvalidValue { record: Some(7), .. })),
        "{not_finite}"
    );
    let other = ExactIndex::new(Array2::zeros((60, 31))).unwrap();
    assert!(matches!(
        Retriever::with_index(Arc::new(artifact("v1")), Arc::new(other), host()),
        Err(Error::Model { .. })
    ));
}

#[test]
fn column_major_vectors_give_the_same_answers() {
    let turned = with_candidates(|c| {
        let mut vectors = Array2::zeros(c.vectors.dim().f());
        vectors.assign(&c.vectors);
        c.vectors = vectors;
    });
    let request = Request { customer_id: "c1".into(), ..Request::default() };
    let turned = turned.unwrap();
    assert_eq!(turned.recommend(&request).unwrap(), shared().recommend(&request).unwrap());
    assert_eq!(turned.similar("1005", 5).unwrap(), shared().similar("1005", 5).unwrap());
}

#[test]
fn an_empty_catalogue_answers_with_a_reason() {
    let empty = with_candidates(|c| {
        let vectors = Array2::zeros((0, 32));
        *c = Candidates {
            ids: vec![],
            names: vec![],
            categories: vec![],
            available: vec![],
            popularity: vec![],
            vectors,
        };
    });
    // Customers name products that are gone.
    assert!(matches!(empty, Err(Error::Core(_))));
    let mut artifact = artifact("v1");
    let vectors = Array2::zeros((0, 32));
    let none = Candidates {
        ids: vec![],
        names: vec![],
        categories: vec![],
        available: vec![],
        popularity: vec![],
        vectors,
    };
    (artifact.candidates, artifact.customers) = (Arc::new(none), Arc::new(Customers::default()));
    let retriever = Retriever::new(Arc::new(artifact), host()).unwrap();
    for customer in ["c1", "stranger"] {
        let answer =
            retriever.recommend(&Request { customer_id: customer.into(), ..Request::default() }).unwrap();
        assert_eq!(answer.shortfall.unwrap().detail, "the catalogue has 0 products");
    }
}

/// Neither city nor revenue nor time: the customer is all that the model knows.
#[test]
fn a_schema_without_the_optional_roles_is_served() {
    let mut retail = artifact("v1");
    let mut schema = Schema::retail();
    schema.query.retain(|e| e.fields() == ["customer_id"]);
    for field in
        schema.fields.iter_mut().filter(|f| matches!(f.role, Role::City | Role::Revenue | Role::Timestamp))
    {
        field.role = Role::Other;
    }
    retail.config.schema = schema;
    let fill = |_: &str, shape: &[usize]| {
        Ok((0..shape.iter().product()).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect())
    };
    retail.weights =
        Arc::new(recs_core::model::Weights::build(&retail.config, &retail.vocabulary, fill).unwrap());
    let retriever = Retriever::new(Arc::new(retail), host()).unwrap();
    let ask = |customer: &str| {
        let request =
            Request { customer_id: customer.into(), city: Some("alpha".into()), ..Request::default() };
        retriever.recommend(&request).unwrap().source
    };
    // The model does not read the city, but it is a segment.
    assert_eq!((ask("c1"), ask("stranger")), (Reason::Model, Reason::Segment));
}

#[tokio::test]
async fn a_published_model_answers_like_the_one_in_memory() {
    let root = Store::memory().tenant(&TenantId::new("acme").unwrap()).unwrap();
    artifact("v7").publish(&root, "2026-01-01T00:00:00Z").await.unwrap();
    let version = ModelArtifact::latest_version(&root).await.unwrap();
    let loaded = Arc::new(ModelArtifact::load(&root, &version).await.unwrap());
    let kept = Arc::clone(&loaded);
    let retriever = Retriever::new(loaded, host()).unwrap();
    assert_eq!(
        (retriever.metadata().model_version.as_str(), kept.metadata.model_version.as_str()),
        ("v7", "v7")
    );
    let request = Request { customer_id: "c1".into(), city: Some("beta".into()), ..Request::default() };
    assert_eq!(retriever.recommend(&request).unwrap(), shared().recommend(&request).unwrap());
}
