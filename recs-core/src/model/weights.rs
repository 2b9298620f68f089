//! The numbers of a model, and `weights.safetensors`.
//!
//! Tensors, all f32, little-endian, row-major: `{tower}.{encoding}.embedding` `[rows, dim]` and
//! `{tower}.dense_{i}.kernel` `[in, out]`, `{tower}.dense_{i}.bias` `[out]`.
//! Format: <https://huggingface.co/docs/safetensors>.

use super::{ModelConfig, TowerConfig};
use crate::error::{Error, Result};
use crate::schema::{Encoding, Tower};
use crate::vocab::Vocabulary;
use ndarray::{Array1, Array2};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::sync::Arc;

/// Name of the file.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// A dense layer: `x kernel + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// `[in, out]`.
    pub kernel: Array2<f32>,
    /// `[out]`.
    pub bias: Array1<f32>,
}

/// The numbers of one tower.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerWeights {
    /// One `[rows, dim]` table per table encoding, in schema order.
    pub embeddings: Vec<Array2<f32>>,
    /// The dense layers.
    pub dense: Vec<Dense>,
}

/// The numbers of a model. Clones share them until one is changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The customer's side.
    pub query: Arc<TowerWeights>,
    /// The product's side.
    pub candidate: Arc<TowerWeights>,
}

/// Name, shape and numbers of a tensor.
pub type NamedTensor<'a> = (String, Vec<usize>, &'a [f32]);

/// Name and shape of every tensor of a tower, in the order of [`TowerWeights::slices`].
fn layout(config: &ModelConfig, tower: Tower, vocabulary: &Vocabulary) -> Result<Vec<(String, Vec<usize>)>> {
    let (mut tensors, prefix) = (Vec::new(), tower.name());
    for encoding in config.schema.encodings(tower).iter().filter(|e| e.has_table()) {
        let shape = vec![vocabulary.table_rows(encoding)?, encoding.width()];
        tensors.push((format!("{prefix}.{}.embedding", encoding.name()), shape));
    }
    let mut width = config.input_width(tower);
    for (i, &units) in config.tower(tower).layers.iter().enumerate() {
        tensors.push((format!("{prefix}.dense_{i}.kernel"), vec![width, units]));
        tensors.push((format!("{prefix}.dense_{i}.bias"), vec![units]));
        width = units;
    }
    Ok(tensors)
}

impl TowerWeights {
    fn build(
        config: &ModelConfig,
        tower: Tower,
        vocabulary: &Vocabulary,
        mut fill: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let (mut embeddings, mut dense, mut kernel) = (Vec::new(), Vec::new(), None);
        for (name, shape) in layout(config, tower, vocabulary)? {
            let data = fill(&name, &shape)?;
            let wrong = |_| Error::Shape {
                file: WEIGHTS_FILE.into(),
                tensor: name.clone(),
                expected: shape.clone(),
                got: vec![],
            };
            match (&shape[..], kernel.take()) {
                ([_], Some(kernel)) => dense.push(Dense { kernel, bias: Array1::from_vec(data) }),
                (&[rows, columns], _) => {
                    let array = Array2::from_shape_vec((rows, columns), data).map_err(wrong)?;
                    if name.ends_with(".embedding") { embeddings.push(array) } else { kernel = Some(array) }
                }
                _ => {}
            }
        }
        Ok(Self { embeddings, dense })
    }

    /// Refuses tables and layers of other widths than the configuration's.
    pub(super) fn check_widths(
        &self,
        encodings: &[Encoding],
        config: &TowerConfig,
        input_width: usize,
        tower: Tower,
    ) -> Result<()> {
        let shape = |tensor: String, expected: Vec<usize>, got: &[usize]| {
            let tensor = format!("{}.{tensor}", tower.name());
            Err(Error::Shape { file: WEIGHTS_FILE.into(), tensor, expected, got: got.to_vec() })
        };
        for (encoding, table) in encodings.iter().filter(|e| e.has_table()).zip(&self.embeddings) {
            if table.ncols() != encoding.width() || !table.is_standard_layout() {
                let expected = vec![table.nrows(), encoding.width()];
                return shape(format!("{}.embedding", encoding.name()), expected, table.shape());
            }
        }
        let mut width = input_width;
        for (i, (layer, &units)) in self.dense.iter().zip(&config.layers).enumerate() {
            if layer.kernel.dim() != (width, units) || layer.bias.len() != units {
                return shape(format!("dense_{i}.kernel"), vec![width, units], layer.kernel.shape());
            }
            width = units;
        }
        Ok(())
    }

