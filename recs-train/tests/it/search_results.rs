//! The file of a search's trials: whose it is, and what it may be used for.

use super::search::{loaded, rates, run, search, slow, timeless};
use super::shards::groups;
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::Schema;
use recs_train::search::{Search, TrialFiles};
use recs_train::{Error, EvaluateOptions, TrainConfig, TrainData};
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Two short trials with this file.
async fn keeping(base: &TrainConfig, file: &PathBuf) -> Search {
    search(base, rates(&json!({"kind": "random", "trials": 2}))).await.unwrap().with_results(file)
}

fn base() -> TrainConfig {
    TrainConfig { epochs: 1, ..slow() }
}

fn refused(search: &Search) -> String {
    match search.run(&Silent, &CancelToken::new()) {
        Err(Error::Results { path, reason }) => format!("{}: {reason}", path.display()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let ours = file("search.jsonl");
    run(&keeping(&base(), &ours).await);
    let whole = std::fs::read(&ours).unwrap();
    let end = whole.iter().position(|&b| b == b'\n').unwrap();
    let of_another_seed = String::from_utf8(whole.clone()).unwrap().replace("\"seed\":7", "\"seed\":8");
    let torn = [of_another_seed.as_bytes(), b"{\"number\": 3, \"ru"].concat();
    let foreign: [&[u8]; 7] = [
        br#"{"name": "model", "layers": [128, 64]}"#,
        b"{\n  \"name\": \"model\"\n}",
        b"id,name\n1,a\n2,b",
        b"\xff\xfe\x00\x01",
        &[b'x'; 3 << 20],
        &torn,
        // Half a head, and not ours.
        &of_another_seed.as_bytes()[..end - 1],
    ];
    for (at, bytes) in foreign.iter().enumerate() {
        let file = file(&format!("model-{at}.json"));
        std::fs::write(&file, bytes).unwrap();
        let message = refused(&keeping(&base(), &file).await);
        assert!(message.contains("model-") && message.contains("name another"), "{at}: {message}");
        assert!(std::fs::read(&file).unwrap() == *bytes, "{at}: was changed");
    }
}

#[tokio::test]
async fn what_a_killed_search_did_not_finish_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("search.jsonl");
    let report = run(&keeping(&base(), &file).await);
    let whole = std::fs::read(&file).unwrap();
    let end = whole.iter().position(|&b| b == b'\n').unwrap();
    // Nothing, half a head, a head without its end, and half a line that ends within a character.
    let torn = [&whole[..], b"{\"number\":9,\"error\":\"\xe2\x82"].concat();
    for left in [&whole[..0], &whole[..end / 2], &whole[..end], &torn] {
        std::fs::write(&file, left).unwrap();
        assert_eq!(timeless(&run(&keeping(&base(), &file).await)), timeless(&report));
        let now = std::fs::read(&file).unwrap();
        assert_eq!(now.iter().filter(|&&b| b == b'\n').count(), 3);
        assert!(now.starts_with(&whole[..=end]) && now.ends_with(b"}\n"));
    }
    // A line that is whole and no trial is told, and everything stays.
    let odd = [&whole[..], b"{\"number\":9}\n{\"numb"].concat();
    std::fs::write(&file, &odd).unwrap();
    let message = refused(&keeping(&base(), &file).await);
    assert!(message.contains("line 4"), "{message}");
    assert!(std::fs::read(&file).unwrap() == odd);
}

#[tokio::test]
async fn a_file_has_one_search_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("search.jsonl");
    let other = File::create(&file).unwrap();
    other.lock().unwrap();
    let message = refused(&keeping(&base(), &file).await);
    assert!(message.contains("another search writes it"), "{message}");
    drop(other);
    run(&keeping(&base(), &file).await);
}

/// What no trial is judged by does not part a search from its trials; what they are trained on does.
#[tokio::test]
async fn settings_of_the_report_and_the_refit_leave_the_trials_comparable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("search.jsonl");
    let report = run(&keeping(&base(), &file).await);
    let evaluation: EvaluateOptions =
        serde_json::from_value(json!({"bootstrap": {"samples": 200}, "seen": "remove"})).unwrap();
    for (at, other) in [
        TrainConfig { evaluation, ..base() },
        TrainConfig { test_rows: 10, ..base() },
        TrainConfig { refit: false, ..base() },
    ]
    .iter()
    .enumerate()
    {
        let trained = folder.path().join(format!("trained-{at}"));
        let tracker = Arc::new(TrialFiles::new(&trained).unwrap());
        let search = keeping(other, &file).await.with_tracker(tracker);
        let again = search.run(&Silent, &CancelToken::new()).unwrap_or_else(|e| panic!("{at}: {e}"));
        assert_eq!(again.trials, report.trials);
        assert_eq!(std::fs::read_dir(&trained).unwrap().count(), 0, "{at}: trained again");
    }
    // Warm starts group products by it.
    let (data, vocabulary) = loaded(&groups(40, 600, 40), &base()).await;
    let mut other = TrainData::clone(&data);
    other.catalogue.subcategory[0] += 1;
    let config = serde_json::from_value(rates(&json!({"kind": "random", "trials": 2}))).unwrap();
    let search = Search::new([Arc::new(other)], &Schema::retail(), vocabulary, base(), config).unwrap();
    let message = refused(&search.with_results(&file));
    assert!(message.contains("data is"), "{message}");
}
