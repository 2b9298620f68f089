//! A server that follows the registry.

use crate::artifact::{NOW, artifact, host};
use recs_core::artifact::{MANIFEST_FILE, ModelArtifact};
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::Error;
use recs_serve::deploy::{DeployConfig, Deployer, GateConfig, Live, MemoryConfig, ModelMemory, Serving};
use recs_serve::registry::{By, Canary, Registry};
use recs_serve::retriever::{Request, Retriever};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn by(why: &str) -> By {
    By { at: "2026-01-02T03:04:05Z".into(), who: "tests".into(), why: why.into() }
}

pub(crate) struct Server {
    pub(crate) root: TenantRoot,
    pub(crate) live: Arc<Live>,
    pub(crate) deployer: Deployer,
    pub(crate) registry: Registry,
}

/// Another version has another catalogue order, so that answers tell them apart.
pub(crate) async fn publish(root: &TenantRoot, versions: &[&str]) {
    for version in versions {
        artifact(version).publish(root, "2026-01-01T00:00:00Z").await.unwrap();
    }
}

pub(crate) async fn server_with(store: &Store, config: DeployConfig) -> Server {
    let root = store.tenant(&TenantId::new("acme").unwrap()).unwrap();
    let live = Arc::new(Live::default());
    let deployer = Deployer::new(&root, Arc::clone(&live), host(), config).unwrap();
    Server { registry: Registry::new(&root).unwrap(), root, live, deployer }
}

async fn server(versions: &[&str]) -> Server {
    let server = server_with(&Store::memory(), DeployConfig::default()).await;
    publish(&server.root, versions).await;
    server
}

impl Server {
    pub(crate) fn production(&self) -> Option<String> {
        Some(self.live.serving().production.as_ref()?.name().to_owned())
    }

    pub(crate) async fn promote(&self, version: &str) {
        self.registry.promote(version, &by("")).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_registry_says_is_served() {
    let server = server(&["v1", "v2", "v3"]).await;
    assert!(server.deployer.refresh().await.unwrap() && server.production().is_none());
    assert!(!server.deployer.refresh().await.unwrap(), "nothing changed");
    server.promote("v1").await;
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.production().as_deref(), Some("v1"));
    let first = server.live.serving().production.clone().unwrap();
    server.registry.canary(Some(Canary { version: "v2".into(), share: 0.3 }), &by("")).await.unwrap();
    server.registry.shadow(Some("v3"), &by("")).await.unwrap();
    assert!(server.deployer.refresh().await.unwrap());
    let serving = server.live.serving();
    assert!(Arc::ptr_eq(serving.production.as_ref().unwrap(), &first), "what is loaded is not loaded again");
    let names: Vec<&str> = serving.versions().map(|version| version.name()).collect();
    assert_eq!(names, ["v1", "v2", "v3"]);
    let tried = (0..1000).filter(|i| serving.of(&i.to_string()).unwrap().0.name() == "v2").count();
    assert!((250..350).contains(&tried), "{tried}");
    // The trial is won, and what was on trial is loaded already.
    server.promote("v2").await;
    assert!(server.deployer.refresh().await.unwrap());
    let after = server.live.serving();
    assert!(
        after.canary.is_none()
            && Arc::ptr_eq(after.production.as_ref().unwrap(), &serving.canary.as_ref().unwrap().version)
    );
    server.registry.rollback(None, &by("")).await.unwrap();
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.production().as_deref(), Some("v1"));
}

