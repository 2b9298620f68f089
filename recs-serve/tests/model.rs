//! A model in a file, mapped.

use crate::artifact::{FORGOTTEN, NOW, OLD_TOWN, PRODUCTS, artifact, host, product_id};
use recs_serve::Error;
use recs_serve::index::IndexConfig;
use recs_serve::model::ServingModel;
use recs_serve::retriever::{Request, Retriever};
use std::path::Path;
use std::sync::Arc;

fn write(model: &ServingModel, path: &Path) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    model.write(&mut out, path).unwrap();
}

fn requests() -> Vec<Request> {
    let ask = |customer: &str, city: Option<&str>| Request {
        customer_id: customer.into(),
        city: city.map(str::to_owned),
        revenue: Some(49.5),
        timestamp: Some(NOW),
        k: PRODUCTS,
        explain: true,
        ..Request::default()
    };
    let mut requests: Vec<Request> = (0..20).map(|c| ask(&format!("c{c}"), Some("alpha"))).collect();
    requests.extend([
        ask("stranger", Some("beta")),
        ask(FORGOTTEN, None),
        ask("", Some(OLD_TOWN)),
        ask("", None),
    ]);
    requests.push(Request { exclude_purchased: true, ..ask("c3", None) });
    requests.push(Request { available_only: true, category_cap: Some(2), ..ask("c4", None) });
    requests.push(Request { categories: Some(vec!["DAIRY".into(), "none".into()]), ..ask("c5", None) });
    requests
}

#[test]
fn mapped_it_answers_as_it_did_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1.recs");
    let model = || ServingModel::new(Arc::new(artifact("v1"))).unwrap();
    let in_memory = Retriever::serving(model(), host(), 1).unwrap();
    for prepared in [false, true] {
        let model = if prepared { model().prepared(&IndexConfig::default()).unwrap() } else { model() };
        write(&model, &path);
        let mapped = Retriever::serving(ServingModel::map(&path).unwrap(), host(), 1).unwrap();
        assert_eq!(mapped.metadata(), in_memory.metadata());
        for request in requests() {
            assert_eq!(mapped.recommend(&request).unwrap(), in_memory.recommend(&request).unwrap());
        }
        for number in 0..PRODUCTS {
            assert_eq!(mapped.product(number), in_memory.product(number));
            assert_eq!(mapped.number(&product_id(number)), Some(number));
        }
        assert!(mapped.product(PRODUCTS).is_none() && mapped.number("none").is_none());
        assert_eq!(mapped.similar(&product_id(9), 5).unwrap(), in_memory.similar(&product_id(9), 5).unwrap());
        // A second file of a mapped model is the same file.
        let again = folder.path().join("again.recs");
        write(&ServingModel::map(&path).unwrap(), &again);
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    }
}

/// Sections that are sound each, but not together: refused, or served without a panic.
#[test]
fn sections_of_other_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1.recs");
    write(
        &ServingModel::new(Arc::new(artifact("v1"))).unwrap().prepared(&IndexConfig::default()).unwrap(),
        &path,
    );
    let whole = std::fs::read(&path).unwrap();
    let directory_bytes = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    let directory: serde_json::Value = serde_json::from_slice(&whole[24..24 + directory_bytes]).unwrap();
    let names: Vec<String> = directory["sections"].as_object().unwrap().keys().cloned().collect();
    assert!(names.len() > 30, "{names:?}");
    let (mut refused, mut served) = (0, 0);
    for (i, name) in names.iter().enumerate() {
        for other in [&names[(i + 1) % names.len()], &names[(i + 7) % names.len()]] {
            let mut swapped = directory.clone();
            swapped["sections"][name] = directory["sections"][other].clone();
            let mut bytes = whole.clone();
            let mut text = swapped.to_string().into_bytes();
            assert!(text.len() <= directory_bytes, "places are no longer than before");
            text.resize(directory_bytes, b' ');
            bytes[16..20].copy_from_slice(&crc32c::crc32c(&text).to_le_bytes());
            bytes[24..24 + directory_bytes].copy_from_slice(&text);
            std::fs::write(&path, &bytes).unwrap();
            let model = ServingModel::map(&path).and_then(|model| Retriever::serving(model, host(), 1));
            match model {
                Err(Error::Core(_) | Error::Model { .. } | Error::NonFinite { .. }) => refused += 1,
                Err(other) => panic!("{name}: {other}"),
                Ok(retriever) => {
                    served += 1;
                    requests().iter().for_each(|request| drop(retriever.recommend(request)));
                }
            }
        }
    }
    assert!(refused > served, "{refused} refused, {served} served");
}
