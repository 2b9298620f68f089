//! Keys in the store.

use crate::http_client::tenant;
use axum::http::HeaderMap;
use recs_core::store::Store;
use recs_serve::Error;
use recs_serve::http::{ApiKeys, Ask, Gate, KeyLog, KeyRecord, KeyRing, NewKey, Refusal, Role, WithoutKeys};

fn record(name: &str) -> KeyRecord {
    KeyRecord::generate(Some(tenant("acme")), [Role::Predict], name).unwrap().0
}

#[tokio::test]
async fn keys_are_added_and_revoked() {
    let store = Store::memory();
    let log = KeyLog::of_tenant(&store.tenant(&tenant("acme")).unwrap()).unwrap();
    assert!(log.load().await.unwrap().is_empty() && log.version().await.unwrap() == 0);
    let (first, second) = (record("first"), record("second"));
    log.add(&first).await.unwrap();
    log.add(&second).await.unwrap();
    assert!(matches!(log.add(&second).await, Err(Error::Config { .. })));
    assert_eq!(log.load().await.unwrap(), [first.clone(), second.clone()]);
    ApiKeys::new(&log.load().await.unwrap()).unwrap();
    log.revoke(&first.id).await.unwrap();
    assert!(matches!(log.revoke(&first.id).await, Err(Error::Config { .. })));
    assert_eq!((log.load().await.unwrap(), log.version().await.unwrap()), (vec![second], 3));
    let others = KeyLog::of_tenant(&store.tenant(&tenant("beta")).unwrap()).unwrap();
    let operators = KeyLog::of_operator(&store).unwrap();
    assert!(others.load().await.unwrap().is_empty() && operators.load().await.unwrap().is_empty());
}

