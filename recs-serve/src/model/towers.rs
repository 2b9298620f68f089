//! Vocabulary and query tower in sections.

use super::sections::Sections;
use crate::error::Result;
use ndarray::{Array1, Array2};
use recs_core::model::{Dense, ModelConfig, TowerModel};
use recs_core::schema::{Schema, Tower};
use recs_core::slab::Slab;
use recs_core::vocab::{Buckets, NumberStats, StringLookup, Vocabulary};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A part of the document.
///
/// # Errors
/// `Corrupt` for one that is not there, or of another shape.
pub(super) fn document<T: DeserializeOwned>(sections: &Sections, name: &str) -> Result<T> {
    let part = sections.document.get(name).unwrap_or(&Value::Null);
    T::deserialize(part).map_err(|e| sections.refuse(format!("its {name} cannot be read: {e}")))
}

/// Gives what the document says of it.
pub(super) fn put_vocabulary(vocabulary: &Vocabulary, sections: &mut Sections) -> Value {
    for (field, lookup) in vocabulary.lookups() {
        let (texts, table) = lookup.parts();
        sections.put_texts(&format!("lookup.{field}"), texts);
        sections.put(format!("lookup.{field}.table"), table);
    }
    for (field, buckets) in vocabulary.all_buckets() {
        sections.put(format!("buckets.{field}"), &buckets.boundaries().to_vec().into());
    }
    // As sections: JSON could lose the last bit of a number.
    let mut counts = BTreeMap::new();
    for (field, stats) in vocabulary.all_stats() {
        let (count, numbers) = stats.to_parts();
        counts.insert(field, count);
        sections.put(format!("stats.{field}"), &numbers.to_vec().into());
    }
    let names = |names: Vec<&String>| json!(names);
    json!({
        "lookups": names(vocabulary.lookups().keys().collect()),
        "buckets": names(vocabulary.all_buckets().keys().collect()),
        "stats": counts,
        "total_examples": vocabulary.total_examples(),
    })
}

#[derive(serde::Deserialize)]
struct Fields {
    lookups: Vec<String>,
    buckets: Vec<String>,
    stats: BTreeMap<String, u64>,
    total_examples: u64,
}

/// # Errors
/// `Corrupt`, and those of [`Vocabulary::of_parts`].
pub(super) fn vocabulary(sections: &Sections, schema: &Schema) -> Result<Vocabulary> {
    let fields: Fields = document(sections, "vocabulary")?;
    let mut lookups = BTreeMap::new();
    for field in fields.lookups {
        let name = format!("lookup.{field}");
        let lookup = StringLookup::of_parts(sections.texts(&name)?, sections.slab(&format!("{name}.table"))?);
        let lookup =
            lookup.ok_or_else(|| sections.refuse(format!("its table of {field:?} is of other texts")))?;
        lookups.insert(field, lookup);
    }
    let mut buckets = BTreeMap::new();
    for field in fields.buckets {
        let boundaries: Slab<f64> = sections.slab(&format!("buckets.{field}"))?;
        buckets.insert(field.clone(), Buckets::new(&field, boundaries.to_vec())?);
    }
    let mut stats = BTreeMap::new();
    for (field, count) in fields.stats {
        let numbers: Slab<f64> = sections.slab_of(&format!("stats.{field}"), 4)?;
        let parts = [numbers[0], numbers[1], numbers[2], numbers[3]];
        stats.insert(field, NumberStats::of_parts(count, parts));
    }
    Ok(Vocabulary::of_parts(schema, lookups, buckets, stats, fields.total_examples)?)
}

/// Gives for each table the section that holds it: tables that are shared stand there once.
pub(super) fn put_tower(tower: &TowerModel, sections: &mut Sections) -> Value {
    let (tables, dense) = tower.parts();
    let (mut names, mut begin): (Vec<String>, Vec<*const f32>) = (Vec::new(), Vec::new());
    for (i, table) in tables.enumerate() {
        let same = begin.iter().position(|&at| at == table.as_ptr());
        let name = same.map_or_else(|| format!("query.table_{i}"), |same| names[same].clone());
        if same.is_none() {
            sections.put(name.clone(), table);
        }
        names.push(name);
        begin.push(table.as_ptr());
    }
    for (i, Dense { kernel, bias }) in dense.iter().enumerate() {
        sections.put(format!("query.dense_{i}.kernel"), &Slab::from(kernel.to_shared()));
        sections.put(format!("query.dense_{i}.bias"), &bias.to_vec().into());
    }
    json!(names)
}

fn finite(sections: &Sections, name: &str, numbers: Slab<f32>) -> Result<Slab<f32>> {
    match numbers.iter().all(|x| x.is_finite()) {
        true => Ok(numbers),
        false => Err(sections.refuse(format!("its section {name:?} has numbers that are not finite"))),
    }
}

/// # Errors
/// `Corrupt`, and those of [`TowerModel::over`].
pub(super) fn tower(
    sections: &Sections,
    config: &ModelConfig,
    vocabulary: &Vocabulary,
) -> Result<TowerModel> {
    let names: Vec<String> = document(sections, "tables")?;
    let with_table = config.schema.encodings(Tower::Query).iter().filter(|e| e.has_table());
    let mut tables = Vec::new();
    for (name, encoding) in names.iter().zip(with_table) {
        let table = sections.slab_of(name, vocabulary.table_rows(encoding)? * encoding.width())?;
        tables.push(finite(sections, name, table)?);
    }
    let (mut dense, mut width) = (Vec::new(), config.input_width(Tower::Query));
    for (i, &units) in config.tower(Tower::Query).layers.iter().enumerate() {
        let name = format!("query.dense_{i}.kernel");
        let kernel: Slab<f32> = finite(sections, &name, sections.slab(&name)?)?;
        let kernel = Array2::from_shape_vec((width, units), kernel.to_vec());
        let kernel = kernel.map_err(|e| sections.refuse(format!("layer {i} of the tower: {e}")))?;
        let name = format!("query.dense_{i}.bias");
        let bias: Slab<f32> = finite(sections, &name, sections.slab_of(&name, units)?)?;
        dense.push(Dense { kernel, bias: Array1::from(bias.to_vec()) });
        width = units;
    }
    Ok(TowerModel::over(config, Tower::Query, dense, tables)?)
}
