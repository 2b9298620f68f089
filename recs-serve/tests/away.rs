//! A store that is away, and parts of a deployment that hold up others.

use crate::deploy::{Server, by, cached, kept, publish, server_with};
use recs_core::artifact::MANIFEST_FILE;
use recs_core::store::Store;
use recs_serve::deploy::DeployConfig;
use recs_serve::registry::Canary;
use std::fs;
use std::path::{Path, PathBuf};

/// A store on a disk that can be taken away, and a cache on another.
struct Disks {
    folder: tempfile::TempDir,
}

impl Disks {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        Self { folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn unmounted(&self) -> PathBuf {
        self.folder.path().join("unmounted")
    }

    /// Leaves an empty folder, as a disk that is not mounted does.
    fn unmount(&self) {
        fs::rename(self.store(), self.unmounted()).unwrap();
        fs::create_dir(self.store()).unwrap();
    }

    fn mount(&self) {
        fs::remove_dir_all(self.store()).unwrap();
        fs::rename(self.unmounted(), self.store()).unwrap();
    }

    async fn server(&self) -> Server {
        server_with(&Store::local(&self.store()).unwrap(), cached(&self.cache())).await
    }
}

fn names(server: &Server) -> Vec<String> {
    server.live.serving().versions().map(|version| version.name().to_owned()).collect()
}

async fn with_a_canary(disks: &Disks) -> Server {
    let server = disks.server().await;
    publish(&server.root, &["v1", "v2", "v3"]).await;
    server.promote("v1").await;
    server.promote("v2").await;
    let canary = Canary { version: "v3".into(), share: 0.25 };
    server.registry.canary(Some(canary), &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    assert_eq!(names(&server), ["v2", "v3"]);
    server
}

#[tokio::test]
async fn a_disk_that_is_taken_away_is_no_empty_registry() {
    let disks = Disks::new();
    let server = with_a_canary(&disks).await;
    let files = kept(&disks.cache());
    disks.unmount();
    for _ in 0..2 {
        let error = server.deployer.refresh().await.unwrap_err().to_string();
        assert!(error.contains("registry/deployments/000003.json"), "{error}");
        assert_eq!(names(&server), ["v2", "v3"], "served on, the trial too");
        assert_eq!(kept(&disks.cache()), files, "no file is deleted");
    }
    disks.mount();
    assert!(!server.deployer.refresh().await.unwrap(), "nothing has changed");
    server.registry.rollback(None, &by("")).await.unwrap();
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.production().as_deref(), Some("v1"));
}

#[tokio::test]
async fn a_server_that_starts_without_its_store_serves_what_was_served_last() {
    let disks = Disks::new();
    with_a_canary(&disks).await;
    disks.unmount();
    let server = disks.server().await;
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(names(&server), ["v2", "v3"]);
    assert!(server.deployer.refresh().await.is_err(), "and says so");
    assert_eq!(names(&server), ["v2", "v3"]);
    disks.mount();
    server.deployer.refresh().await.unwrap();
    server.registry.rollback(Some("v2"), &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"));
    // Without a cache there is nothing to serve, and that is said.
    disks.unmount();
    let bare = server_with(&Store::local(&disks.store()).unwrap(), DeployConfig::default()).await;
    assert!(!bare.deployer.refresh().await.unwrap_or(false) || bare.production().is_none());
}

#[tokio::test]
async fn a_store_that_was_begun_anew_is_not_taken_for_one_that_is_away() {
    let disks = Disks::new();
    with_a_canary(&disks).await;
    fs::remove_dir_all(disks.store()).unwrap();
    fs::create_dir(disks.store()).unwrap();
    // Other models in the same place: nobody is to be served the old ones.
    let server = disks.server().await;
    publish(&server.root, &["w1"]).await;
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.production(), None);
    server.promote("w1").await;
    server.deployer.refresh().await.unwrap();
    assert_eq!(names(&server), ["w1"]);
}

/// A file that the store cannot read, for a reason that is not the version's.
fn unreadable(disks: &Disks, version: &str) -> (PathBuf, Vec<u8>) {
    let file = disks.store().join(format!("tenants/acme/models/{version}/{MANIFEST_FILE}"));
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    // A link to itself: opening it fails, and not because it is not there.
    std::os::unix::fs::symlink(&file, &file).unwrap();
    (file, bytes)
}

fn readable(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_trial_that_cannot_be_loaded_holds_up_nothing_else() {
    let disks = Disks::new();
    let server = disks.server().await;
    publish(&server.root, &["v1", "v2", "v3"]).await;
    server.promote("v1").await;
    server.promote("v2").await;
    server.registry.shadow(Some("v3"), &by("")).await.unwrap();
    let (file, bytes) = unreadable(&disks, "v3");
    assert!(server.deployer.refresh().await.is_err(), "it is told");
    assert_eq!(names(&server), ["v2"], "production serves");
    server.registry.rollback(Some("v2"), &by("")).await.unwrap();
    assert!(server.deployer.refresh().await.is_err());
    assert_eq!(names(&server), ["v1"], "and goes back");
    readable(&file, &bytes);
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(names(&server), ["v1", "v3"]);
}

#[tokio::test]
async fn a_damaged_trial_holds_up_nothing_where_the_registry_is_left_alone() {
    let config = DeployConfig { roll_back: false, ..DeployConfig::default() };
    let server = server_with(&Store::memory(), config).await;
    publish(&server.root, &["v1", "v2", "v3"]).await;
    let damaged = "damaged".into();
    server.root.model("v3").unwrap().put("weights.safetensors", damaged).await.unwrap();
    server.promote("v1").await;
    server.registry.shadow(Some("v3"), &by("")).await.unwrap();
    for version in ["v2", "v1"] {
        server.promote(version).await;
        assert!(server.deployer.refresh().await.is_err());
        assert_eq!(names(&server), [version]);
    }
}

#[tokio::test]
async fn what_serves_beside_a_trial_that_cannot_be_loaded_is_known_without_the_store() {
    let disks = Disks::new();
    let config = || DeployConfig { roll_back: false, ..cached(&disks.cache()) };
    let store = Store::local(&disks.store()).unwrap();
    let server = server_with(&store, config()).await;
    publish(&server.root, &["v1", "v2", "v3"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    fs::write(disks.store().join("tenants/acme/models/v3").join(MANIFEST_FILE), "{").unwrap();
    server.registry.shadow(Some("v3"), &by("")).await.unwrap();
    server.promote("v2").await;
    assert!(server.deployer.refresh().await.is_err());
    assert_eq!(server.production().as_deref(), Some("v2"));
    disks.unmount();
    let next = server_with(&store, config()).await;
    assert!(next.deployer.refresh().await.unwrap());
    assert_eq!(next.production().as_deref(), Some("v2"), "not the one before");
}
