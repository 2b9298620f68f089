//! The numbers of a model, and `weights.safetensors`.
//!
//! Tensors, all f32, little-endian, row-major: `{tower}.{encoding}.embedding` `[rows, dim]`, or `shared.{table}.embedding`
//! once for all encodings that share a table, `{tower}.dense_{i}.kernel` `[in, out]` and `{tower}.dense_{i}.bias` `[out]`.
//! Format: <https://huggingface.co/docs/safetensors>.

use super::{ModelConfig, TowerConfig};
use crate::error::{Error, Result};
use crate::schema::{Encoding, TablePlace, Tower};
use crate::vocab::Vocabulary;
use ndarray::{ArcArray2, Array1, Array2};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeSet, HashMap};
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

/// An embedding table `[rows, dim]`. Clones share their numbers until one is changed.
pub type Table = ArcArray2<f32>;

/// The numbers of one tower.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerWeights {
    /// One table per table encoding, in schema order; one that is shared stands here several times, see
    /// [`Weights::tie`].
    pub embeddings: Vec<Table>,
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

/// Name and shape of every tensor that a tower owns, in the order of its slices.
fn layout(config: &ModelConfig, tower: Tower, vocabulary: &Vocabulary) -> Result<Vec<(String, Vec<usize>)>> {
    let (mut tensors, prefix) = (Vec::new(), tower.name());
    let tables = config.schema.encodings(tower).iter().filter(|e| e.has_table());
    for (encoding, is_own) in tables.zip(own_tables(config, tower)) {
        if is_own {
            let shape = vec![vocabulary.table_rows(encoding)?, encoding.width()];
            tensors.push((table_name(tower, encoding), shape));
        }
    }
    let mut width = config.input_width(tower);
    for (i, &units) in config.tower(tower).layers.iter().enumerate() {
        tensors.push((format!("{prefix}.dense_{i}.kernel"), vec![width, units]));
        tensors.push((format!("{prefix}.dense_{i}.bias"), vec![units]));
        width = units;
    }
    Ok(tensors)
}

/// Name of the tensor of an encoding's table.
pub fn table_name(tower: Tower, encoding: &Encoding) -> String {
    match encoding.table() {
        Some(table) => format!("shared.{table}.embedding"),
        None => format!("{}.{}.embedding", tower.name(), encoding.name()),
    }
}