/// Damages a version after it was published.
async fn damage(root: &TenantRoot, version: &str, how: &str) {
    let folder = root.model(version).unwrap();
    let file = "candidates.parquet";
    let bytes = folder.get(file, u64::MAX).await.unwrap().to_vec();
    match how {
        "cut" => drop(folder.put(file, bytes[..bytes.len() / 2].to_vec().into()).await.unwrap()),
        "changed" => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            folder.put(file, bytes.into()).await.unwrap();
        }
        "gone" => folder.delete(file).await.unwrap(),
        _ => {
            let other = Store::memory().tenant(&TenantId::new("beta").unwrap()).unwrap();
            artifact(version).publish(&other, "2026-01-01T00:00:00Z").await.unwrap();
            let manifest = other.model(version).unwrap().get(MANIFEST_FILE, u64::MAX).await.unwrap();
            folder.put(MANIFEST_FILE, manifest).await.unwrap();
        }
    }
}

#[tokio::test]
async fn damaged_and_foreign_versions_are_rolled_back_and_never_served() {
    for how in ["cut", "changed", "gone", "foreign"] {
        let server = server(&["v1", "v2"]).await;
        server.promote("v1").await;
        server.deployer.refresh().await.unwrap();
        damage(&server.root, "v2", how).await;
        let running = server.live.serving().production.clone().unwrap();
        server.promote("v2").await;
        assert!(server.deployer.refresh().await.unwrap(), "{how}");
        let now = server.live.serving().production.clone().unwrap();
        assert!(Arc::ptr_eq(&now, &running), "{how}: the running model is untouched");
        let history = server.registry.history(1).await.unwrap().remove(0);
        assert_eq!(history.deployment.production.as_deref(), Some("v1"), "{how}");
        assert_eq!(history.by.who, "server");
        assert!(!history.by.why.is_empty(), "the audit says why");
        // As a canary and as a shadow it ends, and production stays.
        server.registry.canary(Some(Canary { version: "v2".into(), share: 0.5 }), &by("")).await.unwrap();
        server.registry.shadow(Some("v2"), &by("")).await.unwrap();
        assert!(server.deployer.refresh().await.unwrap(), "{how}");
        let (_, deployment) = server.registry.current().await.unwrap();
        assert_eq!((deployment.canary, deployment.shadow), (None, None), "{how}");
        assert_eq!(server.production().as_deref(), Some("v1"));
    }
}

