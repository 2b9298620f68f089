//! Models whose products were refreshed without training.

use crate::artifact::{
    CUSTOMERS, PRODUCTS, artifact, candidates, category, host, product_id, repeating_artifact,
};
use ndarray::Array1;
use recs_core::artifact::{
    Missing, ModelArtifact, Product, RefreshOptions, Refreshed, VocabularySizes, refresh_candidates,
};
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_serve::retriever::{Request, Retriever};
use std::sync::Arc;

/// In front of all ids of the vocabulary, between them and behind them.
const NEW: [&str; 3] = ["0", "10305", "99"];

fn keep() -> RefreshOptions {
    RefreshOptions { missing: Missing::Keep, ..RefreshOptions::default() }
}

fn dairy(id: &str) -> Product {
    Product::new(id)
        .with_text("category", "DAIRY")
        .with_text("subcategory", "SUB")
        .with_text("art_name", "MILK")
}

fn with_new(artifact: &ModelArtifact) -> Refreshed {
    refresh_candidates(artifact, &NEW.map(dairy), "v2", &keep()).unwrap()
}

fn serve(artifact: &ModelArtifact) -> Retriever {
    Retriever::new(Arc::new(artifact.clone()), host()).unwrap()
}

/// Products and scores of a customer, the best first.
fn list(retriever: &Retriever, customer: &str) -> Vec<(String, u32)> {
    let k = retriever.products();
    let request = Request { customer_id: customer.into(), k, ..Request::default() };
    let answer = retriever.recommend(&request).unwrap();
    assert_eq!(answer.items.len(), k);
    answer.items.iter().map(|item| (item.product_id.to_owned(), item.score.to_bits())).collect()
}

/// Rows of the tables by product of the trained products of a category.
fn rows_of(artifact: &ModelArtifact, wanted: &str) -> Vec<usize> {
    let lookup = artifact.vocabulary.lookup("product_id").unwrap();
    (0..PRODUCTS).filter(|&p| category(p) == wanted).map(|p| lookup.id(&product_id(p)) as usize).collect()
}

#[test]
fn lists_of_known_products_do_not_change_by_a_bit() {
    for old in [artifact("v1"), repeating_artifact()] {
        let new = with_new(&old).artifact;
        assert_eq!(new.candidates.len(), PRODUCTS + NEW.len());
        assert_eq!(new.candidates.ids[..PRODUCTS], old.candidates.ids);
        assert_eq!(new.candidates.vectors.slice(ndarray::s![..PRODUCTS, ..]), old.candidates.vectors);
        let (before, after) = (serve(&old), serve(&new));
        for customer in (0..CUSTOMERS).map(|c| format!("c{c}")).chain(["nobody".to_owned()]) {
            let mut left = list(&after, &customer);
            left.retain(|(id, _)| !NEW.contains(&id.as_str()));
            assert_eq!(left, list(&before, &customer), "{customer}");
        }
    }
}

/// Ids of all products behind a new one moved; what was learned did not.
#[test]
fn the_tower_gives_every_product_its_vector_under_the_new_vocabulary() {
    for old in [artifact("v1"), repeating_artifact()] {
        let new = with_new(&old).artifact;
        let again = candidates(&new.config, &new.weights, &new.vocabulary);
        assert_eq!(again.vectors, old.candidates.vectors);
        let lookup = new.vocabulary.lookup("product_id").unwrap();
        assert!(NEW.iter().all(|id| lookup.id(id) != 0) && lookup.len() == PRODUCTS + 3);
        assert_eq!(new.metadata.vocabularies, VocabularySizes::of(&new.vocabulary, &new.config.schema));
    }
}

