//! A server that is killed at every write of a deployment, and started again.

use crate::artifact::{artifact, host};
use recs_core::observe::{CancelToken, Silent};
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::bulk::{Asked, BulkConfig, BulkReport, all_customers, recommend_all};
use recs_serve::deploy::{DeployConfig, Deployer, Live};
use recs_serve::index::IndexConfig;
use recs_serve::monitor::{AskedWith, Event, Monitor, MonitorConfig, Outcome, Outcomes};
use recs_serve::registry::{By, Registry};
use recs_serve::retriever::{Request, Retriever};
use recs_serve::workers::Workers;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Where a process of this test ends itself, and where it works.
const AT: &str = "RECS_TEST_FAIL_AT";
const FOLDER: &str = "RECS_TEST_FOLDER";

fn by() -> By {
    By { at: "2026-01-02T03:04:05Z".into(), who: "tests".into(), why: String::new() }
}

fn root(folder: &Path) -> TenantRoot {
    Store::local(&folder.join("store")).unwrap().tenant(&TenantId::new("acme").unwrap()).unwrap()
}

/// Searched by a graph, so that there are two files to write.
fn graph() -> IndexConfig {
    IndexConfig { exact_up_to: 0, ..IndexConfig::default() }
}

fn deployer(folder: &Path) -> (Arc<Live>, Deployer) {
    let (live, cache) = (Arc::new(Live::default()), Some(folder.join("cache")));
    let config = DeployConfig { cache, index: graph(), ..DeployConfig::default() };
    (Arc::clone(&live), Deployer::new(&root(folder), live, host(), config).unwrap())
}

fn production(live: &Live) -> Option<String> {
    Some(live.serving().production.as_ref()?.name().to_owned())
}

/// Ends this process at a place, e.g. `cache-written`; with `+1` not the first time.
fn kill_at(at: &str) {
    let seen = std::sync::atomic::AtomicU32::new(0);
    let (at, skip) = at.split_once('+').unwrap_or((at, "0"));
    let skip: u32 = skip.parse().unwrap();
    fail::cfg_callback(at, move || {
        if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= skip {
            std::process::abort();
        }
    })
    .unwrap();
}

/// Runs a test in a process of its own, which must be killed.
fn run_until_killed(test: &str, at: &str, folder: &Path) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs([(AT, at.as_ref()), (FOLDER, folder.as_os_str())])
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(6), "{at}: {}", String::from_utf8_lossy(&child.stdout));
}

/// What the killed process does: serves v1, and has v2 deployed, which may be damaged.
#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
async fn deploys_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let (live, deployer) = deployer(folder);
    deployer.refresh().await.unwrap();
    assert_eq!(production(&live).as_deref(), Some("v1"));
    kill_at(&std::env::var(AT).unwrap());
    Registry::new(&root(folder)).unwrap().promote("v2", &by()).await.unwrap();
    deployer.refresh().await.unwrap();
}

/// Versions that bring their index along, or not.
async fn published(root: &TenantRoot, brings_index: bool) {
    for version in ["v1", "v2"] {
        let (artifact, created_at) = (artifact(version), "2026-01-01T00:00:00Z");
        if brings_index {
            let workers = Workers::new(1).unwrap();
            recs_serve::model::publish(&artifact, root, created_at, &graph(), &workers).await.unwrap();
        } else {
            artifact.publish(root, created_at).await.unwrap();
        }
    }
}

/// Kills a deployment of v2 at a place, and gives what a new server serves.
async fn killed(at: &str, is_damaged: bool, brings_index: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (folder, root) = (folder.path(), root(folder.path()));
    published(&root, brings_index).await;
    if is_damaged {
        root.model("v2").unwrap().put("weights.safetensors", "damaged".into()).await.unwrap();
    }
    let registry = Registry::new(&root).unwrap();
    registry.promote("v1", &by()).await.unwrap();
    run_until_killed("failpoints::deploys_until_it_is_killed", at, folder);
    let (live, deployer) = deployer(folder);
    deployer.refresh().await.unwrap();
    let serves = production(&live).unwrap();
    let (_, deployment) = registry.current().await.unwrap();
    assert_eq!(deployment.production.as_ref(), Some(&serves), "{at}: the registry says something else");
    // What was left half-written has no name of a version, and the next deployment is none the worse.
    registry.promote(if serves == "v1" && !is_damaged { "v2" } else { "v1" }, &by()).await.ok();
    deployer.refresh().await.unwrap();
    let whole = std::fs::read_dir(folder.join("cache")).unwrap().map(|folder| folder.unwrap().path());
    let whole = whole.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    for file in whole.filter(|file| file.extension().is_some_and(|of| of == "recs")) {
        recs_serve::model::ServingModel::map(&file).unwrap();
    }
    serves
}

#[tokio::test]
async fn killed_at_every_write_and_started_again_it_serves_what_the_registry_says() {
    assert_eq!(killed("registry-append", false, false).await, "v1");
    for at in [
        "registry-appended",
        "deploy-load",
        "deploy-fetched",
        "cache-create",
        "cache-written",
        "cache-synced",
        "cache-renamed",
        "cache-create+1",
        "cache-renamed+1",
        "deploy-built",
        "deploy-swap",
    ] {
        assert_eq!(killed(at, false, false).await, "v2", "{at}");
        // Then nothing is fetched but what is mapped.
        if at != "deploy-fetched" {
            assert_eq!(killed(at, false, true).await, "v2", "{at}, index brought along");
        }
    }
}

