//! Keys in the store.

use crate::http_client::tenant;
use recs_core::store::Store;
use recs_serve::Error;
use recs_serve::http::{ApiKeys, KeyLog, KeyRecord, Role};

fn record(name: &str) -> KeyRecord {
    KeyRecord::generate(Some(tenant("acme")), [Role::Predict], name).unwrap().0
}

#[tokio::test]
async fn keys_are_added_and_revoked() {
    let store = Store::memory();
    let log = KeyLog::new(store.tenant(&tenant("acme")).unwrap().key_log().unwrap());
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
    let others = KeyLog::new(store.tenant(&tenant("beta")).unwrap().key_log().unwrap());
    let operators = KeyLog::new(store.operator_key_log().unwrap());
    assert!(others.load().await.unwrap().is_empty() && operators.load().await.unwrap().is_empty());
}

#[tokio::test]
async fn writers_at_the_same_moment_undo_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = Store::local(folder.path()).unwrap().tenant(&tenant("acme")).unwrap();
    let log = KeyLog::new(root.key_log().unwrap());
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
