//! `recs config`.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::output::Report;
use crate::schema::config_schema;
use recs_core::schema::Schema;
use recs_train::{EncodingsConfig, TrainConfig};
use serde_json::{Value, json};

/// `recs config schema`.
pub(super) fn schema() -> Report {
    let mut report = Report::default();
    let schema = config_schema();
    report.line(format!("{schema:#}"));
    if let Value::Object(entries) = schema {
        entries.into_iter().for_each(|(key, value)| report.set(&key, value));
    }
    report
}

/// `recs config train`.
pub(super) fn train(config: &Config) -> Result<Report> {
    let settings = complete(&TrainConfig::from_overrides(&config.train)?, &config.schema()?)?;
    let table = json!({ "train": settings });
    let text = toml::to_string(&table).map_err(|e| Error::config("train", e.to_string()))?;
    let mut report = Report::default();
    report.line(text.trim_end());
    report.set("train", settings);
    Ok(report)
}

/// All settings, as `[train]` takes them: the encodings of the preset with them, `false` for what is off.
fn complete(config: &TrainConfig, schema: &Schema) -> Result<Value> {
    let model = config.model(schema)?;
    let (query, candidate) = (Some(model.schema.query), Some(model.schema.candidate));
    let config = TrainConfig { encodings: EncodingsConfig { query, candidate }, ..config.clone() };
    let mut settings = serde_json::to_value(&config).map_err(|e| Error::config("train", e.to_string()))?;
    for_people(&mut settings);
    Ok(settings)
}

fn for_people(value: &mut Value) {
    match value {
        Value::Null => *value = Value::Bool(false),
        Value::Array(values) => values.iter_mut().for_each(for_people),
        Value::Object(table) => table.values_mut().for_each(for_people),
        // Single precision, with the digits that it has.
        Value::Number(number) if number.is_f64() => {
            let known = number.as_f64().unwrap_or_default();
            let short = (known as f32).to_string().parse::<f64>().unwrap_or(known);
            if f64::from(known as f32).to_bits() == known.to_bits() {
                *value = json!(short);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn settings_that_were_printed_are_the_same_settings() {
        let schema = Schema::retail();
        for preset in [TrainConfig::recommended(), TrainConfig::reference()] {
            let config = TrainConfig { max_loss_ratio: None, learning_rate: 0.3, ..preset };
            let printed = toml::to_string(&complete(&config, &schema).unwrap()).unwrap();
            assert!(printed.contains("learning_rate = 0.3\n"), "{printed}");
            let read: Map<String, Value> = toml::from_str(&printed).unwrap();
            let read = TrainConfig::from_overrides(&read).unwrap();
            assert_eq!(read.model(&schema).unwrap(), config.model(&schema).unwrap(), "{printed}");
            assert_eq!(TrainConfig { encodings: EncodingsConfig::default(), ..read }, config, "{printed}");
        }
    }
}
