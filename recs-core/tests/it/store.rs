//! The store: conditional puts, streams, publications, tenants.

use recs_core::Error;
use recs_core::store::{NumberedLog, Publication, Store};
use recs_core::tenant::TenantId;
use std::io::{Read, Write};

fn stores() -> (tempfile::TempDir, Vec<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let local = Store::local(folder.path()).unwrap();
    (folder, vec![local, Store::memory()])
}

#[tokio::test]
async fn of_many_creators_exactly_one_wins() {
    let (_folder, stores) = stores();
    for store in stores {
        let jobs: Vec<_> = (0..16u8)
            .map(|i| {
                let store = store.clone();
                tokio::spawn(async move { store.create("a/b.json", vec![i].into()).await })
            })
            .collect();
        let mut won = 0;
        for job in jobs {
            match job.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::AlreadyExists { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn numbered_entries_of_two_writers_are_all_kept() {
    let (_folder, stores) = stores();
    for store in stores {
        let push = |name: &'static str| {
            let log = NumberedLog::new(store.child("log").unwrap());
            tokio::spawn(async move {
                for i in 0..20 {
                    log.push(format!("{name}{i}").into()).await.unwrap();
                }
            })
        };
        let (a, b) = (push("a"), push("b"));
        a.await.unwrap();
        b.await.unwrap();
        let log = NumberedLog::new(store.child("log").unwrap());
        assert_eq!(log.latest_number().await.unwrap(), 40);
        let mut entries = Vec::new();
        for n in 1..=40 {
            entries.push(String::from_utf8(log.get(n).await.unwrap().to_vec()).unwrap());
        }
        entries.sort();
        entries.dedup();
        assert_eq!(entries.len(), 40);
        assert!(matches!(log.append(3, "x".into()).await, Err(Error::AlreadyExists { .. })));
        assert!(matches!(log.append_unique(3, "x".into()).await, Err(Error::AlreadyExists { .. })));
        assert_eq!(log.append_unique(40, "mine".into()).await.unwrap(), 41);
        assert_eq!(log.append_unique(40, "mine".into()).await.unwrap(), 41, "sent twice");
        assert!(matches!(log.append(40, "mine".into()).await, Err(Error::AlreadyExists { .. })));
    }
}

#[tokio::test]
async fn streams_of_every_size_come_back_with_their_digest() {
    let (_folder, stores) = stores();
    for store in stores {
        for size in [0usize, 1, 5 << 20, (5 << 20) + 1, 23 << 20] {
            let write = move |out: &mut (dyn Write + Send)| {
                let block: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
                block.chunks(77_777).try_for_each(|c| out.write_all(c)).unwrap();
                Ok(size)
            };
            let (value, digest) = store.put_with("big.bin", write).await.unwrap();
            assert_eq!((value, digest.size_bytes), (size, size as u64));
            let read = |input: &mut (dyn Read + Send)| {
                let mut all = Vec::new();
                input.read_to_end(&mut all).unwrap();
                Ok(all)
            };
            let back = store.get_with("big.bin", read).await.unwrap();
            assert_eq!(back.len(), size);
            digest.verify("big.bin", &recs_core::artifact::Digest::of(&back)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_failed_stream_leaves_nothing() {
    let (folder, stores) = stores();
    for store in &stores {
        for size in [10, 12 << 20] {
            let write = move |out: &mut (dyn Write + Send)| -> Result<(), Error> {
                out.write_all(&vec![1; size]).unwrap();
                Err(Error::Cancelled)
            };
            assert!(matches!(store.put_with("x/half.bin", write).await, Err(Error::Cancelled)));
            assert!(matches!(store.size_bytes("x/half.bin").await, Err(Error::NotFound { .. })));
        }
    }
    let left: Vec<_> = walk(folder.path());
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

#[tokio::test]
async fn a_reader_that_stops_early_is_no_error() {
    let store = Store::memory();
    store.put("a", vec![7; 100].into()).await.unwrap();
    let first = store.get_with("a", |input| {
        let mut byte = [0];
        input.read_exact(&mut byte).unwrap();
        Ok(byte[0])
    });
    assert_eq!(first.await.unwrap(), 7);
}

#[tokio::test]
async fn an_aborted_publication_leaves_nothing_and_a_committed_one_is_whole() {
    let (_folder, stores) = stores();
    for store in stores {
        let begin = || Publication::begin(store.child("v1").unwrap(), "manifest.json");
        let mut publication = begin().await.unwrap();
        publication.put("a.bin", "a".into()).await.unwrap();
        publication.abort().await;
        assert!(store.list("").await.unwrap().is_empty());
        let mut publication = begin().await.unwrap();
        publication.put("a.bin", "a".into()).await.unwrap();
        publication.commit("m".into()).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["v1/a.bin", "v1/manifest.json"]);
        assert!(matches!(begin().await, Err(Error::AlreadyExists { .. })));
    }
}

/// Whoever comes second touches nothing, whether the first is still at it, gave up or has finished.
#[tokio::test]
async fn a_folder_has_one_writer_at_a_time() {
    let (_folder, stores) = stores();
    for store in stores {
        let begin = || Publication::begin(store.child("v1").unwrap(), "manifest.json");
        let mut first = begin().await.unwrap();
        first.put("a.bin", "first".into()).await.unwrap();
        let error = begin().await.unwrap_err();
        assert!(matches!(error, Error::BeingWritten { .. }), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        first.abort().await;
        let mut second = begin().await.unwrap();
        second.put("a.bin", "second".into()).await.unwrap();
        second.commit("m".into()).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["v1/a.bin", "v1/manifest.json"]);
        assert_eq!(store.get("v1/a.bin", 99).await.unwrap(), "second");
    }
}

#[tokio::test]
async fn of_many_writers_at_once_one_wins() {
    let (_folder, stores) = stores();
    for store in stores {
        let writer = |i: usize| {
            let folder = store.child("v1").unwrap();
            async move {
                let mut publication = Publication::begin(folder, "manifest.json").await?;
                publication.put("a.bin", i.to_string().into()).await?;
                publication.commit(i.to_string().into()).await
            }
        };
        let done = futures::future::join_all((0..16).map(writer)).await;
        assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
        let refused = |e: &Error| matches!(e, Error::AlreadyExists { .. } | Error::BeingWritten { .. });
        assert!(done.iter().filter_map(|d| d.as_ref().err()).all(refused), "{done:?}");
        assert_eq!(
            store.get("v1/a.bin", 99).await.unwrap(),
            store.get("v1/manifest.json", 99).await.unwrap()
        );
    }
}

/// What a killed process leaves: its claim, and half of its files.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_claim_of_a_dead_process_is_taken_over() {
    let (_folder, stores) = stores();
    for store in stores {
        let begin = || Publication::begin(store.child("v1").unwrap(), "manifest.json");
        let held = begin().await.unwrap();
        let claim = store.get("v1/_writer/000001.json", 999).await.unwrap();
        held.abort().await;
        // This process under another start time: process ids are used again.
        let mut dead: serde_json::Value = serde_json::from_slice(&claim).unwrap();
        dead["start"] = "1".into();
        store.put("v1/_writer/000001.json", dead.to_string().into()).await.unwrap();
        store.put("v1/a.bin", "half".into()).await.unwrap();
        let mut publication = begin().await.unwrap();
        assert!(matches!(begin().await, Err(Error::BeingWritten { .. })));
        publication.put("a.bin", "whole".into()).await.unwrap();
        publication.commit("m".into()).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["v1/a.bin", "v1/manifest.json"]);
    }
}

#[tokio::test]
async fn paths_cannot_leave_the_tenant() {
    let (_folder, stores) = stores();
    for store in stores {
        let root = store.tenant(&TenantId::new("acme").unwrap()).unwrap();
        for path in ["../other/x", "/x", "a//b", "a/../../x", ".", "", "a/./b", "a/"] {
            assert!(root.store().put(path, "x".into()).await.is_err(), "{path:?}");
        }
        for name in ["", "..", "a/b", ".hidden", "a b", "ä"] {
            assert!(root.model(name).is_err() && root.dataset(name).is_err(), "{name:?}");
        }
        root.model("v1").unwrap().put("x", "x".into()).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["tenants/acme/models/v1/x"]);
    }
}

#[tokio::test]
async fn an_object_above_the_limit_is_not_read() {
    let store = Store::memory();
    store.put("a", vec![0; 100].into()).await.unwrap();
    assert!(matches!(store.get("a", 99).await, Err(Error::TooLarge { size: 100, limit: 99, .. })));
}

#[test]
fn urls_with_secrets_or_unknown_schemes_are_refused() {
    let none: [(&str, &str); 0] = [];
    for url in ["s3://key:secret@bucket/x", "ftp://host/x", "gs://", "http s://x"] {
        let error = Store::open(url, none).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    Store::open("memory:///", none).unwrap();
}
