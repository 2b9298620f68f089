//! Starting weights.

use super::popularity::Popularity;
use crate::data::TrainData;
use crate::error::Result;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use recs_core::hash::fingerprint64;
use recs_core::model::{ModelConfig, Weights};
use recs_core::schema::{Encoding, Tower};
use recs_core::vocab::Vocabulary;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sets the rows of values outside the vocabulary to zero. No training row has such a value, so whatever stands there
/// stays; zero says nothing, where random numbers would say something false.
pub(super) fn silence_unknown(model: &ModelConfig, weights: &mut Weights) {
    for tower in [Tower::Query, Tower::Candidate] {
        let encodings = model.schema.encodings(tower).iter().filter(|e| e.has_table());
        for (encoding, place) in encodings.zip(model.schema.table_places(tower)) {
            let tables = match place.tower {
                Tower::Query => &mut Arc::make_mut(&mut weights.query).embeddings,
                Tower::Candidate => &mut Arc::make_mut(&mut weights.candidate).embeddings,
            };
            let table = tables.get_mut(place.table).filter(|table| table.nrows() > 0);
            if let (Encoding::Embedding { .. }, Some(table)) = (encoding, table) {
                table.row_mut(0).fill(0.0);
            }
        }
    }
    weights.tie(model);
}

/// Starts a bias of products where their numbers of training rows put them: at log(1 + rows), less the mean over biases.
pub(super) fn start_biases(
    model: &ModelConfig,
    data: &TrainData,
    popularity: &Popularity,
    weights: &mut Weights,
) {
    if !model.has_bias() {
        return;
    }
    let Some(table) = Arc::make_mut(&mut weights.candidate).embeddings.last_mut() else { return };
    // What shares a bias starts as one.
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for (id, count) in bias_ids(data).into_iter().zip(&popularity.counts) {
        *counts.entry(id).or_default() += count;
    }
    let logs: Vec<f32> = counts.values().map(|&n| (n as f32).ln_1p()).collect();
    let mean = logs.iter().sum::<f32>() / logs.len().max(1) as f32;
    table.fill(0.0);
    for (id, log) in counts.into_keys().zip(logs) {
        table[[id, 0]] = log - mean;
    }
}

/// Row of the bias table of each product of the catalogue: a bias is the last encoding, its id a row's last.
pub(super) fn bias_ids(data: &TrainData) -> Vec<usize> {
    let columns = data.catalogue_columns();
    let rows = columns.ids.chunks_exact((columns.ids.len() / columns.rows.max(1)).max(1));
    rows.filter_map(|ids| ids.last()).map(|&id| id as usize).collect()
}

/// Takes the mean off the biases of a catalogue: no ranking sees it.
pub(super) fn centre_biases(model: &ModelConfig, data: &TrainData, weights: &mut Weights) {
    if !model.has_bias() {
        return;
    }
    let Some(table) = Arc::make_mut(&mut weights.candidate).embeddings.last_mut() else { return };
    let ids: BTreeSet<usize> = bias_ids(data).into_iter().collect();
    let mean = ids.iter().map(|&id| table[[id, 0]]).sum::<f32>() / ids.len().max(1) as f32;
    ids.iter().for_each(|&id| table[[id, 0]] -= mean);
}

/// Embeddings uniform in ± `embedding_init`, kernels Glorot uniform (<https://proceedings.mlr.press/v9/glorot10a.html>),
/// biases zero, as Keras does. Each tensor has a stream of its own, by seed and name.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) when vocabulary and model do not fit.
pub fn initial_weights(
    model: &ModelConfig,
    vocabulary: &Vocabulary,
    seed: u64,
    embedding_init: f32,
) -> Result<Weights> {
    let fill = |name: &str, shape: &[usize]| {
        let len = shape.iter().product();
        let limit = match shape {
            [_] => return Ok(vec![0.0; len]),
            _ if name.ends_with(".embedding") => embedding_init,
            [rows, columns] => (6.0 / (rows + columns) as f32).sqrt(),
            _ => 0.0,
        };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ fingerprint64(name.as_bytes()));
        let mut uniform = || (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        Ok((0..len).map(|_| uniform() * limit).collect())
    };
    Ok(Weights::build(model, vocabulary, fill)?)
}