/// For each table encoding of a tower whether the tower owns the table.
fn own_tables(config: &ModelConfig, tower: Tower) -> Vec<bool> {
    let places = config.schema.table_places(tower).into_iter().enumerate();
    places.map(|(table, place)| place == TablePlace { tower, table }).collect()
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
            if data.len() != shape.iter().product::<usize>() {
                return Err(Error::Shape {
                    file: WEIGHTS_FILE.into(),
                    tensor: name,
                    expected: shape,
                    got: vec![data.len()],
                });
            }
            let wrong =
                |e: ndarray::ShapeError| Error::document(WEIGHTS_FILE, format!("tensor `{name}`: {e}"));
            match (&shape[..], kernel.take()) {
                ([_], Some(kernel)) => dense.push(Dense { kernel, bias: Array1::from_vec(data) }),
                (&[rows, columns], _) => {
                    let array = Array2::from_shape_vec((rows, columns), data).map_err(wrong)?;
                    if name.ends_with(".embedding") {
                        embeddings.push(array.into_shared())
                    } else {
                        kernel = Some(array)
                    }
                }
                _ => {}
            }
        }
        let (mut owned, own) = (embeddings.into_iter(), own_tables(config, tower));
        let mut next = |is_own| if is_own { owned.next() } else { None };
        Ok(Self {
            embeddings: own.into_iter().map(|is_own| next(is_own).unwrap_or_default()).collect(),
            dense,
        })
    }

    /// Refuses tables and layers of other widths than the configuration's, and those whose numbers do not stand row after row.
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
        let layout = |tensor: String, is_standard: bool| match is_standard {
            true => Ok(()),
            false => Err(Error::config(
                format!("{}.{tensor}", tower.name()),
                "does not stand in memory row after row; take its `as_standard_layout`",
            )),
        };
        for (encoding, table) in encodings.iter().filter(|e| e.has_table()).zip(&self.embeddings) {
            let name = format!("{}.embedding", encoding.name());
            if table.ncols() != encoding.width() {
                return shape(name, vec![table.nrows(), encoding.width()], table.shape());
            }
            layout(name, table.is_standard_layout())?;
        }
        let mut width = input_width;
        for (i, (layer, &units)) in self.dense.iter().zip(&config.layers).enumerate() {
            if layer.kernel.dim() != (width, units) {
                return shape(format!("dense_{i}.kernel"), vec![width, units], layer.kernel.shape());
            }
            if layer.bias.len() != units {
                return shape(format!("dense_{i}.bias"), vec![units], layer.bias.shape());
            }
            layout(format!("dense_{i}.kernel"), layer.kernel.is_standard_layout())?;
            layout(format!("dense_{i}.bias"), layer.bias.is_standard_layout())?;
            width = units;
        }
        Ok(())
    }

    /// Every tensor as a flat slice: the embeddings, then kernel and bias of each layer.
    pub fn slices(&self) -> Vec<&[f32]> {
        self.slices_of(|_| true)
    }

    /// As [`TowerWeights::slices`], of the tables that `takes` says yes to.
    fn slices_of(&self, takes: impl Fn(usize) -> bool) -> Vec<&[f32]> {
        let dense = self.dense.iter().flat_map(|d| [d.kernel.as_slice(), d.bias.as_slice()]);
        let tables = self.embeddings.iter().enumerate().filter(|(i, _)| takes(*i)).map(|(_, e)| e.as_slice());
        tables.chain(dense).map(Option::unwrap_or_default).collect()
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
        let mut weights = Self { query: tower(Tower::Query)?, candidate: tower(Tower::Candidate)? };
        weights.tie(config);
        Ok(weights)
    }

    /// Gives every encoding that shares a table the numbers of the table's owner, see [`Schema::table_places`]: call it
    /// after changing a table. Nothing is copied.
    ///
    /// [`Schema::table_places`]: crate::schema::Schema::table_places
    pub fn tie(&mut self, config: &ModelConfig) {
        self.each_borrowed(config, |owner| owner.clone());
    }

    /// Leaves tables to their owners: other encodings get empty ones, and changing a table copies nothing.
    /// [`Weights::tie`] is the way back.
    pub fn untie(&mut self, config: &ModelConfig) {
        self.each_borrowed(config, |owner| Table::zeros((0, owner.ncols())));
    }

    fn each_borrowed(&mut self, config: &ModelConfig, table: impl Fn(&Table) -> Table) {
        for tower in [Tower::Query, Tower::Candidate] {
            for (i, place) in config.schema.table_places(tower).into_iter().enumerate() {
                let Some(owner) = self.tower(place.tower).embeddings.get(place.table) else { continue };
                if place == (TablePlace { tower, table: i }) {
                    continue;
                }
                let table = table(owner);
                let tower = match tower {
                    Tower::Query => &mut self.query,
                    Tower::Candidate => &mut self.candidate,
                };
                if let Some(borrowed) = Arc::make_mut(tower).embeddings.get_mut(i) {
                    *borrowed = table;
                }
            }
        }
    }

    /// One tower's.
    pub fn tower(&self, tower: Tower) -> &Arc<TowerWeights> {
        match tower {
            Tower::Query => &self.query,
            Tower::Candidate => &self.candidate,
        }
    }

    /// Number of numbers; those of a shared table count once.
    pub fn parameters(&self) -> usize {
        let (mut seen, towers) = (BTreeSet::new(), [&self.query, &self.candidate]);
        let tables = towers.iter().flat_map(|t| &t.embeddings).filter(|table| seen.insert(table.as_ptr()));
        let tables: usize = tables.map(|table| table.len()).sum();
        tables + towers.iter().flat_map(|t| &t.dense).map(|d| d.kernel.len() + d.bias.len()).sum::<usize>()
    }

    /// Name, shape and numbers of every tensor.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn tensors(&self, config: &ModelConfig, vocabulary: &Vocabulary) -> Result<Vec<NamedTensor<'_>>> {
        let mut all = Vec::new();
        for tower in [Tower::Query, Tower::Candidate] {
            let names = layout(config, tower, vocabulary)?;
            let own = own_tables(config, tower);
            let slices = self.tower(tower).slices_of(|table| own.get(table) == Some(&true));
            all.extend(names.into_iter().zip(slices).map(|((n, s), data)| (n, s, data)));
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
