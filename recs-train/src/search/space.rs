//! Settings by their paths, and how they are put into a [`TrainConfig`].

use super::config::{SearchAlgorithm, SearchConfig};
use super::distribution::field;
use crate::config::{TrainConfig, merge_settings};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Settings that differ from the search's own, by path.
pub type Settings = BTreeMap<String, Value>;

/// What all trials have in common: it decides what is judged and how, not how good a model is.
const FIXED: [&str; 7] =
    ["preset", "split", "evaluation", "refit", "threads", "test_rows", "validation_rows"];

impl SearchConfig {
    /// Checks the space, and that `base` takes the ends of each range and every choice.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub(super) fn check_space(&self, base: &TrainConfig) -> Result<()> {
        if let SearchAlgorithm::Listed { trials } = &self.algorithm {
            return self.check_listed(trials);
        }
        if self.space.is_empty() {
            return Err(Error::config("search.space", "is empty: name the settings to search over"));
        }
        for (path, distribution) in &self.space {
            let refuse = |reason: String| Err(Error::config(field(path), reason));
            check_free(path)?;
            if path == "epochs" && matches!(self.algorithm, SearchAlgorithm::Halving { .. }) {
                return refuse(
                    "is what halving decides; take it out, or use algorithm.kind = \"random\"".into(),
                );
            }
            let within = |other: &&String| other.starts_with(&format!("{path}."));
            if let Some(other) = self.space.keys().find(within) {
                return refuse(format!("holds {other}, which is searched too: take one of them out"));
            }
            distribution.validate(path)?;
            for value in distribution.ends() {
                if let Err(e) = apply(base, &[(path.clone(), value.clone())].into()) {
                    return refuse(format!("does not take {value}: {e}"));
                }
            }
        }
        Ok(())
    }

    fn check_listed(&self, trials: &[Settings]) -> Result<()> {
        if !self.space.is_empty() {
            let reason =
                "is not looked at when trials are listed: take it out, or use algorithm.kind = \"random\"";
            return Err(Error::config("search.space", reason));
        }
        trials.iter().flat_map(Settings::keys).try_for_each(|path| check_free(path))
    }
}

fn check_free(path: &str) -> Result<()> {
    if FIXED.contains(&path.split('.').next().unwrap_or_default()) {
        return Err(Error::config(field(path), "is the same for all trials: set it under [train]"));
    }
    Ok(())
}

/// `base` with these settings.
///
/// # Errors
/// [`Error::Config`] for a setting that does not exist there, or a value that it does not take.
pub(super) fn apply(base: &TrainConfig, settings: &Settings) -> Result<TrainConfig> {
    let config = base.with_overrides(&nested(settings))?;
    // Tables with a `kind` that has no settings take any key.
    let whole = serde_json::to_value(&config).map_err(|e| Error::config("train", e.to_string()))?;
    for path in settings.keys() {
        if path.split('.').try_fold(&whole, |table, key| table.get(key)).is_none() {
            return Err(Error::config(format!("train.{path}"), "is no setting of this training"));
        }
    }
    Ok(config)
}

