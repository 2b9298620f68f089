//! Encoded rows -> embeddings.

use super::{Activation, BagColumn, Dense, ModelConfig, TowerColumns, TowerWeights, l2_normalise};
use crate::error::{Error, Result};
use crate::kernel::{activate_in_place, gemm};
use crate::schema::{Encoding, Tower, Widths};
use crate::slab::Slab;
use ndarray::{Array2, ArrayView1, ArrayViewMut1, ArrayViewMut2, s};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows that one task embeds: its activations stay in the second-level cache.
const BLOCK_ROWS: usize = 256;

/// An embedding table, row after row.
#[derive(Debug, Clone)]
struct Rows {
    numbers: Slab<f32>,
    width: usize,
}

impl Rows {
    fn nrows(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// # Panics
    /// For a row that there is not.
    fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.width..][..self.width]
    }
}

/// One tower, ready to embed.
#[derive(Debug, Clone)]
pub struct TowerModel {
    encodings: Vec<Encoding>,
    tables: Vec<Rows>,
    /// Its dense layers; its embeddings are in `tables`.
    weights: Arc<TowerWeights>,
    activation: Activation,
    l2_normalise: bool,
    input_width: usize,
    widths: Widths,
    bias_table: Option<usize>,
    /// What embeddings of queries end with, where those of candidates end with a bias.
    counterpart: Option<f32>,
    dim: usize,
}

impl TowerModel {
    /// Joins configuration and weights; the tables are shared.
    ///
    /// # Errors
    /// [`Error::Shape`] when the weights have other tables or layers.
    pub fn new(config: &ModelConfig, tower: Tower, weights: Arc<TowerWeights>) -> Result<Self> {
        let encodings = config.schema.encodings(tower);
        weights.check_widths(encodings, config.tower(tower), config.input_width(tower), tower)?;
        let tables = weights.embeddings.iter().map(|table| Slab::from(table.clone())).collect();
        Self::joined(config, tower, weights, tables)
    }

    /// As [`TowerModel::new`], of tables that stand somewhere else, in a mapped file for example.
    ///
    /// # Shapes
    /// One of `tables` for each encoding with a table, `[rows, width]` row-major.
    ///
    /// # Errors
    /// As [`TowerModel::new`].
    pub fn over(
        config: &ModelConfig,
        tower: Tower,
        dense: Vec<Dense>,
        tables: Vec<Slab<f32>>,
    ) -> Result<Self> {
        let weights = TowerWeights { embeddings: Vec::new(), dense };
        let encodings = config.schema.encodings(tower);
        weights.check_widths(encodings, config.tower(tower), config.input_width(tower), tower)?;
        Self::joined(config, tower, Arc::new(weights), tables)
    }

    fn joined(
        config: &ModelConfig,
        tower: Tower,
        weights: Arc<TowerWeights>,
        tables: Vec<Slab<f32>>,
    ) -> Result<Self> {
        let encodings = config.schema.encodings(tower).to_vec();
        let with_table: Vec<&Encoding> = encodings.iter().filter(|e| e.has_table()).collect();
        let layers = &config.tower(tower).layers;
        let shape = |tensor: &str, expected, got| {
            let tensor = format!("{}{tensor}", tower.name());
            Err(Error::Shape { file: super::WEIGHTS_FILE.into(), tensor, expected, got })
        };
        if tables.len() != with_table.len() || weights.dense.len() != layers.len() {
            let expected = vec![with_table.len(), layers.len()];
            return shape("", expected, vec![tables.len(), weights.dense.len()]);
        }
        if let Some((encoding, table)) =
            with_table.iter().zip(&tables).find(|(e, table)| !table.len().is_multiple_of(e.width().max(1)))
        {
            let name = format!(".{}.embedding", encoding.name());
            return shape(&name, vec![encoding.width()], vec![table.len()]);
        }
        let tables = with_table.iter().zip(tables);
        let tables = tables.map(|(e, numbers)| Rows { numbers, width: e.width().max(1) }).collect();
        Ok(Self {
            tables,
            weights,
            activation: config.tower(tower).activation,
            l2_normalise: config.tower(tower).l2_normalise,
            input_width: config.input_width(tower),
            widths: config.schema.widths(tower),
            bias_table: config.schema.bias_table(tower),
            counterpart: config.counterpart(tower),
            dim: config.embedding_dim(),
            encodings,
        })
    }