#[test]
fn a_new_product_is_the_mean_of_its_category_and_biased_low() {
    let old = repeating_artifact();
    let Refreshed { artifact: new, changes } = with_new(&old);
    // The list has no subcategories of known products.
    assert_eq!((changes.added, changes.from_category, changes.missing), (3, 3, PRODUCTS));
    let like = rows_of(&old, "DAIRY");
    let mean = |table: &ndarray::ArrayRef2<f32>| {
        let sum = like.iter().fold(Array1::<f32>::zeros(table.ncols()), |sum, &row| sum + table.row(row));
        sum / like.len() as f32
    };
    let direction = mean(&old.weights.candidate.embeddings[0]);
    let length = direction.dot(&direction).sqrt();
    let mut biases: Vec<f32> =
        like.iter().map(|&row| old.weights.candidate.embeddings[1][[row, 0]]).collect();
    biases.sort_by(f32::total_cmp);
    for vector in new.candidates.vectors.rows().into_iter().skip(PRODUCTS) {
        let (bias, towers) = (vector[255], vector.slice(ndarray::s![..255]));
        assert_eq!(bias.to_bits(), biases[(biases.len() - 1) / 4].to_bits());
        assert!((towers.dot(&towers) - 1.0).abs() < 1e-5);
        assert!(towers.iter().zip(&direction).all(|(a, b)| (a - b / length).abs() < 1e-5));
    }
    // Histories that have it go on like those that have its category.
    let row = new.vocabulary.lookup("product_id").unwrap().id("99") as usize;
    let history = mean(&old.weights.query.embeddings[0]);
    assert!(new.weights.query.embeddings[0].row(row).iter().zip(&history).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// Subcategories count where the list tells those of known products; without a category the mean is of all.
#[test]
fn the_closest_kind_that_is_known_counts() {
    let old = repeating_artifact();
    let mut products: Vec<Product> = (0..PRODUCTS)
        .map(|p| {
            let kind = if p == 5 { "BLUE CHEESE" } else { "OTHER" };
            Product::new(product_id(p)).with_text("category", category(p)).with_text("subcategory", kind)
        })
        .collect();
    let kinds =
        [("DAIRY", "BLUE CHEESE"), ("DAIRY", "GOAT CHEESE"), ("MEAT", "BLUE CHEESE"), ("TOYS", ""), ("", "")];
    for (i, (category, subcategory)) in kinds.into_iter().enumerate() {
        let product = Product::new((9000 + i).to_string()).with_text("category", category);
        products.push(product.with_text("subcategory", subcategory));
    }
    let Refreshed { artifact: new, changes } =
        refresh_candidates(&old, &products, "v2", &RefreshOptions::default()).unwrap();
    assert_eq!((changes.from_subcategory, changes.from_category, changes.from_all), (1, 2, 2));
    let vector = |i: usize| new.candidates.vectors.slice(ndarray::s![i, ..255]);
    // The only one of its kind.
    assert!(vector(PRODUCTS).iter().zip(vector(5)).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_ne!(vector(PRODUCTS + 1), vector(PRODUCTS));
    assert_eq!(vector(PRODUCTS + 3), vector(PRODUCTS + 4));
}

/// Products of a category lie together, and customers buy from one category.
fn grouped() -> ModelArtifact {
    let mut artifact = repeating_artifact();
    let lookup = artifact.vocabulary.lookup("product_id").unwrap();
    let rows: Vec<usize> = (0..PRODUCTS).map(|p| lookup.id(&product_id(p)) as usize).collect();
    let weights = Arc::make_mut(&mut artifact.weights);
    for table in [
        &mut Arc::make_mut(&mut weights.query).embeddings[0],
        &mut Arc::make_mut(&mut weights.candidate).embeddings[0],
    ] {
        for (p, &row) in rows.iter().enumerate() {
            let mut row = table.row_mut(row);
            row.mapv_inplace(|x| x * 0.3);
            row[p % 4] += 1.0;
        }
    }
    artifact.candidates = Arc::new(candidates(&artifact.config, &artifact.weights, &artifact.vocabulary));
    let customers = Arc::make_mut(&mut artifact.customers);
    (customers.products, customers.counts, customers.repeat) = (Vec::new(), Vec::new(), Vec::new());
    customers.offsets = vec![0];
    for position in 0..customers.len() {
        customers.products.extend((0..PRODUCTS as u32).filter(|p| *p as usize % 4 == position % 4).take(6));
        customers.counts.resize(customers.products.len(), 1);
        customers.offsets.push(customers.products.len());
    }
    artifact
}

#[test]
fn customers_of_its_category_get_a_new_product_behind_what_sells_and_others_do_not() {
    let old = grouped();
    let new = refresh_candidates(&old, &[dairy("99")], "v2", &keep()).unwrap().artifact;
    let retriever = serve(&new);
    let category_of = |id: &str| (0..PRODUCTS).find(|&p| product_id(p) == id).map(category);
    for (position, customer) in old.customers.ids.iter().enumerate() {
        let list = list(&retriever, customer);
        let at = list.iter().position(|(id, _)| id == "99").unwrap();
        let (before, behind) = (&list[..at], &list[at + 1..]);
        let dairy =
            |items: &[(String, u32)]| items.iter().filter(|(id, _)| category_of(id) == Some("DAIRY")).count();
        if position % 4 == 1 {
            assert_eq!(dairy(before), at, "{customer}: nothing else before it");
            assert!(dairy(before) >= 5 && dairy(behind) >= 1, "{customer}: rank {at}");
        } else {
            let own = before.iter().filter(|(id, _)| category_of(id) == Some(category(position % 4))).count();
            assert_eq!(own, PRODUCTS / 4, "{customer}: all of its own category before it");
        }
    }
}

#[tokio::test]
async fn a_refreshed_model_is_published_loaded_and_served_like_any_other() {
    let root = Store::memory().tenant(&TenantId::new("demo").unwrap()).unwrap();
    let old = repeating_artifact();
    old.publish(&root, "2018-01-01T00:00:00Z").await.unwrap();
    let latest = ModelArtifact::load(&root, "v1").await.unwrap();
    let new = with_new(&latest).artifact;
    new.publish(&root, "2018-01-02T00:00:00Z").await.unwrap();
    assert_eq!(ModelArtifact::latest_version(&root).await.unwrap(), "v2");
    let loaded = ModelArtifact::load(&root, "v2").await.unwrap();
    assert_eq!((&loaded.weights, &loaded.vocabulary), (&new.weights, &new.vocabulary));
    assert_eq!((&loaded.candidates, &loaded.customers), (&new.candidates, &old.customers));
    assert_eq!(loaded.metadata.hyperparameters["refresh"]["from"], "v1");
    let retriever = serve(&loaded);
    for customer in ["c1", "c7", "nobody"] {
        assert_eq!(list(&retriever, customer), list(&serve(&new), customer));
    }
    let similar = retriever.similar("99", 5).unwrap();
    assert_eq!(similar.len(), 5);
    // Once more: what was new is known, and nothing moves.
    let again = refresh_candidates(&loaded, &[], "v3", &keep()).unwrap();
    assert_eq!((again.changes.added, again.changes.updated), (0, 0));
    assert_eq!((again.artifact.candidates, again.artifact.weights), (loaded.candidates, loaded.weights));
}

#[test]
fn a_history_with_a_new_product_is_served() {
    let mut new = with_new(&repeating_artifact()).artifact;
    let customers = Arc::make_mut(&mut new.customers);
    let last = customers.products.len() - 1;
    customers.products[last] = PRODUCTS as u32;
    let customer = customers.ids[customers.len() - 1].clone();
    assert_eq!(list(&serve(&new), &customer).len(), PRODUCTS + NEW.len());
}

#[test]
fn what_is_not_listed_stays_goes_or_is_unavailable() {
    let old = repeating_artifact();
    let listed: Vec<Product> = (0..PRODUCTS).skip(10).map(|p| Product::new(product_id(p))).collect();
    let refresh = |missing| {
        let options = RefreshOptions { missing, ..RefreshOptions::default() };
        refresh_candidates(&old, &listed, "v2", &options).unwrap()
    };
    let Refreshed { artifact, changes } = refresh(Missing::Unavailable);
    assert_eq!((changes.added, changes.missing), (0, 10));
    assert!(!artifact.candidates.available[..10].contains(&true));
    assert!(
        !artifact.candidates.available[10..].contains(&false),
        "listed ones are available unless they say not"
    );
    // Names and categories that the list does not tell stay.
    assert_eq!(
        (&artifact.candidates.names, &artifact.candidates.categories),
        (&old.candidates.names, &old.candidates.categories)
    );
    assert!(Arc::ptr_eq(&artifact.weights, &old.weights) && artifact.customers == old.customers);
    let kept = refresh(Missing::Keep).artifact;
    assert_eq!(kept.candidates.available[..10], old.candidates.available[..10]);
    let left = refresh(Missing::Remove).artifact;
    assert_eq!(left.candidates.ids, old.candidates.ids[10..]);
    assert_eq!(left.candidates.vectors, old.candidates.vectors.slice(ndarray::s![10.., ..]));
    let (ours, theirs) = (&left.customers, &old.customers);
    for position in 0..theirs.len() {
        let bought = theirs.purchases(position).0.iter().filter(|p| **p >= 10).map(|p| p - 10);
        assert_eq!(ours.purchases(position).0, bought.collect::<Vec<u32>>());
        let repeats = theirs.repeats(position).filter(|(p, _)| *p >= 10).map(|(p, value)| (p - 10, value));
        assert!(ours.repeats(position).eq(repeats));
    }
    assert_eq!(serve(&left).products(), PRODUCTS - 10);
    // It comes back with its own rows.
    let back = refresh_candidates(&left, &[Product::new(product_id(3))], "v3", &keep()).unwrap();
    assert_eq!((back.changes.added, back.changes.returned), (1, 1));
    let (ours, theirs) =
        (back.artifact.candidates.vectors.row(PRODUCTS - 10).to_owned(), old.candidates.vectors.row(3));
    assert_eq!(ours, theirs);
}

#[test]
fn lists_that_cannot_be_are_refused_by_product() {
    let old = artifact("v1");
    let refused = |products: &[Product], options: &RefreshOptions| {
        refresh_candidates(&old, products, "v2", options).unwrap_err().to_string()
    };
    let twice = refused(&[dairy("7"), dairy("8"), dairy("7")], &keep());
    assert!(twice.contains("record 2") && twice.contains("\"7\" is listed twice"), "{twice}");
    for id in ["007", "x", ""] {
        let message = refused(&[dairy(id)], &keep());
        assert!(message.contains("no whole number"), "{message}");
    }
    let message = refused(&[], &RefreshOptions { bias_quantile: 1.5, ..keep() });
    assert!(message.contains("refresh.bias_quantile"), "{message}");
}
