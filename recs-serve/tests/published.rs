//! Versions that bring along what servers map.

use crate::artifact::{NOW, artifact, host};
use recs_core::artifact::{Attachment, Manifest};
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::deploy::{DeployConfig, Deployer, Live};
use recs_serve::index::IndexConfig;
use recs_serve::model::publish;
use recs_serve::registry::{By, Registry};
use recs_serve::retriever::{Request, Retriever};
use recs_serve::workers::Workers;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CREATED_AT: &str = "2026-01-01T00:00:00Z";
const SERVED: &str = "index.recs";
const GRAPH: &str = "index.hnsw";

/// Searched by a graph, however small.
fn graph() -> IndexConfig {
    IndexConfig { exact_up_to: 0, ..IndexConfig::default() }
}

fn root(store: &Store) -> TenantRoot {
    store.tenant(&TenantId::new("acme").unwrap()).unwrap()
}

async fn published(root: &TenantRoot, version: &str, index: &IndexConfig) -> Manifest {
    publish(&artifact(version), root, CREATED_AT, index, &Workers::new(1).unwrap()).await.unwrap()
}

struct Server {
    live: Arc<Live>,
    deployer: Deployer,
}

impl Server {
    fn new(root: &TenantRoot, cache: Option<&Path>, index: &IndexConfig) -> Self {
        let live = Arc::new(Live::default());
        let config = DeployConfig {
            cache: cache.map(Path::to_owned),
            index: index.clone(),
            ..DeployConfig::default()
        };
        Self { deployer: Deployer::new(root, Arc::clone(&live), host(), config).unwrap(), live }
    }

    fn production(&self) -> String {
        self.live.serving().production.as_ref().unwrap().name().to_owned()
    }

    fn answer(&self) -> String {
        answer(self.live.serving().production.as_ref().unwrap().retriever())
    }
}

fn answer(retriever: &Retriever) -> String {
    let ask = Request { customer_id: "c3".into(), timestamp: Some(NOW), ..Request::default() };
    format!("{:?}", retriever.recommend(&ask).unwrap())
}

/// As a server without a cache answers that reads the model itself.
fn expected(version: &str) -> String {
    answer(&Retriever::new(Arc::new(artifact(version)), host()).unwrap())
}

async fn promote(root: &TenantRoot, version: &str) {
    let by = By { at: CREATED_AT.into(), who: "tests".into(), why: String::new() };
    Registry::new(root).unwrap().promote(version, &by).await.unwrap();
}

/// The versions' files in a cache, sorted.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| !file.ends_with("deployment.json"));
    files.sort();
    files
}

#[tokio::test]
async fn what_a_version_brings_along_is_all_that_is_read() {
    for (index, names) in [(IndexConfig::default(), vec![SERVED]), (graph(), vec![GRAPH, SERVED])] {
        let (root, folder) = (root(&Store::memory()), tempfile::tempdir().unwrap());
        let manifest = published(&root, "v1", &index).await;
        let brought: Vec<&str> =
            manifest.files.keys().filter(|name| name.starts_with("index.")).map(String::as_str).collect();
        assert_eq!(brought, names);
        promote(&root, "v1").await;
        let version = root.model("v1").unwrap();
        for file in manifest.files.keys().filter(|name| !brought.contains(&name.as_str())) {
            version.delete(file).await.unwrap();
        }
        let server = Server::new(&root, Some(folder.path()), &index);
        assert!(server.deployer.refresh().await.unwrap());
        assert_eq!(server.answer(), expected("v1"));
        // What lies on the disk is what was published: no server builds a graph of its own.
        for (file, name) in kept(folder.path()).iter().zip(&brought) {
            let published = version.get(name, u64::MAX).await.unwrap();
            assert!(std::fs::read(file).unwrap() == published, "{name}");
        }
        assert_eq!(kept(folder.path()).len(), brought.len());
    }
}

#[tokio::test]
async fn a_server_without_a_cache_reads_the_model() {
    let root = root(&Store::memory());
    published(&root, "v1", &IndexConfig::default()).await;
    promote(&root, "v1").await;
    root.model("v1").unwrap().delete(SERVED).await.unwrap();
    let server = Server::new(&root, None, &IndexConfig::default());
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.answer(), expected("v1"));
}