#[tokio::test]
async fn writers_at_the_same_moment_undo_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = Store::local(folder.path()).unwrap().tenant(&tenant("acme")).unwrap();
    let log = KeyLog::of_tenant(&root).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for i in 0..8 {
        let log = log.clone();
        writers.spawn(async move { log.add(&record(&i.to_string())).await });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let mut notes: Vec<String> = log.load().await.unwrap().into_iter().map(|key| key.note).collect();
    notes.sort();
    assert_eq!(notes, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn keys_of_others_are_refused_wherever_they_lie() {
    let store = Store::memory();
    let acme = store.tenant(&tenant("acme")).unwrap();
    let log = KeyLog::of_tenant(&acme).unwrap();
    let (betas, _) = KeyRecord::generate(Some(tenant("beta")), [Role::Predict], "").unwrap();
    let (operators, _) = KeyRecord::generate(None, [Role::Operate], "").unwrap();
    for record in [&betas, &operators] {
        assert!(matches!(log.add(record).await, Err(Error::Config { .. })));
        assert!(matches!(log.load().await.as_deref(), Ok([])));
    }
    assert!(KeyLog::of_operator(&store).unwrap().add(&betas).await.is_err());
    // Somebody who can write files, but only here.
    let forged = serde_json::json!({"keys": [operators]}).to_string();
    acme.key_log().unwrap().append(0, forged.into()).await.unwrap();
    let message = log.load().await.unwrap_err().to_string();
    assert!(
        message.contains("registry/keys/000001.json") && message.contains("is of the operator"),
        "{message}"
    );
}

struct Ring {
    store: Store,
    ring: KeyRing,
}

fn log_of(store: &Store, name: &str) -> KeyLog {
    KeyLog::of_tenant(&store.tenant(&tenant(name)).unwrap()).unwrap()
}

fn logs(store: &Store) -> [KeyLog; 3] {
    [log_of(store, "acme"), log_of(store, "beta"), KeyLog::of_operator(store).unwrap()]
}

async fn ring(store: Store, without: WithoutKeys) -> recs_serve::Result<Ring> {
    let ring = KeyRing::new(logs(&store));
    assert!(ring.load(without).await.is_empty());
    Ok(Ring { ring, store })
}

impl Ring {
    async fn add(&self, name: &str) -> (KeyRecord, NewKey) {
        let (record, key) = KeyRecord::generate(Some(tenant(name)), [Role::Predict], "").unwrap();
        log_of(&self.store, name).add(&record).await.unwrap();
        (record, key)
    }

    fn admits(&self, name: &str, key: Option<&NewKey>) -> Result<(), Refusal> {
        let header = |key: &NewKey| ("x-api-key".parse().unwrap(), key.reveal().parse().unwrap());
        let (headers, tenant) = (HeaderMap::from_iter(key.map(header)), tenant(name));
        self.ring
            .admit(&Ask::new(&headers, Some(&tenant), None, Role::Predict))
            .map(|admitted| assert_eq!(admitted, tenant))
    }
}

#[tokio::test]
async fn a_ring_is_open_only_until_the_first_key_was_ever_made() {
    let shut = ring(Store::memory(), WithoutKeys::Closed).await.unwrap();
    assert!(shut.ring.is_shut() && shut.admits("acme", None).is_err());
    let ring = ring(Store::memory(), WithoutKeys::Open).await.unwrap();
    assert!(ring.ring.is_open() && !ring.ring.is_shut() && ring.admits("acme", None).is_ok());
    assert_eq!(ring.ring.admit_operator(&HeaderMap::new()), Ok(()));
    let (record, key) = ring.add("acme").await;
    assert!(ring.ring.refresh().await.is_empty());
    assert_eq!(
        (ring.admits("acme", None), ring.admits("acme", Some(&key))),
        (Err(Refusal::Unauthenticated), Ok(()))
    );
    assert_eq!(ring.admits("beta", Some(&key)), Err(Refusal::NotYours));
    assert_eq!(ring.ring.admit_operator(&HeaderMap::new()), Err(Refusal::Unauthenticated));
    // The last key goes; nobody is let in, now or by the next server.
    log_of(&ring.store, "acme").revoke(&record.id).await.unwrap();
    assert!(ring.ring.refresh().await.is_empty());
    assert_eq!(ring.admits("acme", Some(&key)), Err(Refusal::Unauthenticated));
    assert!(self::ring(ring.store.clone(), WithoutKeys::Open).await.unwrap().ring.is_shut());
}

#[tokio::test]
async fn a_faulty_log_leaves_the_others_alone() {
    let ring = ring(Store::memory(), WithoutKeys::Open).await.unwrap();
    let (acmes, acme) = ring.add("acme").await;
    let (betas, beta) = ring.add("beta").await;
    assert!(ring.ring.refresh().await.is_empty());
    let forged = serde_json::json!({"keys": [acmes]}).to_string();
    let root = ring.store.tenant(&tenant("beta")).unwrap();
    root.key_log().unwrap().append(1, forged.into()).await.unwrap();
    log_of(&ring.store, "acme").revoke(&acmes.id).await.unwrap();
    let failures = ring.ring.refresh().await;
    assert_eq!(failures.len(), 1);
    assert!(failures[0].to_string().contains("tenants/beta/registry/keys/000002.json"), "{}", failures[0]);
    assert_eq!(ring.admits("acme", Some(&acme)), Err(Refusal::Unauthenticated), "revoked");
    assert_eq!(ring.admits("beta", Some(&beta)), Ok(()), "as before");
    // It says so until it is mended.
    assert_eq!(ring.ring.refresh().await.len(), 1);
    let mended = serde_json::json!({"keys": [betas]}).to_string();
    root.key_log().unwrap().append(2, mended.into()).await.unwrap();
    assert!(ring.ring.refresh().await.is_empty());
}

#[tokio::test]
async fn an_id_of_another_log_blocks_nothing() {
    let ring = ring(Store::memory(), WithoutKeys::Open).await.unwrap();
    let (acmes, acme) = ring.add("acme").await;
    let (second, _) = ring.add("acme").await;
    let copy = KeyRecord { tenant: Some(tenant("beta")), ..acmes.clone() };
    log_of(&ring.store, "beta").add(&copy).await.unwrap();
    assert_eq!(ring.ring.refresh().await.len(), 1, "it is told");
    assert_eq!(ring.admits("acme", Some(&acme)), Ok(()));
    log_of(&ring.store, "acme").revoke(&second.id).await.unwrap();
    ring.ring.refresh().await;
    log_of(&ring.store, "acme").revoke(&acmes.id).await.unwrap();
    ring.ring.refresh().await;
    assert_ne!(ring.admits("acme", Some(&acme)), Ok(()), "revoked");
}

#[tokio::test]
async fn keys_of_a_store_that_is_away_stay_known() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(Store::local(folder.path()).unwrap(), WithoutKeys::Open).await.unwrap();
    let (_, key) = ring.add("acme").await;
    assert!(ring.ring.refresh().await.is_empty());
    // The disk is unmounted: what is left is an empty folder.
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    let failures = ring.ring.refresh().await;
    assert!(failures.iter().any(|error| error.to_string().contains("000001.json")), "{failures:?}");
    assert_eq!(ring.admits("acme", Some(&key)), Ok(()));
    assert!(ring.admits("acme", None).is_err());
}

#[tokio::test]
async fn a_start_without_the_store_knows_the_keys_that_were_good_last() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, file) =
        (Store::local(folder.path()).unwrap(), cache.path().join("of acme").join("keys.json"));
    let start = async || {
        let ring = KeyRing::new(logs(&store)).remembering(file.clone());
        let failures = ring.load(WithoutKeys::Open).await;
        (Ring { ring, store: store.clone() }, failures)
    };
    let (first, failures) = start().await;
    assert!(failures.is_empty() && first.ring.is_open());
    let ((record, key), (revoked, old)) = (first.add("acme").await, first.add("acme").await);
    log_of(&store, "acme").revoke(&revoked.id).await.unwrap();
    assert!(first.ring.refresh().await.is_empty());
    assert!(!std::fs::read_to_string(&file).unwrap().contains(key.reveal()), "hashes");

    let away = folder.path().with_extension("away");
    std::fs::rename(folder.path(), &away).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    let (second, failures) = start().await;
    assert!(failures[0].to_string().contains("000003.json"));
    assert!(!second.ring.is_open() && !second.ring.is_shut());
    assert_eq!(
        (second.admits("acme", Some(&key)), second.admits("beta", Some(&key))),
        (Ok(()), Err(Refusal::NotYours))
    );
    assert!(second.admits("acme", Some(&old)).is_err() && second.admits("acme", None).is_err());

    // It is back.
    std::fs::remove_dir(folder.path()).unwrap();
    std::fs::rename(&away, folder.path()).unwrap();
    log_of(&store, "acme").revoke(&record.id).await.unwrap();
    assert!(second.ring.refresh().await.is_empty() && second.admits("acme", Some(&key)).is_err());

    // Somebody who can write the file makes no key of another tenant, and what is no such file is nothing.
    let said = std::fs::read_to_string(&file).unwrap();
    let text = serde_json::to_string(&revoked).unwrap();
    for forged in [
        said.replacen("\"keys\": []", &format!("\"keys\": [{}]", text.replace("acme", "beta")), 1),
        said[..40].into(),
    ] {
        assert_ne!(forged, said);
        std::fs::write(&file, forged).unwrap();
        assert!(start().await.0.admits("beta", Some(&old)).is_err());
    }
}

