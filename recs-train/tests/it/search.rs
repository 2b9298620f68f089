//! Searches on small data.

use super::shards::{Purchase, dataset, groups, load};
use super::trainer::small;
use recs_core::observe::{CancelToken, Collect, Event, Observer, Silent};
use recs_core::schema::Schema;
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::data::{Fold, Split, SplitKind};
use recs_train::optim::Clip;
use recs_train::search::{Search, SearchConfig, SearchReport, Trial, TrialFiles};
use recs_train::{Error, Result, TrainConfig, TrainData, Trainer};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn loaded(rows: &[Purchase], base: &TrainConfig) -> (Arc<TrainData>, Arc<Vocabulary>) {
    let (schema, cancel) = (Schema::retail(), CancelToken::new());
    let dataset = dataset(rows, 3).await;
    let sizes = VocabularyConfig { revenue_buckets: 10, timestamp_buckets: 5, ..VocabularyConfig::default() };
    let built = Vocabulary::build(&dataset, &schema, &sizes, 2, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let model = base.model(&schema).unwrap();
    (load(&dataset, &model.schema, &vocabulary).await, vocabulary)
}

/// Far too slow to learn anything.
pub(super) fn slow() -> TrainConfig {
    TrainConfig { epochs: 9, batch: 4, learning_rate: 1e-7, ..small(TrainConfig::recommended()) }
}

pub(super) async fn search(base: &TrainConfig, config: Value) -> Result<Search> {
    let (data, vocabulary) = loaded(&groups(40, 600, 40), base).await;
    let config: SearchConfig = serde_json::from_value(config).unwrap();
    Search::new([data], &Schema::retail(), vocabulary, base.clone(), config)
}

pub(super) fn rates(algorithm: &Value) -> Value {
    let rate = json!({"kind": "log_uniform", "low": 1e-6, "high": 0.1});
    json!({"space": {"learning_rate": rate, "loss.temperature": {"kind": "choice", "values": [0.125, 0.25]}}, "algorithm": algorithm})
}

pub(super) fn run(search: &Search) -> SearchReport {
    search.run(&Silent, &CancelToken::new()).unwrap()
}

/// Without what no second run repeats.
pub(super) fn timeless(report: &SearchReport) -> (Vec<Trial>, Trial, TrainConfig) {
    let of = |trial: &Trial| Trial { seconds: 0.0, ..trial.clone() };
    (report.trials.iter().map(of).collect(), of(&report.best), report.config.clone())
}

#[tokio::test]
async fn random_search_finds_a_better_rate_and_the_same_one_again() {
    let random = rates(&json!({"kind": "random", "trials": 8}));
    let report = run(&search(&slow(), random.clone()).await.unwrap());
    let (best, baseline) = (report.best.score.unwrap(), report.baseline().unwrap());
    assert!(best > 1.2 * baseline, "{best} beside {baseline}");
    assert!(report.config.learning_rate > 1e-4, "{:?}", report.best);
    let highest = report.trials.iter().filter_map(|t| t.score).fold(0.0, f64::max);
    assert_eq!((report.trials.len(), best), (8, highest));
    assert_eq!(report.config, slow().with_overrides(&report.overrides(&serde_json::Map::new())).unwrap());
    let again = run(&search(&slow(), random).await.unwrap());
    assert_eq!(timeless(&again), timeless(&report));
}

#[tokio::test]
async fn halving_trains_the_best_for_longer() {
    let halving = rates(&json!({"kind": "halving", "trials": 9, "eta": 3, "shortest": 1}));
    let report = run(&search(&slow(), halving).await.unwrap());
    let rung = |rung: u64| report.trials.iter().filter(move |trial| trial.rung == rung);
    let budgets: Vec<(usize, usize)> =
        (0..3).map(|r| (rung(r).count(), rung(r).next().unwrap().epochs)).collect();
    assert_eq!(budgets, [(9, 1), (3, 3), (1, 9)]);
    for at in 0..2 {
        let went_on: Vec<u64> = rung(at + 1).map(|trial| trial.number).collect();
        let worst =
            rung(at).filter(|t| went_on.contains(&t.number)).map(|t| t.score.unwrap()).fold(1.0, f64::min);
        let others = rung(at).filter(|t| !went_on.contains(&t.number));
        assert!(others.map(|t| t.score.unwrap()).all(|score| score <= worst));
    }
    assert_eq!((report.best.rung, report.config.epochs), (2, 9));
    assert_eq!(report.baseline(), None, "it learns nothing, so it did not get there");
}

/// What a score is: that of a training on the fold's rows, by the rows that the trainer validates on.
#[tokio::test]
async fn a_trial_is_judged_by_the_validation_rows() {
    let base = TrainConfig { learning_rate: 0.01, repeat: None, epochs: 4, ..slow() };
    let config = rates(&json!({"kind": "random", "trials": 2}));
    let report = run(&search(&base, config).await.unwrap());
    let (data, vocabulary) = loaded(&groups(40, 600, 40), &base).await;
    let stopping = Some(recs_train::EarlyStopping { patience: 9 });
    let choosing = TrainConfig { early_stopping: stopping, refit: false, validation_rows: 0, ..base.clone() };
    let model = choosing.model(&Schema::retail()).unwrap();
    let fitted =
        Trainer::new(data, model, vocabulary, choosing).unwrap().fit(&Silent, &CancelToken::new()).unwrap();
    let validated = fitted.history[3].validation_recall_at_100;
    assert_eq!(report.trials[0].score, validated);
}

#[tokio::test]
async fn folds_are_weeks_before_the_test_and_each_other() {
    let rows = groups(10, 40, 40);
    let (data, _) = loaded(&rows, &slow()).await;
    let (folds, split) =
        (Fold::latest(&data, SplitKind::Time, 3).unwrap(), Split::new(&data, SplitKind::Time).unwrap());
    assert_eq!((&folds[0].train, &folds[0].validation), (&split.train, &split.validation));
    let days = |of: &[u32]| {
        let days = || of.iter().map(|&row| (rows[row as usize].timestamp - 1_500_000_000) / 86_400);
        (days().min().unwrap(), days().max().unwrap(), of.len())
    };
    let all: Vec<_> = folds.iter().map(|fold| (days(&fold.train), days(&fold.validation))).collect();
    assert_eq!(
        all,
        [((0, 25, 260), (26, 32, 70)), ((0, 18, 190), (19, 25, 70)), ((0, 11, 120), (12, 18, 70))]
    );
    let random = Fold::latest(&data, SplitKind::Random, 1).unwrap();
    let split = Split::new(&data, SplitKind::Random).unwrap();
    assert_eq!((&random[0].train, &random[0].validation), (&split.train, &split.validation));
    let refused = [(SplitKind::Time, 0), (SplitKind::Random, 2), (SplitKind::Time, 5)];
    for (kind, n) in refused {
        let message = Fold::latest(&data, kind, n).unwrap_err().to_string();
        assert!(message.contains("search.folds"), "{message}");
    }
}

/// Other products on the days of the test change no trial.
#[tokio::test]
async fn test_rows_are_never_looked_at() {
    let base = TrainConfig { learning_rate: 0.01, epochs: 3, ..slow() };
    let (schema, rows) = (Schema::retail(), groups(40, 600, 40));
    let config: SearchConfig =
        serde_json::from_value(rates(&json!({"kind": "random", "trials": 2}))).unwrap();
    let (data, vocabulary) = loaded(&rows, &base).await;
    let split = Split::new(&data, SplitKind::Time).unwrap();
    let mut other = TrainData::clone(&data);
    let mut product: Vec<u32> = other.product.to_vec();
    split.test.iter().for_each(|&row| product[row as usize] = 7);
    other.product = product.into();
    let of = |data| Search::new([data], &schema, vocabulary.clone(), base.clone(), config.clone()).unwrap();
    assert_eq!(timeless(&run(&of(data))), timeless(&run(&of(Arc::new(other)))));
}

#[tokio::test]
async fn a_trial_that_diverges_is_a_bad_one() {
    let (split, clip) = (SplitKind::Time, recs_train::optim::Clip::None);
    let base = TrainConfig { epochs: 2, split, clip, ..small(TrainConfig::reference()) };
    let choice = |values: Value| {
        json!({"space": {"learning_rate": {"kind": "choice", "values": values}},
        "algorithm": {"kind": "random", "trials": 4}, "folds": 2})
    };
    // Trial 0 is the base, which is well.
    let report = run(&search(&base, choice(json!([1e30]))).await.unwrap());
    assert_eq!((report.best.number, report.best.folds.len()), (0, 2));
    assert!(
        report.trials[1..]
            .iter()
            .all(|t| t.score.is_none() && t.error.as_ref().unwrap().contains("diverged"))
    );
    let diverging = TrainConfig { learning_rate: 1e30, ..base };
    let all = search(&diverging, choice(json!([1e30]))).await.unwrap().run(&Silent, &CancelToken::new());
    assert!(matches!(all, Err(Error::Data { what: "search", .. })), "{all:?}");
}

/// Cancels after some trials.
struct Impatient<'a> {
    after: u64,
    cancel: &'a CancelToken,
    heard: Collect,
}