#[tokio::test]
async fn without_roll_back_the_registry_is_left_alone() {
    let config = DeployConfig { roll_back: false, ..DeployConfig::default() };
    let server = server_with(&Store::memory(), config).await;
    publish(&server.root, &["v1", "v2"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    damage(&server.root, "v2", "changed").await;
    server.promote("v2").await;
    for _ in 0..2 {
        assert!(matches!(server.deployer.refresh().await, Err(Error::Core(recs_core::Error::Digest { .. }))));
    }
    assert_eq!(server.production().as_deref(), Some("v1"));
    assert_eq!(server.registry.latest_number().await.unwrap(), 2);
}

#[tokio::test]
async fn a_version_that_fails_at_the_gate_does_not_serve() {
    let strict = |gate| DeployConfig { gate, ..DeployConfig::default() };
    for (config, reason) in [
        (strict(GateConfig { max_median_ms: 0.0, ..GateConfig::default() }), "half of its answers"),
        (strict(GateConfig { min_recall: 1.1, ..GateConfig::default() }), "its index finds 1.000"),
        (strict(GateConfig { min_products: 1.5, ..GateConfig::default() }), "production has 60"),
    ] {
        let server = server_with(&Store::memory(), config).await;
        publish(&server.root, &["v1", "v2"]).await;
        let first = Retriever::new(Arc::new(artifact("v1")), host()).unwrap();
        server.live.swap(Serving::only(Arc::new(first)));
        server.promote("v1").await;
        server.deployer.refresh().await.unwrap();
        server.promote("v2").await;
        server.deployer.refresh().await.unwrap();
        assert_eq!(server.production().as_deref(), Some("v1"));
        let why = server.registry.history(1).await.unwrap().remove(0).by.why;
        assert!(why.contains(reason), "{why}");
    }
}

/// The model with 1,140 products more that it likes for nobody; its customers went on to buy the ten that it likes best for them. The
/// first `spoiled` products it likes even less.
fn judged(version: &str, spoiled: usize) -> ModelArtifact {
    let mut artifact = artifact(version);
    let model = Retriever::new(Arc::new(artifact.clone()), host()).unwrap();
    let (mut probe, mut scores) = (artifact.probe.to_vec(), 0.0);
    for asked in &mut probe {
        let request = Request {
            customer_id: asked.customer_id.clone(),
            city: Some(asked.city.clone()),
            timestamp: Some(asked.timestamp),
            ..Request::default()
        };
        let ranked = model.recommend(&request).unwrap();
        scores += ranked.items.iter().map(|item| item.score).sum::<f32>();
        asked.product_ids = ranked.items.iter().take(10).map(|item| item.product_id.to_owned()).collect();
    }
    artifact.probe = probe.into();
    let all = Arc::make_mut(&mut artifact.candidates);
    let disliked = all.vectors.mean_axis(ndarray::Axis(0)).unwrap() * (-9.0 * scores.signum());
    all.vectors.rows_mut().into_iter().take(spoiled).for_each(|mut row| row.assign(&(&disliked * 2.0)));
    let more = disliked.broadcast((1140, disliked.len())).unwrap();
    all.vectors = ndarray::concatenate![ndarray::Axis(0), all.vectors, more];
    all.ids.extend((0..1140).map(|i| format!("new-{i}")));
    all.names.resize(1200, String::new());
    all.categories.resize(1200, String::new());
    all.available.resize(1200, true);
    all.popularity.resize(1200, 0);
    artifact
}

/// It answers, quickly, with finite scores: only its customers would notice.
#[tokio::test]
async fn a_useless_model_does_not_serve() {
    let server = server(&[]).await;
    for (version, spoiled) in [("good", 0), ("half", 30), ("useless", 60), ("next", 0)] {
        judged(version, spoiled).publish(&server.root, "2026-01-01T00:00:00Z").await.unwrap();
    }
    server.promote("useless").await;
    let told = server.deployer.refresh().await.unwrap_err().to_string();
    assert!(told.contains("lists drawn by lot 0.0833"), "{told}");
    server.promote("good").await;
    server.deployer.refresh().await.unwrap();
    for (version, finds) in [("half", "production 1.0000"), ("useless", "production 1.0000")] {
        server.promote(version).await;
        server.deployer.refresh().await.unwrap();
        assert_eq!(server.production().as_deref(), Some("good"));
        let why = server.registry.history(1).await.unwrap().remove(0).by.why;
        assert!(why.contains(finds), "{why}");
    }
    server.promote("next").await;
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("next"));
}

#[tokio::test]
async fn with_nothing_to_go_back_to_the_failure_is_told() {
    let server = server(&["v1"]).await;
    damage(&server.root, "v1", "cut").await;
    server.promote("v1").await;
    let told = server.deployer.refresh().await.unwrap_err();
    assert!(matches!(told, Error::Registry { .. }), "{told}");
    let told = told.to_string();
    assert!(
        told.contains("no version to go back to, and") && told.contains("the manifest says 12166"),
        "{told}"
    );
    assert!(server.production().is_none());
}

#[tokio::test]
async fn failures_in_production_roll_back() {
    let server = server(&["v1", "v2"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    server.promote("v2").await;
    server.deployer.refresh().await.unwrap();
    let version = server.live.serving().production.clone().unwrap();
    let fail = || {
        let failed: recs_serve::Result<()> = version.answer(|_| Err(Error::Worker { doing: "a test" }));
        assert!(failed.is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            version.answer::<()>(|_| panic!("on purpose"))
        }));
        assert!(panicked.is_err());
    };
    for _ in 0..4 {
        fail();
        // Nobody waited so long.
        assert!(version.answer_within(std::time::Duration::ZERO, |_| Ok(())).is_ok());
    }
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v2"), "twelve requests say nothing");
    for _ in 0..20 {
        // The request is at fault: no failure of the version.
        let none = Request { k: 0, ..Request::default() };
        assert!(version.answer(|retriever| retriever.recommend(&none)).is_err());
    }
    assert_eq!(version.counts(), (20, 12));
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"));
    let why = server.registry.history(1).await.unwrap().remove(0).by.why;
    assert_eq!(why, "it failed at 12 of 32 requests");
}

#[tokio::test]
async fn failures_on_trial_end_the_trial() {
    let server = server(&["v1", "v2"]).await;
    server.promote("v1").await;
    server.registry.canary(Some(Canary { version: "v2".into(), share: 0.5 }), &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    let trial = server.live.serving().canary.clone().unwrap();
    for i in 0..20 {
        let failed: recs_serve::Result<()> = trial
            .version
            .answer(|_| if i % 2 == 0 { Ok(()) } else { Err(Error::Worker { doing: "a test" }) });
        drop(failed);
    }
    server.deployer.refresh().await.unwrap();
    assert!(server.live.serving().canary.is_none());
    assert_eq!(server.production().as_deref(), Some("v1"));
    let last = server.registry.history(1).await.unwrap().remove(0);
    assert_eq!(last.by.why, "it failed at 10 of 20 requests");
}

#[tokio::test]
async fn a_trial_that_others_ended_keeps_nobody_from_following() {
    let store = Store::memory();
    let (first, second) = (
        server_with(&store, DeployConfig::default()).await,
        server_with(&store, DeployConfig::default()).await,
    );
    publish(&first.root, &["v1", "v2", "v3"]).await;
    first.promote("v1").await;
    first.registry.canary(Some(Canary { version: "v2".into(), share: 0.5 }), &by("")).await.unwrap();
    for server in [&first, &second] {
        server.deployer.refresh().await.unwrap();
        let trial = server.live.serving().canary.clone().unwrap();
        for _ in 0..30 {
            drop(trial.version.answer::<()>(|_| Err(Error::Worker { doing: "a test" })));
        }
    }
    for server in [&first, &second] {
        server.deployer.refresh().await.unwrap();
        assert!(server.live.serving().canary.is_none());
    }
    first.promote("v3").await;
    for server in [&first, &second] {
        server.deployer.refresh().await.unwrap();
        assert_eq!(server.production().as_deref(), Some("v3"));
    }
}

#[tokio::test]
async fn failures_before_it_came_into_production_do_not_count() {
    let server = server(&["v1", "v2"]).await;
    server.promote("v1").await;
    server.registry.shadow(Some("v2"), &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    let version = server.live.serving().shadow.clone().unwrap();
    let answer = |fails: bool| {
        drop(version.answer(|_| if fails { Err(Error::Worker { doing: "a test" }) } else { Ok(()) }));
    };
    (0..50).for_each(|_| answer(true));
    (0..100_000).for_each(|_| answer(false));
    server.promote("v2").await;
    for _ in 0..3 {
        server.deployer.refresh().await.unwrap();
    }
    assert_eq!(server.production().as_deref(), Some("v2"));
    (0..30).for_each(|_| answer(true));
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"), "a long life before does not excuse it");
}

#[tokio::test]
async fn what_serves_without_the_registrys_word_serves_on() {
    let server = server(&["v1", "v2"]).await;
    server.deployer.refresh().await.unwrap();
    server.deployer.serve("v1").await.unwrap();
    let refused = server.registry.shadow(Some("v2"), &by("")).await.unwrap_err().to_string();
    assert!(refused.contains("needs a version in production"), "{refused}");
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"));
}

#[tokio::test]
async fn the_way_back_is_open_whatever_the_sizes() {
    let strict = GateConfig { min_products: 1.5, ..GateConfig::default() };
    let config = DeployConfig { gate: strict, ..DeployConfig::default() };
    let server = server_with(&Store::memory(), config).await;
    publish(&server.root, &["v1", "v2"]).await;
    // A server that came up with v2 has nothing to compare it with.
    server.promote("v1").await;
    server.promote("v2").await;
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v2"));
    server.registry.rollback(None, &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"), "it served before");
}

#[tokio::test]
async fn a_store_that_does_not_answer_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("store");
    let server = server_with(&Store::local(&at).unwrap(), DeployConfig::default()).await;
    publish(&server.root, &["v1", "v2"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    server.promote("v2").await;
    // A file where the folder was: reading it fails, whoever one is.
    let aside = folder.path().join("aside");
    std::fs::rename(&at, &aside).unwrap();
    std::fs::write(&at, "not a folder").unwrap();
    for _ in 0..3 {
        assert!(server.deployer.refresh().await.is_err());
        assert_eq!(server.production().as_deref(), Some("v1"));
    }
    std::fs::remove_file(&at).unwrap();
    std::fs::rename(&aside, &at).unwrap();
    assert!(server.deployer.refresh().await.unwrap());
    assert_eq!(server.production().as_deref(), Some("v2"));
}

#[tokio::test]
async fn servers_that_find_the_same_fault_go_back_once() {
    let store = Store::memory();
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(server_with(&store, DeployConfig::default()).await);
    }
    publish(&servers[0].root, &["v0", "v1", "v2"]).await;
    for version in ["v0", "v1", "v2"] {
        servers[0].promote(version).await;
    }
    damage(&servers[0].root, "v2", "changed").await;
    let registry = servers[0].registry.clone();
    let mut refreshed = tokio::task::JoinSet::new();
    for server in servers {
        refreshed.spawn(async move {
            server.deployer.refresh().await.unwrap();
            server.production()
        });
    }
    assert_eq!(refreshed.join_all().await, vec![Some("v1".to_owned()); 4]);
    assert_eq!(registry.latest_number().await.unwrap(), 4);
}

/// The one folder of a cache.
fn tenants(folder: &Path) -> std::path::PathBuf {
    let mut folders = std::fs::read_dir(folder).unwrap().map(|folder| folder.unwrap().path());
    folders.next().unwrap()
}

/// The versions' files in the tenant's cache, sorted.
pub(crate) fn kept(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(tenants(folder)).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "deployment.json");
    names.sort();
    names
}

pub(crate) fn cached(folder: &Path) -> DeployConfig {
    DeployConfig { cache: Some(folder.to_owned()), ..DeployConfig::default() }
}

#[tokio::test]
async fn versions_are_kept_on_disk_and_mapped_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::memory();
    let server = server_with(&store, cached(folder.path())).await;
    publish(&server.root, &["v1", "v2", "v3", "v4", "v5"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    let files = kept(folder.path());
    assert!(files.len() == 1 && files[0].starts_with("v1.") && files[0].ends_with(".recs"), "{files:?}");
    // A second server needs nothing of the store but the manifest.
    server.root.model("v1").unwrap().delete("weights.safetensors").await.unwrap();
    let second = server_with(&store, cached(folder.path())).await;
    second.deployer.refresh().await.unwrap();
    let ask = Request { customer_id: "c3".into(), timestamp: Some(NOW), ..Request::default() };
    let answer = |server: &Server| {
        let version = server.live.serving().production.clone().unwrap();
        format!("{:?}", version.retriever().recommend(&ask).unwrap())
    };
    assert_eq!(answer(&server), answer(&second));
    // Those to go back to stay, older ones go; what is mapped goes on answering.
    let first = answer(&server);
    for version in ["v2", "v3", "v4", "v5"] {
        server.promote(version).await;
        server.deployer.refresh().await.unwrap();
    }
    let names: Vec<String> = kept(folder.path()).iter().map(|name| name[..2].to_owned()).collect();
    assert_eq!(names, ["v2", "v3", "v4", "v5"]);
    assert_eq!(answer(&second), first);
    server.root.model("v4").unwrap().delete("weights.safetensors").await.unwrap();
    server.registry.rollback(None, &by("")).await.unwrap();
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v4"), "back from the disk");
}

#[tokio::test]
async fn a_damaged_file_of_the_cache_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::memory();
    let server = server_with(&store, cached(folder.path())).await;
    publish(&server.root, &["v1"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    let place = tenants(folder.path()).join(&kept(folder.path())[0]);
    let whole = std::fs::read(&place).unwrap();
    let mut changed = whole.clone();
    let middle = whole.len() / 2;
    changed[middle] ^= 1;
    for damaged in [&whole[..0], &whole[..100], &whole[..middle], &changed, b"something else"] {
        std::fs::remove_file(&place).unwrap();
        std::fs::write(&place, damaged).unwrap();
        let next = server_with(&store, cached(folder.path())).await;
        next.deployer.refresh().await.unwrap();
        assert_eq!(next.production().as_deref(), Some("v1"));
        assert!(std::fs::read(&place).unwrap() == whole, "the file is whole again");
        assert_eq!(kept(folder.path()).len(), 1);
    }
    assert_eq!(server.registry.latest_number().await.unwrap(), 1, "nothing was rolled back");
}

#[tokio::test]
async fn a_disk_that_takes_no_file_costs_memory_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let no_folder = folder.path().join("file");
    std::fs::write(&no_folder, "not a folder").unwrap();
    let server = server_with(&Store::memory(), cached(&no_folder)).await;
    publish(&server.root, &["v1"]).await;
    server.promote("v1").await;
    server.deployer.refresh().await.unwrap();
    assert_eq!(server.production().as_deref(), Some("v1"));
}

#[tokio::test]
async fn servers_share_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::memory();
    let first = server_with(&store, cached(folder.path())).await;
    publish(&first.root, &["v1", "v2"]).await;
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let server = server_with(&store, cached(folder.path())).await;
        servers.spawn(async move {
            for _ in 0..10 {
                server.deployer.refresh().await.unwrap();
                tokio::task::yield_now().await;
            }
            server.production()
        });
    }
    first.promote("v1").await;
    first.promote("v2").await;
    servers.join_all().await;
    first.deployer.refresh().await.unwrap();
    assert_eq!(first.production().as_deref(), Some("v2"));
    let names = kept(folder.path());
    assert!(names.iter().all(|name| name.ends_with(".recs")), "{names:?}");
}

/// Servers of several tenants in one process, with room for so many models.
async fn crowd(names: &[&str], models: u64) -> (Vec<(Arc<Live>, Arc<Deployer>)>, ModelMemory) {
    let (store, bytes) = (Store::memory(), crate::artifact::retriever().bytes());
    let config = MemoryConfig { total_bytes: models * bytes + bytes / 2, ..MemoryConfig::default() };
    let memory = ModelMemory::new(config).unwrap();
    let mut all = Vec::new();
    for name in names {
        let root = store.tenant(&TenantId::new(name).unwrap()).unwrap();
        publish(&root, &["v1"]).await;
        let live = Arc::new(Live::default());
        let deployer = Deployer::new(&root, Arc::clone(&live), host(), DeployConfig::default()).unwrap();
        let deployer = Arc::new(deployer.with_memory(memory.clone()));
        all.push((live, deployer));
    }
    (all, memory)
}

#[tokio::test]
async fn who_was_not_asked_for_long_makes_room_and_comes_back() {
    let (all, memory) = crowd(&["acme", "beta", "gamma"], 2).await;
    let (mut bytes, mut versions) = (0, Vec::new());
    let here = || all.iter().map(|(live, _)| live.serving().production.is_some()).collect::<Vec<_>>();
    for (i, (live, deployer)) in all.iter().enumerate() {
        deployer.serve("v1").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        live.touch();
        tokio::spawn(Arc::clone(deployer).follow(std::time::Duration::from_secs(3600), |_| ()));
        versions.push(Arc::downgrade(live.serving().production.as_ref().unwrap()));
        bytes = live.serving().bytes();
        assert!(bytes > 10_000, "{bytes}");
        assert_eq!(memory.bytes(), bytes * (i as u64 + 1).min(2));
    }
    assert_eq!(here(), [false, true, true]);
    assert_eq!(versions[0].strong_count(), 0, "somebody holds what has made room");
    assert!(all[0].0.is_aside() && all[0].0.has_production());
    assert!(!all[0].1.refresh().await.unwrap(), "it stays away until it is asked");
    all[1].0.touch();
    // Many at once: one load.
    let woken = futures::future::join_all((0..20).map(|_| all[0].0.wake())).await;
    let first = woken[0].production.clone().unwrap();
    assert!(woken.iter().all(|serving| Arc::ptr_eq(serving.production.as_ref().unwrap(), &first)));
    assert_eq!((here(), memory.bytes()), (vec![true, true, false], 2 * bytes));
    // What the registry says counts when it comes back, too.
    let registry = all[2].1.registry();
    registry.promote("v1", &by("")).await.unwrap();
    assert!(all[2].0.wake().await.production.is_some());
    assert_eq!(here().into_iter().filter(|is_here| *is_here).count(), 2);
}

#[tokio::test]
async fn who_cannot_come_back_is_told_and_tries_again() {
    let (all, _) = crowd(&["acme", "beta"], 1).await;
    let (live, deployer) = &all[0];
    deployer.serve("v1").await.unwrap();
    all[1].1.serve("v1").await.unwrap();
    tokio::spawn(Arc::clone(deployer).follow(std::time::Duration::from_secs(3600), |_| ()));
    let folder = deployer.root().model("v1").unwrap();
    let manifest = folder.get(MANIFEST_FILE, 1 << 20).await.unwrap();
    folder.delete(MANIFEST_FILE).await.unwrap();
    assert!(live.wake().await.production.is_none());
    assert!(live.is_aside());
    folder.put(MANIFEST_FILE, manifest).await.unwrap();
    assert!(live.wake().await.production.is_some());
    assert!(all[1].0.is_aside());
}

#[tokio::test]
async fn a_version_beyond_the_tenants_share_is_left_out_here_and_nowhere_else() {
    let bytes = crate::artifact::retriever().bytes();
    let memory =
        ModelMemory::new(MemoryConfig { tenant_bytes: bytes * 3 / 2, ..MemoryConfig::default() }).unwrap();
    let root = Store::memory().tenant(&TenantId::new("acme").unwrap()).unwrap();
    publish(&root, &["v1", "v2"]).await;
    let live = Arc::new(Live::default());
    let deployer = Deployer::new(&root, Arc::clone(&live), host(), DeployConfig::default()).unwrap();
    let deployer = deployer.with_memory(memory);
    let registry = Registry::new(&root).unwrap();
    registry.promote("v1", &by("")).await.unwrap();
    deployer.refresh().await.unwrap();
    registry.shadow(Some("v2"), &by("")).await.unwrap();
    let error = deployer.refresh().await.unwrap_err();
    assert!(matches!(&error, Error::NoRoom { version, .. } if version == "v2"), "{error}");
    let (_, deployment) = registry.current().await.unwrap();
    assert_eq!(
        (deployment.production.as_deref(), deployment.shadow.as_deref()),
        (Some("v1"), Some("v2")),
        "other machines may have room"
    );
    assert_eq!(live.serving().versions().count(), 1);
    // One after the other both fit.
    registry.promote("v2", &by("")).await.unwrap();
    deployer.refresh().await.unwrap();
    assert_eq!(live.serving().production.as_ref().unwrap().name(), "v2");
    let nothing = ModelMemory::new(MemoryConfig { total_bytes: 0, ..MemoryConfig::default() });
    assert!(matches!(nothing, Err(Error::Config { .. })));
}