    /// Every tensor as a flat slice: the embeddings, then kernel and bias of each layer.
    pub fn slices(&self) -> Vec<&[f32]> {
        let dense = self.dense.iter().flat_map(|d| [d.kernel.as_slice(), d.bias.as_slice()]);
        self.embeddings.iter().map(|e| e.as_slice()).chain(dense).map(Option::unwrap_or_default).collect()
    }
}

impl Weights {
    /// Makes weights of the right shapes; `fill(name, shape)` gives the numbers of each tensor, row-major.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`], those of `fill`, [`Error::Shape`] when it gives another number of values.
    pub fn build(
        config: &ModelConfig,
        vocabulary: &Vocabulary,
        mut fill: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut tower = |t| TowerWeights::build(config, t, vocabulary, &mut fill).map(Arc::new);
        Ok(Self { query: tower(Tower::Query)?, candidate: tower(Tower::Candidate)? })
    }

    /// One tower's.
    pub fn tower(&self, tower: Tower) -> &Arc<TowerWeights> {
        match tower {
            Tower::Query => &self.query,
            Tower::Candidate => &self.candidate,
        }
    }

    /// Number of numbers.
    pub fn parameters(&self) -> usize {
        [&self.query, &self.candidate].iter().flat_map(|t| t.slices()).map(<[f32]>::len).sum()
    }

    /// Name, shape and numbers of every tensor.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn tensors(&self, config: &ModelConfig, vocabulary: &Vocabulary) -> Result<Vec<NamedTensor<'_>>> {
        let mut all = Vec::new();
        for tower in [Tower::Query, Tower::Candidate] {
            let names = layout(config, tower, vocabulary)?;
            all.extend(names.into_iter().zip(self.tower(tower).slices()).map(|((n, s), data)| (n, s, data)));
        }
        Ok(all)
    }

    /// Refuses a number that is not finite; `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the tensor, [`Error::MissingVocabulary`].
    pub fn check_finite(&self, config: &ModelConfig, vocabulary: &Vocabulary, file: &str) -> Result<()> {
        let tensors = self.tensors(config, vocabulary)?;
        tensors.iter().try_for_each(|(name, _, data)| check_tensor(file, name, data))
    }

    /// The bytes of `weights.safetensors`. Equal weights give equal bytes.
    ///
    /// # Errors
    /// [`Error::Document`] when the format refuses a tensor, [`Error::MissingVocabulary`].
    pub fn to_safetensors(&self, config: &ModelConfig, vocabulary: &Vocabulary) -> Result<Vec<u8>> {
        let fault = |e: safetensors::SafeTensorError| Error::document(WEIGHTS_FILE, e.to_string());
        let tensors = self.tensors(config, vocabulary)?;
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|(_, _, data)| data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(tensors.len());
        for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
            views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(fault)?));
        }
        safetensors::serialize(views, None).map_err(fault)
    }

    /// Reads `weights.safetensors` for a model; `file` is named in errors. Tensors that the model does not have are
    /// refused.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a number that is not finite, [`Error::Shape`] naming the tensor.
    pub fn from_safetensors(
        bytes: &[u8],
        config: &ModelConfig,
        vocabulary: &Vocabulary,
        file: &str,
    ) -> Result<Self> {
        let parsed = SafeTensors::deserialize(bytes).map_err(|e| Error::corrupt(file, e.to_string()))?;
        let mut found: HashMap<String, TensorView<'_>> = parsed.tensors().into_iter().collect();
        let weights = Self::build(config, vocabulary, |name, shape| {
            let refuse = |got: &[usize]| Error::Shape {
                file: file.into(),
                tensor: name.into(),
                expected: shape.to_vec(),
                got: got.to_vec(),
            };
            let tensor = found.remove(name).ok_or_else(|| refuse(&[]))?;
            if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
                return Err(refuse(tensor.shape()));
            }
            let data: Vec<f32> =
                tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            check_tensor(file, name, &data).map(|()| data)
        })?;
        if let Some(extra) = found.keys().min() {
            return Err(Error::corrupt(file, format!("tensor `{extra}` is not part of the model")));
        }
        Ok(weights)
    }
}

fn check_tensor(file: &str, name: &str, data: &[f32]) -> Result<()> {
    match data.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::corrupt(file, format!("tensor `{name}`: number {i} is {}", data[i]))),
        None => Ok(()),
    }
}