    /// The tables, one for each encoding that has one, and the dense layers.
    pub fn parts(&self) -> (impl ExactSizeIterator<Item = &Slab<f32>>, &[Dense]) {
        (self.tables.iter().map(|table| &table.numbers), &self.weights.dense)
    }

    /// Width of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Refuses ids `[rows, tables]` of which one is beyond its table or its lists, and those of another tower.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check(&self, rows: usize, ids: &[u32], bags: &[BagColumn]) -> Result<()> {
        let with_table = self.encodings.iter().filter(|e| e.has_table()).zip(&self.tables);
        let tables: Vec<&Rows> = with_table.filter(|(e, _)| e.has_id()).map(|(_, t)| t).collect();
        let shape = |tensor: &str, expected, got| {
            Err(Error::Shape { file: "encoded rows".into(), tensor: tensor.into(), expected, got })
        };
        if ids.len() != rows * tables.len() {
            return shape("ids", vec![rows, tables.len()], vec![ids.len()]);
        }
        for (i, table) in tables.iter().enumerate() {
            if let Some(BagColumn { bags, .. }) = bags.iter().find(|bags| bags.column == i) {
                if let Some(id) = bags.highest().filter(|&id| id as usize >= table.nrows()) {
                    return shape(&format!("table {i}"), vec![table.nrows()], vec![id as usize]);
                }
                let highest = ids.iter().skip(i).step_by(tables.len()).max();
                if let Some(&id) = highest.filter(|&&id| id as usize >= bags.len()) {
                    return shape(&format!("lists of table {i}"), vec![bags.len()], vec![id as usize]);
                }
                continue;
            }
            let highest = ids.iter().skip(i).step_by(tables.len()).max();
            if let Some(&id) = highest.filter(|&&id| id as usize >= table.nrows()) {
                return shape(&format!("table {i}"), vec![table.nrows()], vec![id as usize]);
            }
        }
        Ok(())
    }

    /// Embeds every row, in blocks on the current rayon pool; one block runs on the calling thread.
    ///
    /// # Shapes
    /// `[columns.rows, dim]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the columns are those of another tower, or an id is beyond its table.
    pub fn embed(&self, columns: &TowerColumns) -> Result<Array2<f32>> {
        let mut out = Array2::zeros((columns.rows, self.dim));
        if columns.rows <= BLOCK_ROWS {
            self.embed_block(columns, 0, out.view_mut())?;
            return Ok(out);
        }
        let blocks: Vec<_> = out.axis_chunks_iter_mut(ndarray::Axis(0), BLOCK_ROWS).enumerate().collect();
        blocks.into_par_iter().try_for_each(|(i, block)| self.embed_block(columns, i * BLOCK_ROWS, block))?;
        Ok(out)
    }

    fn embed_block(
        &self,
        columns: &TowerColumns,
        first: usize,
        mut out: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        let rows = out.nrows();
        let mut x = Array2::zeros((rows, self.input_width));
        self.gather(columns, first, x.view_mut())?;
        for (i, layer) in self.weights.dense.iter().enumerate() {
            x = dense(&x, layer);
            if i + 1 < self.weights.dense.len() {
                activate(self.activation, x.view_mut());
            }
        }
        if self.l2_normalise {
            l2_normalise(x.view_mut());
        }
        let width = x.ncols();
        out.slice_mut(s![.., ..width]).assign(&x);
        if let Some(counterpart) = self.counterpart {
            out.column_mut(width).fill(counterpart);
        } else if let Some(bias_table) = self.bias_table {
            // The bias is the last encoding: its id is a row's last.
            let biases = &self.tables[bias_table];
            let ids = columns.ids.chunks_exact(self.widths.ids).skip(first);
            for (to, ids) in out.column_mut(width).iter_mut().zip(ids) {
                *to = ids.last().map_or(0.0, |&id| biases.row(id as usize)[0]);
            }
        }
        Ok(())
    }

    /// Concatenates the features of rows `first..first + x.nrows()`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn gather(&self, columns: &TowerColumns, first: usize, mut x: ArrayViewMut2<'_, f32>) -> Result<()> {
        let Widths { ids: tables, numbers, .. } = self.widths;
        let rows = first + x.nrows();
        let shape = |tensor: &str, expected, got| {
            let (expected, got) = (vec![rows, expected], vec![columns.rows, got]);
            Err(Error::Shape { file: "encoded rows".into(), tensor: tensor.into(), expected, got })
        };
        for (tensor, width, len) in
            [("ids", tables, columns.ids.len()), ("numbers", numbers, columns.numbers.len())]
        {
            if len < rows * width {
                return shape(tensor, width, len / columns.rows.max(1));
            }
        }
        for (i, mut target) in x.rows_mut().into_iter().enumerate() {
            let row = first + i;
            let (mut table, mut id_at, mut number, mut at) = (0, 0, 0, 0);
            for encoding in &self.encodings {
                let to = at + if encoding.is_bias() { 0 } else { encoding.width() };
                let mut part = target.slice_mut(s![at..to]);
                if encoding.is_n_grams() {
                    let id = columns.ids[row * tables + id_at] as usize;
                    let bags = columns.bags.iter().find(|bags| bags.column == id_at);
                    let list = bags.map_or(&[][..], |bags| bags.bags.list(id));
                    let (embeddings, weight) = (&self.tables[table], 1.0 / list.len().max(1) as f32);
                    if let Err(id) = pool(embeddings, part, list.iter().map(|&id| (id, weight))) {
                        return shape(encoding.name(), embeddings.nrows(), id);
                    }
                    (table, id_at) = (table + 1, id_at + 1);
                } else if encoding.has_id() {
                    let (id, embeddings) = (columns.ids[row * tables + id_at] as usize, &self.tables[table]);
                    if id >= embeddings.nrows() {
                        return shape(encoding.name(), embeddings.nrows(), id);
                    }
                    if !encoding.is_bias() {
                        part.assign(&ArrayView1::from(embeddings.row(id)));
                    }
                    (table, id_at) = (table + 1, id_at + 1);
                } else if encoding.is_history() {
                    let embeddings = &self.tables[table];
                    let (ids, weights) = match row < columns.histories.rows() {
                        true => columns.histories.row(row),
                        false => (&[][..], &[][..]),
                    };
                    let rows = ids.iter().copied().zip(weights.iter().copied());
                    if let Err(id) = pool(embeddings, part, rows) {
                        return shape(encoding.name(), embeddings.nrows(), id);
                    }
                    table += 1;
                } else {
                    let from = row * numbers + number;
                    part.iter_mut().zip(&columns.numbers[from..]).for_each(|(to, x)| *to = *x);
                    number += encoding.width();
                }
                at = to;
            }
        }
        Ok(())
    }
}

/// Writes the weighted sum of rows of a table, or gives the id of one that it does not have.
fn pool(
    table: &Rows,
    mut into: ArrayViewMut1<'_, f32>,
    rows: impl Iterator<Item = (u32, f32)>,
) -> std::result::Result<(), usize> {
    into.fill(0.0);
    for (id, weight) in rows {
        if id as usize >= table.nrows() {
            return Err(id as usize);
        }
        into.scaled_add(weight, &ArrayView1::from(table.row(id as usize)));
    }
    Ok(())
}

fn dense(x: &Array2<f32>, layer: &Dense) -> Array2<f32> {
    let mut y = Array2::zeros((x.nrows(), layer.kernel.ncols()));
    y.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.bias));
    gemm(1.0, x.view(), layer.kernel.view(), 1.0, y.view_mut());
    y
}

/// Applies an activation in place.
pub fn activate(activation: Activation, mut x: ArrayViewMut2<'_, f32>) {
    match x.as_slice_mut() {
        Some(x) => activate_in_place(activation, x),
        None => x.iter_mut().for_each(|x| activate_in_place(activation, std::slice::from_mut(x))),
    }
}
