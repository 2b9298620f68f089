//! A configuration -> parameters.

use crate::error::{Error, Result};
use serde::Serialize;
use serde_json::Value;

/// Longest value of a parameter that the server takes.
pub(super) const PARAM_VALUE_CHARS: usize = 6000;

/// Names and values of every setting: tables by dots (`loss.temperature`), text as it is, everything else as JSON
/// (`[128,64]`, `null`).
///
/// # Errors
/// [`Error::Config`] when the settings have no JSON form.
pub(super) fn flatten<T: Serialize>(settings: &T) -> Result<Vec<(String, String)>> {
    let fault = |e: serde_json::Error| Error::config("mlflow.params", e.to_string());
    // By text: it gives the shortest form of a 32-bit number, where Value would widen it to 0.0020000000949949026.
    let text = serde_json::to_string(settings).map_err(fault)?;
    let mut params = Vec::new();
    walk("", &serde_json::from_str(&text).map_err(fault)?, &mut params);
    Ok(params)
}

fn walk(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                walk(&name, value, into);
            }
        }
        Value::String(text) => into.push((name.to_owned(), text.clone())),
        other => into.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainConfig;

    #[test]
    fn every_setting_has_its_name_and_its_shortest_number() {
        let params = flatten(&TrainConfig::recommended()).unwrap();
        let of = |name: &str| params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(of("learning_rate"), Some("0.01"));
        assert_eq!(of("preset"), Some("recommended"));
        assert_eq!(of("query.layers"), Some("[]"));
        assert_eq!(of("repeat.products"), Some("200"));
        assert_eq!(of("refit"), Some("true"));
        assert!(of("loss.temperature").is_some());
        let reference = flatten(&TrainConfig::reference()).unwrap();
        assert!(reference.contains(&("early_stopping".into(), "null".into())));
    }
}
