//! Labels in the store.

use crate::artifact::artifact;
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::Error;
use recs_serve::registry::{Action, By, Canary, Registry};

fn by(why: &str) -> By {
    By { at: "2026-01-02T03:04:05Z".into(), who: "tests".into(), why: why.into() }
}

async fn published(store: &Store, versions: &[&str]) -> TenantRoot {
    let root = store.tenant(&TenantId::new("acme").unwrap()).unwrap();
    for version in versions {
        artifact(version).publish(&root, "2026-01-01T00:00:00Z").await.unwrap();
    }
    root
}

#[tokio::test]
async fn labels_move_and_every_move_is_on_record() {
    let root = published(&Store::memory(), &["v1", "v2", "v3"]).await;
    let registry = Registry::new(&root).unwrap();
    assert_eq!(registry.current().await.unwrap(), (0, Default::default()));
    assert!(matches!(registry.rollback(None, &by("")).await, Err(Error::Registry { .. })));
    registry.promote("v1", &by("first")).await.unwrap();
    registry.promote("v2", &by("better")).await.unwrap();
    let canary = Canary { version: "v3".into(), share: 0.1 };
    registry.canary(Some(canary.clone()), &by("try")).await.unwrap();
    registry.shadow(Some("v1"), &by("compare")).await.unwrap();
    let (number, deployment) = registry.current().await.unwrap();
    assert_eq!((number, deployment.production.as_deref()), (4, Some("v2")));
    assert_eq!((&deployment.canary, deployment.previous.as_slice()), (&Some(canary), &["v1".to_owned()][..]));
    assert_eq!(deployment.served().collect::<Vec<_>>(), ["v2", "v3", "v1"]);
    let back = registry.rollback(None, &by("worse")).await.unwrap();
    assert_eq!((back.production.as_deref(), back.previous.len()), (Some("v1"), 0));
    let history = registry.history(3).await.unwrap();
    assert_eq!(
        (history.len(), &history[0].action, &history[0].by),
        (3, &Action::Rollback { from: Some("v2".into()) }, &by("worse"))
    );
    assert_eq!(history[0].deployment, back);
    assert_eq!(registry.latest_number().await.unwrap(), 5);
}

#[tokio::test]
async fn what_is_not_published_cannot_serve() {
    let root = published(&Store::memory(), &["v1"]).await;
    let registry = Registry::new(&root).unwrap();
    let canary = Canary { version: "v9".into(), share: 0.5 };
    for refused in [
        registry.promote("v9", &by("")).await,
        registry.canary(Some(canary), &by("")).await,
        registry.shadow(Some("v9"), &by("")).await,
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("\"v9\" is not published"), "{message}");
    }
    assert!(matches!(registry.promote("../v1", &by("")).await, Err(Error::Core(_))));
    registry.promote("v1", &by("")).await.unwrap();
    assert!(registry.promote("v1", &by("")).await.unwrap_err().to_string().contains("already"));
    assert_eq!(registry.latest_number().await.unwrap(), 1, "what is refused leaves no entry");
}

#[tokio::test]
async fn servers_that_decide_at_the_same_moment_agree() {
    let folder = tempfile::tempdir().unwrap();
    let versions: Vec<String> = (0..6).map(|i| format!("v{i}")).collect();
    let names: Vec<&str> = versions.iter().map(String::as_str).collect();
    let root = published(&Store::local(folder.path()).unwrap(), &names).await;
    let mut servers = tokio::task::JoinSet::new();
    for version in versions {
        let registry = Registry::new(&root).unwrap();
        servers.spawn(async move { registry.promote(&version, &by(&version)).await });
    }
    while let Some(done) = servers.join_next().await {
        done.unwrap().unwrap();
    }
    let registry = Registry::new(&root).unwrap();
    let history = registry.history(100).await.unwrap();
    assert_eq!(history.len(), 6, "nobody overwrote another");
    // Each one's predecessor is what it says it replaced.
    for pair in history.windows(2) {
        assert_eq!(pair[0].deployment.previous.first(), pair[1].deployment.production.as_ref());
    }
}

#[tokio::test]
async fn many_who_leave_the_same_version_go_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = published(&Store::local(folder.path()).unwrap(), &["v1", "v2", "v3"]).await;
    let registry = Registry::new(&root).unwrap();
    for version in ["v1", "v2", "v3"] {
        registry.promote(version, &by("")).await.unwrap();
    }
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let registry = Registry::new(&root).unwrap();
        servers.spawn(async move { registry.rollback(Some("v3"), &by("v3 is ill")).await.is_ok() });
    }
    assert_eq!(servers.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(registry.current().await.unwrap().1.production.as_deref(), Some("v2"));
    let late = registry.rollback(Some("v3"), &by("")).await.unwrap_err().to_string();
    assert!(late.contains("\"v3\" is not there any more, \"v2\" is"), "{late}");
}

#[tokio::test]
async fn what_was_deleted_is_not_gone_back_to() {
    let root = published(&Store::memory(), &["v1", "v2"]).await;
    let registry = Registry::new(&root).unwrap();
    registry.promote("v1", &by("")).await.unwrap();
    registry.promote("v2", &by("")).await.unwrap();
    root.model("v1").unwrap().delete("manifest.json").await.unwrap();
    let refused = registry.rollback(None, &by("")).await.unwrap_err().to_string();
    assert!(refused.contains("\"v1\" is not published"), "{refused}");
}

#[tokio::test]
async fn an_entry_of_another_shape_is_named() {
    let root = published(&Store::memory(), &[]).await;
    root.deployment_log().unwrap().append(0, "{\"production\": 7}".into()).await.unwrap();
    let message = Registry::new(&root).unwrap().current().await.unwrap_err().to_string();
    assert!(message.contains("registry/deployments/000001.json"), "{message}");
}