#[tokio::test]
async fn what_is_remembered_of_a_store_that_was_begun_anew_opens_nothing() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, file) = (Store::local(folder.path()).unwrap(), cache.path().join("keys.json"));
    let start = async || {
        let ring = KeyRing::new(logs(&store)).remembering(file.clone());
        let failures = ring.load(WithoutKeys::Closed).await;
        (Ring { ring, store: store.clone() }, failures)
    };
    let (first, _) = start().await;
    let (_, old) = first.add("acme").await;
    assert!(first.ring.refresh().await.is_empty() && first.admits("acme", Some(&old)).is_ok());
    // Begun anew, with as many changes.
    std::fs::remove_dir_all(folder.path()).unwrap();
    let (_, new) = first.add("acme").await;
    let (second, failures) = start().await;
    assert!(failures.is_empty(), "{failures:?}");
    assert!(second.admits("acme", Some(&new)).is_ok() && second.admits("acme", Some(&old)).is_err());
    // And without a key, but with a model.
    std::fs::remove_dir_all(folder.path()).unwrap();
    let root = store.tenant(&tenant("acme")).unwrap();
    crate::artifact::artifact("v1").publish(&root, "2026-01-01T00:00:00Z").await.unwrap();
    let (third, failures) = start().await;
    assert!(failures.is_empty() && third.ring.is_shut() && third.admits("acme", Some(&new)).is_err());
}

#[tokio::test]
async fn a_log_that_cannot_be_read_keeps_nobody_else_from_starting() {
    let store = Store::memory();
    let (record, key) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "").unwrap();
    log_of(&store, "acme").add(&record).await.unwrap();
    let betas = store.tenant(&tenant("beta")).unwrap();
    betas.key_log().unwrap().append(0, "{".into()).await.unwrap();
    let ring = KeyRing::new(logs(&store));
    let failures = ring.load(WithoutKeys::Open).await;
    assert!(failures.len() == 1 && failures[0].to_string().contains("beta"), "{failures:?}");
    let ring = Ring { ring, store };
    assert!(
        ring.admits("acme", Some(&key)).is_ok() && ring.admits("beta", None).is_err() && !ring.ring.is_open()
    );
}
