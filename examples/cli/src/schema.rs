//! JSON schema of `recs.toml`, from the very types that read it.

use crate::config::Config;
use recs_train::TrainConfig;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

/// The schema, in the draft that editors know (draft 7).
pub(crate) fn config_schema() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>().to_value()
}

/// `[train]`: any of the settings, since the others are the preset's. What may be missing is switched off by `false`.
pub(crate) fn train_overrides(_: &mut SchemaGenerator) -> Schema {
    let settings = SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<TrainConfig>();
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("required");
        // TOML has no null.
        let types = schema.get_mut("type").and_then(Value::as_array_mut);
        types.into_iter().flatten().filter(|t| **t == "null").for_each(|null| *null = "boolean".into());
        let alternatives = schema.get_mut("anyOf").and_then(Value::as_array_mut);
        for null in alternatives.into_iter().flatten().filter(|s| **s == json!({"type": "null"})) {
            *null = json!({"const": false});
        }
    })
    .transform(&mut schema);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TEMPLATE;
    use recs_train::tracking::mlflow::MlflowConfig;

    /// What a schema says of a key, references followed; None where it does not know the key.
    fn property<'a>(root: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return property(root, root.pointer(target.strip_prefix('#')?)?, key);
        }
        let alternatives =
            ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|of| schema.get(of)?.as_array());
        let free = || schema.get("additionalProperties").filter(|p| p.is_object());
        let own = schema.get("properties").and_then(|p| p.get(key)).or_else(free);
        own.or_else(|| alternatives.flatten().find_map(|s| property(root, s, key)))
    }

    /// Keys of `value` that the schema does not know.
    fn unknown(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Some(entries) = value.as_object() else { return Vec::new() };
        let check = |(key, value): (&String, &Value)| match property(root, schema, key) {
            None => vec![format!("{at}/{key}")],
            Some(schema) => unknown(root, schema, value, &format!("{at}/{key}")),
        };
        entries.iter().flat_map(check).collect()
    }

    #[test]
    fn every_setting_is_in_the_schema_and_no_other() {
        let schema = config_schema();
        let mut config: Config = toml::from_str(TEMPLATE).unwrap();
        let search = json!({"space": {"l1": {"kind": "uniform", "low": 0.0, "high": 1.0}}});
        config.search = Some(serde_json::from_value(search).unwrap());
        config.mlflow = Some(MlflowConfig::new("http://127.0.0.1:5000"));
        for preset in ["recommended", "reference"] {
            let overrides = json!({"preset": preset});
            let train = TrainConfig::from_overrides(overrides.as_object().unwrap()).unwrap();
            config.train = serde_json::to_value(train).unwrap().as_object().unwrap().clone();
            let value = serde_json::to_value(&config).unwrap();
            assert_eq!(unknown(&schema, &schema, &value, ""), [""; 0]);
        }
        let mut value = serde_json::to_value(&config).unwrap();
        value["extract"]["windowdays"] = json!(3);
        value["train"]["loss"]["heat"] = json!(3);
        assert_eq!(unknown(&schema, &schema, &value, ""), ["/extract/windowdays", "/train/loss/heat"]);
    }

    #[test]
    fn only_the_tenant_is_required() {
        let schema = config_schema();
        assert_eq!(schema["required"], json!(["tenant"]));
        assert!(!schema["properties"]["train"].to_string().contains("\"required\""));
        assert_eq!(schema["additionalProperties"], json!(false));
        let off = &schema["properties"]["train"]["properties"]["early_stopping"]["type"];
        assert_eq!(off, &json!(["object", "boolean"]));
    }
}
