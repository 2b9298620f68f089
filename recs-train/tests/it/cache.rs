//! Encoded rows in mapped files are those in memory.

use super::shards::{dataset, groups};
use recs_core::dataset::Dataset;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::{LoadOptions, TrainData};
use std::path::{Path, PathBuf};
use std::sync::Arc;

async fn load(dataset: &Dataset, cache: Option<&Path>) -> recs_core::Result<TrainData> {
    let (schema, cancel) = (Schema::retail(), CancelToken::new());
    let small = VocabularyConfig { revenue_buckets: 7, timestamp_buckets: 5, ..VocabularyConfig::default() };
    let vocabulary = Vocabulary::build(dataset, &schema, &small, 1, Arc::new(Silent), &cancel).await?;
    let options = LoadOptions { parallelism: 3, cache: cache.map(PathBuf::from) };
    TrainData::load(dataset, &schema, Arc::new(vocabulary), &options, Arc::new(Silent), &cancel).await
}

fn assert_equal(a: &TrainData, b: &TrainData) {
    assert_eq!(
        (a.query.rows, &*a.query.ids, &*a.query.numbers),
        (b.query.rows, &*b.query.ids, &*b.query.numbers)
    );
    assert_eq!((&a.candidates, &*a.candidate, &*a.product), (&b.candidates, &*b.candidate, &*b.product));
    assert_eq!((&*a.customer, &*a.city, &*a.timestamp), (&*b.customer, &*b.city, &*b.timestamp));
    let catalogue = |d: &TrainData| {
        let c = &d.catalogue;
        (c.ids.clone(), c.candidate.clone(), c.name.clone(), c.category.clone(), c.subcategory.clone())
    };
    assert_eq!(catalogue(a), catalogue(b));
}

/// The one folder of a cache.
fn only(cache: &Path) -> PathBuf {
    let all: Vec<PathBuf> = std::fs::read_dir(cache).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[tokio::test]
async fn mapped_rows_equal_those_in_memory_and_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let rows = dataset(&groups(200, 300, 30), 5).await;
    let in_memory = load(&rows, None).await.unwrap();
    let first = load(&rows, Some(folder.path())).await.unwrap();
    assert_equal(&first, &in_memory);
    let made = std::fs::metadata(only(folder.path()).join("columns.json")).unwrap().modified().unwrap();
    let again = load(&rows, Some(folder.path())).await.unwrap();
    assert_equal(&again, &in_memory);
    assert_eq!(
        made,
        std::fs::metadata(only(folder.path()).join("columns.json")).unwrap().modified().unwrap()
    );
    // Other rows have a folder of their own.
    load(&dataset(&groups(100, 300, 30), 5).await, Some(folder.path())).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// Shards that are written in several pieces, with other candidates in each.
#[tokio::test]
async fn long_shards_are_written_as_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let rows = dataset(&groups(2000, 400, 70), 2).await;
    let in_memory = load(&rows, None).await.unwrap();
    assert_equal(&load(&rows, Some(folder.path())).await.unwrap(), &in_memory);
}

#[tokio::test]
async fn changed_or_cut_files_are_refused_and_what_killed_writers_left_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let rows = dataset(&groups(50, 60, 10), 3).await;
    std::fs::create_dir(folder.path().join(".making-left")).unwrap();
    load(&rows, Some(folder.path())).await.unwrap();
    std::fs::remove_dir(folder.path().join(".making-left")).unwrap();
    let made = only(folder.path());
    for (file, damage) in [("product.u32", "flip"), ("timestamp.i64", "cut"), ("columns.json", "garbage")] {
        let (path, before) = (made.join(file), std::fs::read(made.join(file)).unwrap());
        let mut bytes = before.clone();
        match damage {
            "flip" => bytes[5] ^= 1,
            "cut" => bytes.truncate(bytes.len() / 2),
            _ => bytes[0] = b'?',
        }
        std::fs::write(&path, bytes).unwrap();
        let error = load(&rows, Some(folder.path())).await.unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        std::fs::write(&path, before).unwrap();
    }
    load(&rows, Some(folder.path())).await.unwrap();
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = load(&dataset(&groups(50, 60, 10), 3).await, Some(&file)).await.unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}

/// A folder whose digests are right and whose columns are not.
#[tokio::test]
async fn columns_that_do_not_fit_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = dataset(&groups(50, 60, 10), 3).await;
    load(&rows, Some(folder.path())).await.unwrap();
    let made = only(folder.path());
    let far = |bytes: &[u8]| [&u32::MAX.wrapping_sub(1).to_le_bytes(), &bytes[4..]].concat();
    for name in
        ["product", "customer", "city", "candidate", "catalogue_candidate", "catalogue_name", "query_ids"]
    {
        let (path, manifest) = (made.join(format!("{name}.u32")), made.join("columns.json"));
        let (bytes, before) = (std::fs::read(&path).unwrap(), std::fs::read(&manifest).unwrap());
        let mut damages = vec![Vec::new(), bytes[..bytes.len() - 4].to_vec()];
        // Ids of the towers are compared with the weights' rows.
        damages.extend((name != "query_ids").then(|| far(&bytes)));
        for damaged in damages {
            let mut listed: serde_json::Value = serde_json::from_slice(&before).unwrap();
            let digest = recs_core::artifact::Digest::of(&damaged);
            listed["files"][format!("{name}.u32")] = serde_json::to_value(digest).unwrap();
            std::fs::write(&manifest, listed.to_string()).unwrap();
            std::fs::write(&path, damaged).unwrap();
            let error = load(&rows, Some(folder.path())).await.unwrap_err().to_string();
            let column = name.replace("catalogue_", "catalogue.").replace("query_", "query.");
            assert!(
                error.contains(&format!("`{column}`")) && error.contains("columns.json"),
                "{name}: {error}"
            );
        }
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(&manifest, before).unwrap();
    }
    load(&rows, Some(folder.path())).await.unwrap();
}
