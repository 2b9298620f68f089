//! A tensor to write from or to read into.

use recs_core::model::{ModelConfig, Weights, table_name};
use recs_core::schema::{TablePlace, Tower};
use safetensors::Dtype;
use std::sync::Arc;

/// Numbers in place: a checkpoint is written from them and read into them.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values<'a>,
}

/// The numbers, row-major.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
    U32(&'a mut [u32]),
}

impl<'a> Tensor<'a> {
    /// In one row.
    pub(crate) fn flat(name: String, values: Values<'a>) -> Self {
        let len = match &values {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::U32(v) => v.len(),
        };
        Self { name, shape: vec![len], values }
    }

    /// Every tensor of `weights`, by its name in `weights.safetensors` behind `prefix`: the tables of a tower in schema
    /// order, then kernel and bias of each layer. A shared table comes once; [`Weights::tie`] after writing to it.
    pub(crate) fn of_weights(model: &ModelConfig, weights: &'a mut Weights, prefix: &str) -> [Vec<Self>; 2] {
        let Weights { query, candidate } = weights;
        [(Tower::Query, query), (Tower::Candidate, candidate)].map(|(tower, weights)| {
            let weights = Arc::make_mut(weights);
            let mut tensors = Vec::new();
            let mut push = |name: String, shape: &[usize], values: Option<&'a mut [f32]>| {
                let (name, values) = (format!("{prefix}{name}"), values.unwrap_or_default());
                tensors.push(Self { name, shape: shape.to_vec(), values: Values::F32(values) });
            };
            let encodings = model.schema.encodings(tower).iter().filter(|e| e.has_table());
            let places = model.schema.table_places(tower).into_iter().enumerate();
            for ((encoding, table), (i, place)) in encodings.zip(&mut weights.embeddings).zip(places) {
                if place == (TablePlace { tower, table: i }) {
                    let shape = table.shape().to_vec();
                    push(table_name(tower, encoding), &shape, table.as_slice_mut());
                }
            }
            for (i, layer) in weights.dense.iter_mut().enumerate() {
                let shapes = [layer.kernel.shape().to_vec(), layer.bias.shape().to_vec()];
                push(format!("{}.dense_{i}.kernel", tower.name()), &shapes[0], layer.kernel.as_slice_mut());
                push(format!("{}.dense_{i}.bias", tower.name()), &shapes[1], layer.bias.as_slice_mut());
            }
            tensors
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.values {
            Values::F32(v) => bytemuck::cast_slice(v),
            Values::F64(v) => bytemuck::cast_slice(v),
            Values::U32(v) => bytemuck::cast_slice(v),
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.values {
            Values::F32(v) => bytemuck::cast_slice_mut(v),
            Values::F64(v) => bytemuck::cast_slice_mut(v),
            Values::U32(v) => bytemuck::cast_slice_mut(v),
        }
    }

    pub(super) fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
            Values::U32(_) => Dtype::U32,
        }
    }

    pub(crate) fn is_finite(&self) -> bool {
        match &self.values {
            Values::F32(v) => v.iter().all(|x| x.is_finite()),
            Values::F64(v) => v.iter().all(|x| x.is_finite()),
            Values::U32(_) => true,
        }
    }
}