/// The server chooses its index, whatever the publisher chose.
#[tokio::test]
async fn an_index_that_the_server_does_not_want_is_left_alone() {
    for (brought, wanted) in [(graph(), IndexConfig::default()), (IndexConfig::default(), graph())] {
        let (root, folder) = (root(&Store::memory()), tempfile::tempdir().unwrap());
        published(&root, "v1", &brought).await;
        promote(&root, "v1").await;
        let server = Server::new(&root, Some(folder.path()), &wanted);
        assert!(server.deployer.refresh().await.unwrap());
        assert_eq!(server.answer(), expected("v1"));
    }
}

#[tokio::test]
async fn damage_on_the_way_is_found_and_nothing_of_it_is_kept() {
    for name in [SERVED, GRAPH] {
        for how in ["cut", "changed", "longer", "gone"] {
            let (root, folder) = (root(&Store::memory()), tempfile::tempdir().unwrap());
            let server = Server::new(&root, Some(folder.path()), &graph());
            for version in ["v1", "v2"] {
                published(&root, version, &graph()).await;
            }
            promote(&root, "v1").await;
            server.deployer.refresh().await.unwrap();
            let (running, files) = (server.live.serving().production.clone().unwrap(), kept(folder.path()));
            let version = root.model("v2").unwrap();
            let mut bytes = version.get(name, u64::MAX).await.unwrap().to_vec();
            let middle = bytes.len() / 2;
            match how {
                "cut" => bytes.truncate(middle),
                "changed" => bytes[middle] ^= 1,
                _ => bytes.push(0),
            }
            match how {
                "gone" => version.delete(name).await.unwrap(),
                _ => drop(version.put(name, bytes.into()).await.unwrap()),
            }
            promote(&root, "v2").await;
            assert!(server.deployer.refresh().await.unwrap(), "{name} {how}");
            let now = server.live.serving().production.clone().unwrap();
            assert!(Arc::ptr_eq(&now, &running), "{name} {how}: the running model is untouched");
            let (_, deployment) = Registry::new(&root).unwrap().current().await.unwrap();
            assert_eq!(deployment.production.as_deref(), Some("v1"), "{name} {how}");
            // At most the other of the two files, which is whole; the next look deletes it.
            let left: Vec<_> = kept(folder.path()).into_iter().filter(|file| !files.contains(file)).collect();
            assert!(
                left.iter().all(|file| !file.ends_with("part")) && left.len() <= 1,
                "{name} {how}: {left:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_format_of_another_release_costs_time_and_no_failure() {
    let (root, folder) = (root(&Store::memory()), tempfile::tempdir().unwrap());
    published(&root, "v1", &graph()).await;
    for name in [SERVED, GRAPH] {
        let mut bytes = root.model("v1").unwrap().get(name, u64::MAX).await.unwrap().to_vec();
        // Both have their version after eight bytes.
        bytes[8] = 200;
        let other = Attachment::new(name, move |out| {
            out.write_all(&bytes).map_err(|e| recs_core::Error::io("memory", e))
        });
        let version = name.replace("index.", "of-");
        artifact(&version).publish_with(&root, CREATED_AT, vec![other]).await.unwrap();
        promote(&root, &version).await;
        let server = Server::new(&root, Some(folder.path()), &graph());
        assert!(server.deployer.refresh().await.unwrap(), "{name}");
        assert_eq!((server.production(), server.answer()), (version.clone(), expected(&version)), "{name}");
    }
}

#[tokio::test]
async fn an_attachment_takes_no_other_files_name() {
    let root = root(&Store::memory());
    for name in ["weights.safetensors", "manifest.json"] {
        let clash = Attachment::new(name, |_| Ok(()));
        let error = artifact("v1").publish_with(&root, CREATED_AT, vec![clash]).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(root.model("v1").unwrap().list("").await.unwrap().is_empty(), "nothing is left");
    published(&root, "v1", &IndexConfig::default()).await;
}