/// `overrides`, as in recs.toml under `[train]`, with these settings put over them.
pub(super) fn merged(overrides: &Map<String, Value>, settings: &Settings) -> Map<String, Value> {
    let mut all = Value::Object(overrides.clone());
    merge_settings(&mut all, &Value::Object(nested(settings)));
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

/// `{"a.b": 1}` as `{"a": {"b": 1}}`.
fn nested(settings: &Settings) -> Map<String, Value> {
    let mut all = Map::new();
    settings.iter().for_each(|(path, value)| insert(&mut all, path, value));
    all
}

fn insert(table: &mut Map<String, Value>, path: &str, value: &Value) {
    let Some((key, rest)) = path.split_once('.') else {
        table.insert(path.into(), value.clone());
        return;
    };
    // No path of a space goes through another.
    if let Value::Object(inner) = table.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        insert(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Distribution;
    use super::*;
    use serde_json::json;

    fn space(settings: &Value) -> SearchConfig {
        serde_json::from_value(json!({ "space": settings })).unwrap()
    }

    fn refused(settings: &Value, base: &TrainConfig) -> String {
        space(settings).check_space(base).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_path_reaches_its_setting() {
        let base = TrainConfig::recommended();
        let settings: Settings = serde_json::from_value(json!({
            "learning_rate": 0.5, "loss.temperature": 0.25, "optimiser.embeddings.weight_decay": 0.125,
            "examples.share": 0.5, "query.layers": [8], "early_stopping.patience": 3,
            "optimiser.dense": {"kind": "sgd"},
        }))
        .unwrap();
        let config = apply(&base, &settings).unwrap();
        let whole = serde_json::to_value(&config).unwrap();
        for (path, value) in settings {
            assert_eq!(whole.pointer(&format!("/{}", path.replace('.', "/"))), Some(&value), "{path}");
        }
        // The rest of a table stays.
        assert_eq!(whole["optimiser"]["embeddings"]["epsilon"], json!(1e-8f32));
    }

    #[test]
    fn what_cannot_be_searched_is_refused_by_name() {
        let (base, uniform) =
            (TrainConfig::recommended(), json!({"kind": "uniform", "low": 0.1, "high": 0.2}));
        for path in ["learningrate", "loss.heat", "loss", "loss.temperature.x", "", "loss."] {
            let message = refused(&json!({path: uniform}), &base);
            assert!(message.contains(&field(path)), "{path}: {message}");
        }
        let message = refused(&json!({"examples.share": uniform}), &TrainConfig::reference());
        assert!(message.contains("train.examples.share"), "{message}");
        for path in ["split", "preset", "evaluation.seen", "threads", "refit", "test_rows", "validation_rows"]
        {
            let message = refused(&json!({path: {"kind": "choice", "values": [1]}}), &base);
            assert!(message.contains("is the same for all trials"), "{message}");
        }
        let message = refused(&json!({"batch": {"kind": "int", "low": 1, "high": 64}}), &base);
        assert!(message.contains("does not take 1") && message.contains("allowed are 2 to"), "{message}");
        let both = json!({"query": {"kind": "choice", "values": [{}]}, "query.layers": {"kind": "choice", "values": [[]]}});
        assert!(refused(&both, &base).contains("holds query.layers"));
        assert!(refused(&json!({}), &base).contains("is empty"));
        let mut halving = space(&json!({"epochs": {"kind": "int", "low": 1, "high": 9}}));
        halving.check_space(&base).unwrap();
        halving.algorithm = SearchAlgorithm::Halving { trials: 9, eta: 3, shortest: 1 };
        assert!(halving.check_space(&base).unwrap_err().to_string().contains("halving decides"));
    }

    #[test]
    fn listed_trials_are_tried_as_they_are() {
        let listed = |trials: &Value, space: &Value| -> SearchConfig {
            let algorithm = json!({"kind": "listed", "trials": trials});
            serde_json::from_value(json!({"algorithm": algorithm, "space": space})).unwrap()
        };
        let (base, warm) =
            (TrainConfig::recommended(), json!([{"epochs": 3}, {"repeat": false, "loss.temperature": 0.5}]));
        let search = listed(&warm, &json!({}));
        search.check_space(&base).unwrap();
        assert_eq!(search.algorithm.rungs(30).unwrap()[0].trials, 3);
        let configs = [0, 1, 2].map(|number| apply(&base, &search.draw(number)).unwrap());
        assert_eq!(configs[0], base);
        assert_eq!(configs[1], TrainConfig { epochs: 3, ..base.clone() });
        assert_eq!((configs[2].repeat, configs[2].loss.temperature), (None, 0.5));
        let refused = |search: SearchConfig| search.check_space(&base).unwrap_err().to_string();
        assert!(refused(listed(&json!([{"split": "random"}]), &json!({}))).contains("same for all trials"));
        let space = json!({"l1": {"kind": "uniform", "low": 0.1, "high": 0.2}});
        assert!(refused(listed(&warm, &space)).contains("search.space"));
        assert!(listed(&json!([]), &json!({})).algorithm.rungs(30).is_err());
        // What is written for the next training still says off.
        assert_eq!(merged(&Map::new(), &search.draw(2))["repeat"], json!(false));
    }

    #[test]
    fn draws_depend_on_seed_number_and_path_alone() {
        let rate = Distribution::LogUniform { low: 1e-3, high: 1.0 };
        let one = SearchConfig::new([("learning_rate".into(), rate.clone())]);
        let mut two = SearchConfig::new([("learning_rate".into(), rate.clone()), ("l1".into(), rate)]);
        assert!(one.draw(0).is_empty());
        for number in 1..50 {
            let settings = two.draw(number);
            assert_eq!(one.draw(number)["learning_rate"], settings["learning_rate"]);
            assert_ne!(settings["l1"], settings["learning_rate"]);
            assert_ne!(two.draw(number + 1), settings);
        }
        let before = two.draw(1);
        two.seed += 1;
        assert_ne!(two.draw(1), before);
    }

    #[test]
    fn settings_go_over_those_of_a_file() {
        let file = json!({"epochs": 3, "loss": {"temperature": 0.5, "uniform_negatives": 4}});
        let best: Settings = [("loss.temperature".into(), json!(0.25)), ("l1".into(), json!(0.5))].into();
        let all = Value::Object(merged(file.as_object().unwrap(), &best));
        assert_eq!(
            all,
            json!({"epochs": 3, "l1": 0.5, "loss": {"temperature": 0.25, "uniform_negatives": 4}})
        );
    }
}