impl Observer for Impatient<'_> {
    fn on_event(&self, event: &Event) {
        self.heard.on_event(event);
        if matches!(event, Event::Progress { stage: "search", done } if *done == self.after) {
            self.cancel.cancel();
        }
    }
}

#[tokio::test]
async fn a_cancelled_search_goes_on_from_its_file() {
    let base = TrainConfig { epochs: 3, ..slow() };
    let config = rates(&json!({"kind": "halving", "trials": 4, "eta": 2, "shortest": 1}));
    let undisturbed = run(&search(&base, config.clone()).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("search.jsonl");
    let kept = search(&base, config.clone()).await.unwrap().with_results(&file);
    let cancel = CancelToken::new();
    let observer = Impatient { after: 3, cancel: &cancel, heard: Collect::default() };
    let ended = kept.run(&observer, &cancel);
    assert!(matches!(ended, Err(Error::Core(recs_core::Error::Cancelled))), "{ended:?}");
    // Killed in the middle of a line.
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1 + 3);
    std::fs::write(&file, format!("{text}{{\"number\": 3, \"ru")).unwrap();
    let heard = Collect::default();
    let trials = TrialFiles::new(&folder.path().join("trials")).unwrap();
    let resumed = kept.with_tracker(Arc::new(trials)).run(&heard, &CancelToken::new()).unwrap();
    assert_eq!(timeless(&resumed), timeless(&undisturbed));
    let is_trial = |event: &&Event| matches!(event, Event::Trial { .. });
    assert_eq!(heard.events().iter().filter(is_trial).count(), 6);
    // Those that were there before were not trained again, so they have no runs.
    let names: Vec<String> = std::fs::read_dir(folder.path().join("trials"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let first = "trial-0003-rung-0.jsonl";
    assert!(names.len() == 3 && names.iter().any(|name| name == first), "{names:?}");
    let last = std::fs::read_to_string(folder.path().join("trials").join(first)).unwrap();
    let lines: Vec<Value> = last.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["config"]["epochs"], json!(1));
    assert!(lines.iter().any(|line| line["metric"] == "loss"));
    assert_eq!(lines[lines.len() - 1]["score"], json!(resumed.trials[3].score));
    // More trials of the same kind use what is there; other settings do not.
    let other = search(&TrainConfig { epochs: 4, ..base }, config).await.unwrap().with_results(&file);
    let message = other.run(&Silent, &CancelToken::new()).unwrap_err().to_string();
    assert!(message.contains("train.epochs is 4, there 3"), "{message}");
}

#[tokio::test]
async fn a_search_that_cannot_work_is_refused_before_its_first_trial() {
    let cases = [
        ("search.space", json!({"space": {}})),
        (
            "search.folds",
            json!({"space": {"learning_rate": {"kind": "uniform", "low": 0.01, "high": 0.02}}, "folds": 9}),
        ),
        ("search.space.\"l3\"", json!({"space": {"l3": {"kind": "uniform", "low": 0, "high": 1}}})),
        ("search.algorithm.trials", rates(&json!({"kind": "halving", "trials": 2, "shortest": 1}))),
    ];
    for (field, config) in cases {
        let message = search(&slow(), config).await.unwrap_err().to_string();
        assert!(message.contains(field), "{field}: {message}");
    }
    let together = json!({"space": {
        "loss.negatives": {"kind": "choice", "values": ["full"]},
        "loss.uniform_negatives": {"kind": "choice", "values": [4]},
    }});
    let base = TrainConfig { clip: Clip::None, ..small(TrainConfig::reference()) };
    let message = search(&base, together).await.unwrap_err().to_string();
    assert!(message.contains("trial 1") && message.contains("train.loss.uniform_negatives"), "{message}");
}