#[tokio::test]
async fn killed_while_it_goes_back_it_goes_back_after_all() {
    // The second change of the registry is the way back.
    for at in ["deploy-load", "registry-append+1", "registry-appended+1", "deploy-swap"] {
        assert_eq!(killed(at, true, false).await, "v1", "{at}");
    }
}

fn everybody(retriever: &Arc<Retriever>) -> Asked {
    all_customers(Arc::clone(retriever), Request { k: 5, ..Request::default() })
}

async fn monday(root: &TenantRoot) -> recs_serve::Result<BulkReport> {
    let (retriever, config) = (Arc::new(crate::artifact::retriever()), BulkConfig { part_requests: 3 });
    let (asked, cancel) = (everybody(&retriever), CancelToken::new());
    recommend_all(root, "monday", retriever, asked, &config, &Silent, &cancel).await
}

#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn recommends_to_all_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    kill_at(&std::env::var(AT).unwrap());
    monday(&root(Path::new(&folder))).await.unwrap();
}

#[tokio::test]
async fn a_run_for_all_that_is_killed_goes_on_to_the_same_files() {
    let whole = tempfile::tempdir().unwrap();
    let expected = monday(&root(whole.path())).await.unwrap().metadata;
    for (at, resumed) in [("bulk-part-written+1", 1), ("bulk-part-noted+1", 2)] {
        let folder = tempfile::tempdir().unwrap();
        run_until_killed("failpoints::recommends_to_all_until_it_is_killed", at, folder.path());
        let report = monday(&root(folder.path())).await.unwrap();
        assert_eq!((report.resumed, &report.metadata), (resumed, &expected), "{at}");
    }
}

fn monitor(folder: &Path) -> Arc<Monitor> {
    let live = Arc::new(Live::default());
    let retriever = Arc::new(crate::artifact::retriever());
    live.swap(recs_serve::deploy::Serving::only(retriever));
    let config = MonitorConfig { spool: Some(folder.join("spool")), ..MonitorConfig::default() };
    Arc::new(Monitor::new(&root(folder), live, host(), config, Vec::new()).unwrap())
}

fn events() -> Vec<Event> {
    let event = |i: i64| Event {
        // Two days, so two tables.
        at_ms: 0,
        received_ms: (crate::artifact::NOW + i % 2 * 86_400) * 1000,
        customer_id: format!("c{i}"),
        product_id: "p".into(),
        outcome: Outcome::Bought,
        model_version: Some("v1".into()),
        is_told: true,
        request_id: None,
        event_id: None,
        asked: AskedWith::default(),
        judged: Vec::new(),
    };
    (0..6).map(event).collect()
}

#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn takes_events_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let monitor = monitor(Path::new(&folder));
    monitor.keep(&events()).await.unwrap();
    kill_at(&std::env::var(AT).unwrap());
    // Answered for above; what comes now is not.
    let _ = monitor.keep(&events()[..1]).await;
    monitor.ship().await.unwrap();
}

#[tokio::test]
async fn events_that_were_answered_for_are_counted_once_whoever_is_killed() {
    for (at, unanswered) in [("spool-appended", 1), ("events-added", 1), ("events-added+1", 1)] {
        let folder = tempfile::tempdir().unwrap();
        run_until_killed("failpoints::takes_events_until_it_is_killed", at, folder.path());
        monitor(folder.path()).ship().await.unwrap();
        let days = ["2018-01-01".to_owned(), "2018-01-02".to_owned()];
        let found = Outcomes::load(&root(folder.path()), &days).await.unwrap().report()["v1"].bought;
        assert_eq!(found, 6 + unanswered, "{at}");
        let left = std::fs::read_dir(folder.path().join("spool")).unwrap().flatten();
        let files = left.flat_map(|of| std::fs::read_dir(of.path()).unwrap()).flatten();
        assert!(
            files
                .flat_map(|of| std::fs::read_dir(of.path()).unwrap())
                .flatten()
                .all(|f| f.file_name() == "lock")
        );
    }
}

/// A load takes as long as it is held up; the registry changes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_wants_no_more_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, root) = (folder.path(), root(folder.path()));
    published(&root, false).await;
    let registry = Registry::new(&root).unwrap();
    registry.promote("v1", &by()).await.unwrap();
    let (live, deployer) = deployer(folder);
    deployer.refresh().await.unwrap();
    registry.promote("v2", &by()).await.unwrap();
    fail::cfg("deploy-built", "pause").unwrap();
    let deployer = Arc::new(deployer);
    let refreshing = tokio::spawn({
        let deployer = Arc::clone(&deployer);
        async move { deployer.refresh().await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    registry.rollback(Some("v2"), &by()).await.unwrap();
    assert!(refreshing.await.unwrap().unwrap(), "while v2 is still held up");
    assert_eq!(production(&live).as_deref(), Some("v1"));
    fail::remove("deploy-built");
}
