//! Gradients of whole models against finite differences: numbers of every tensor, for every kind of tower, loss and encoding.

use super::n_grams::n_grams;
use super::shards::{dataset, groups, load};
use super::shared_tables::{histories, tied_twice};
use ndarray::Array2;
use recs_core::model::{Activation, Dense, Histories, ModelConfig, TowerWeights, Weights};
use recs_core::observe::{CancelToken, Silent};
use recs_core::schema::{Encoding, Schema, TablePlace, Tower};
use recs_core::vocab::{Vocabulary, VocabularyConfig};
use recs_train::backend::cpu::{SparseGradient, TowerGradients};
use recs_train::backend::{Backend, Batch, CpuBackend};
use recs_train::loss::{LossConfig, LossState, Reduction, Targets};
use recs_train::optim::Clip;
use recs_train::trainer::initial_weights;
use recs_train::{DropoutConfig, EncodingsConfig, TowerDropout, TrainConfig, TrainData};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// How far a number is moved to either side.
const STEP: f32 = 4e-3;

/// Two layers of each activation, and what they do not show: one layer, three that are folded, three that are not.
#[tokio::test]
async fn every_kind_of_tower_has_the_gradients_of_differences() {
    let two = Activation::ALL.into_iter().flat_map(|of| [(of, false, vec![7, 6]), (of, true, vec![7, 6])]);
    let others = [
        (Activation::Linear, true, vec![6]),
        (Activation::Linear, false, vec![9, 7, 5]),
        (Activation::LeakyRelu, true, vec![8, 7, 6]),
        (Activation::Silu, true, vec![8, 7, 6]),
    ];
    for (activation, l2_normalise, layers) in two.chain(others) {
        let mut config = TrainConfig::reference();
        set_towers(&mut config, activation, l2_normalise, &layers);
        config.loss = LossConfig { temperature: 0.5, ..LossConfig::corrected_in_batch() };
        (config.l1, config.l2) = (0.01, 0.02);
        check(config, 0).await;
    }
}

/// Every objective, kind of negatives, estimate and learned temperature, after two steps that fill caches and estimates.
#[tokio::test]
async fn every_loss_has_the_gradients_of_differences() {
    for changes in [
        json!({"uniform_negatives": 30, "log_q": "exact", "learned_temperature": {}}),
        json!({"uniform_negatives": 7, "log_q": {"streaming": {"alpha": 0.3}}, "mask_accidental_hits": true}),
        json!({"cross_batch": {"columns": 13, "warm_up_steps": 1}, "log_q": true, "learned_temperature": {}}),
        json!({"hard_negatives": {"count": 3, "weight": 5.0}, "mask_accidental_hits": true}),
        json!({
            "cross_batch": {"columns": 40, "warm_up_steps": 0}, "uniform_negatives": 9, "hard_negatives": {},
            "log_q": {"streaming": {"alpha": 0.3}}, "mask_accidental_hits": true, "learned_temperature": {}
        }),
        json!({"negatives": "full", "hard_negatives": {"count": 2}, "learned_temperature": {}}),
        json!({"objective": {"kind": "bpr"}, "learned_temperature": {}}),
        json!({"objective": {"kind": "bpr"}, "uniform_negatives": 8, "log_q": true, "cross_batch": {"warm_up_steps": 0}}),
        json!({"objective": {"kind": "bpr", "negatives_per_row": 4}, "learned_temperature": {}}),
        json!({
            "objective": {"kind": "bpr", "negatives_per_row": 3}, "negatives": "uniform", "uniform_negatives": 30
        }),
        json!({"objective": {"kind": "bpr"}, "negatives": "full", "reduction": "sum"}),
    ] {
        let mut config = TrainConfig::reference();
        (config.loss, config.clip) = (loss(&changes), Clip::None);
        set_towers(&mut config, Activation::Relu, true, &[7, 6]);
        check(config, 2).await;
    }
}

/// The first layer reads tables by their products with its kernel, and behind dropped inputs the features as they are.
#[tokio::test]
async fn every_kind_of_encoding_has_the_gradients_of_differences() {
    let (kept, dropped) = (TowerDropout::default(), TowerDropout { input: 0.2, hidden: 0.3, history: 0.3 });
    for (activation, l2_normalise, changes, dropout) in [
        (Activation::Linear, false, json!({}), kept),
        (Activation::Relu, true, json!({"negatives": "full", "learned_temperature": {}}), kept),
        (Activation::Gelu, true, json!({"uniform_negatives": 9}), dropped),
        (Activation::Tanh, false, json!({"objective": {"kind": "bpr"}}), kept),
    ] {
        let mut config = TrainConfig { clip: Clip::None, loss: loss(&changes), ..TrainConfig::reference() };
        config.dropout = DropoutConfig { query: dropout, candidate: dropout };
        set_towers(&mut config, activation, l2_normalise, &[7, 6]);
        let made = super::made::Made::new(&config, every_encoding(), 4, 0.3).await;
        let (weights, baskets) =
            (with_biases(made.weights.clone()), Baskets::new(made.data.catalogue.len() as u32));
        let backend = |weights: Weights| made.backend(&config, weights);
        let (model, config, batch) = (&made.model, &config, baskets.batch());
        Subject { model, config, weights: &weights, backend: &backend, batch }.check();
    }
}

/// Every kind of encoding, and tables that encodings share, of one tower and of both.
fn every_encoding() -> Schema {
    let (mut schema, retail) = (tied_twice(), Schema::retail());
    let others = retail.query.into_iter().filter(|e| !matches!(e, Encoding::Embedding { .. }));
    schema.query.extend(others);
    schema.query.push(n_grams("city", Some("letters")));
    let category = retail.candidate[1].clone();
    // A bias stays the last one.
    schema
        .candidate
        .splice(0..0, [category, n_grams("art_name", Some("letters")), n_grams("product_id", None)]);
    schema.validate().unwrap();
    schema
}

/// With every kind of negatives, with and without layers, and with all that can be dropped.
#[tokio::test]
async fn histories_biases_and_weighted_targets_have_the_gradients_of_differences() {
    let bpr = json!({"kind": "bpr"});
    let dropped = TowerDropout { input: 0.3, hidden: 0.4, history: 0.3 };
    for (changes, layers) in [
        (json!({"negatives": "full", "learned_temperature": {}}), vec![]),
        (json!({}), vec![]),
        (json!({"negatives": "full"}), vec![6]),
        (json!({}), vec![7, 5]),
        (json!({"uniform_negatives": 9, "log_q": "exact", "hard_negatives": {}}), vec![6]),
        (json!({"uniform_negatives": 5, "log_q": {"streaming": {"alpha": 0.1}}}), vec![]),
        (json!({"objective": bpr, "negatives": "full", "learned_temperature": {}}), vec![]),
        (json!({"objective": bpr, "uniform_negatives": 20, "log_q": "exact"}), vec![6]),
        (json!({"objective": {"kind": "bpr", "negatives_per_row": 3}, "uniform_negatives": 20}), vec![]),
    ] {
        let mut config = TrainConfig { encodings: narrow_encodings(), ..TrainConfig::recommended() };
        config.loss = loss(&changes);
        set_towers(&mut config, Activation::Relu, true, &layers);
        let made = made(&config, 0.3).await;
        let (weights, baskets) = (with_biases(made.1.clone()), Baskets::new(made.2.catalogue.len() as u32));
        for dropout in [TowerDropout::default(), dropped] {
            config.dropout = DropoutConfig { query: dropout, candidate: dropout };
            let backend = |weights: Weights| backend(&made, &config, weights);
            let (model, config, batch) = (&made.0, &config, baskets.batch());
            Subject { model, config, weights: &weights, backend: &backend, batch }.check();
        }
    }
}

/// The recommended encodings with fewer numbers: the gradient of one among hundreds is too small to tell.
fn narrow_encodings() -> EncodingsConfig {
    let Schema { mut query, mut candidate, .. } = Schema::retail().with_recommended_encodings().unwrap();
    for encoding in query.iter_mut().chain(&mut candidate) {
        if let Encoding::History { dim, .. } | Encoding::Embedding { dim, .. } = encoding {
            *dim = 19;
        }
    }
    EncodingsConfig { query: Some(query), candidate: Some(candidate) }
}

/// Queries with histories of up to three products, and with targets of several weights.
struct Baskets {
    rows: Vec<u32>,
    histories: Histories,
    offsets: Vec<u32>,
    products: Vec<u32>,
    weights: Vec<f32>,
}

impl Baskets {
    fn new(catalogue: u32) -> Self {
        Self {
            rows: (0..9).collect(),
            histories: histories(),
            offsets: vec![0, 3, 3, 4, 9, 10, 12, 15, 16, 20],
            products: (0..20).map(|i| (i * 7) % catalogue).collect(),
            weights: [0.5f32, 1.0, 2.0, 0.25].repeat(5),
        }
    }

    fn batch(&self) -> Batch<'_> {
        let targets = Targets { offsets: &self.offsets, columns: &self.products, weights: &self.weights };
        Batch { rows: &self.rows, histories: Some(&self.histories), targets: Some(targets) }
    }
}

/// Mean, in-batch, temperature 0.5, with changes.
pub(super) fn loss(changes: &Value) -> LossConfig {
    let base = LossConfig { temperature: 0.5, reduction: Reduction::Mean, ..LossConfig::reference() };
    let mut value = serde_json::to_value(base).unwrap();
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// What a backend's loss remembers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saved {
    numbers: Vec<Vec<f32>>,
    counts: Vec<Vec<u32>>,
}

impl Saved {
    pub(super) fn of(backend: &mut CpuBackend) -> Self {
        let LossState { numbers, counts } = backend.loss_state();
        Self {
            numbers: numbers.iter().map(|n| n.to_vec()).collect(),
            counts: counts.iter().map(|n| n.to_vec()).collect(),
        }
    }

    pub(super) fn restore(&self, backend: &mut CpuBackend) {
        let LossState { numbers, counts } = backend.loss_state();
        assert_eq!((numbers.len(), counts.len()), (self.numbers.len(), self.counts.len()));
        numbers.into_iter().zip(&self.numbers).for_each(|(to, from)| to.copy_from_slice(from));
        counts.into_iter().zip(&self.counts).for_each(|(to, from)| to.copy_from_slice(from));
    }
}

pub(super) type Made = (ModelConfig, Weights, Arc<TrainData>, Arc<rayon::ThreadPool>);

pub(super) async fn made(config: &TrainConfig, init: f32) -> Made {
    let schema = Schema::retail();
    let dataset = dataset(&groups(12, 16, 4), 2).await;
    let buckets =
        VocabularyConfig { revenue_buckets: 5, timestamp_buckets: 4, ..VocabularyConfig::default() };
    let cancel = CancelToken::new();
    let built = Vocabulary::build(&dataset, &schema, &buckets, 1, Arc::new(Silent), &cancel).await;
    let vocabulary = Arc::new(built.unwrap());
    let model = config.model(&schema).unwrap();
    let data = load(&dataset, &model.schema, &vocabulary).await;
    let weights = initial_weights(&model, &vocabulary, 3, init).unwrap();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    (model, weights, data, pool)
}

fn backend((model, _, data, pool): &Made, config: &TrainConfig, weights: Weights) -> CpuBackend {
    let (data, pool) = (Arc::clone(data), Arc::clone(pool));
    let log_q = vec![-2.0; data.catalogue.len()];
    CpuBackend::new(data, model.clone(), config.clone(), weights, log_q, pool).unwrap()
}

fn set_towers(config: &mut TrainConfig, activation: Activation, l2_normalise: bool, layers: &[usize]) {
    for tower in [&mut config.query, &mut config.candidate] {
        (tower.activation, tower.l2_normalise, tower.layers) = (activation, l2_normalise, layers.to_vec());
    }
}

/// Biases of layers start at 0, where nobody sees what is made of them.
fn with_biases(mut weights: Weights) -> Weights {
    for tower in [&mut weights.query, &mut weights.candidate] {
        for layer in &mut Arc::make_mut(tower).dense {
            layer.bias.iter_mut().enumerate().for_each(|(i, bias)| *bias = 0.3 * (i as f32 + 1.0).sin());
        }
    }
    weights
}

/// Checks gradients after some steps.
pub(super) async fn check(config: TrainConfig, steps: u32) {
    let made = made(&config, 0.5).await;
    let mut before = backend(&made, &config, with_biases(made.1.clone()));
    for step in 0..steps {
        let rows: Vec<u32> = (step * 20..(step + 1) * 20).collect();
        before.step(Batch::rows(&rows), 0.01).unwrap();
    }
    let (saved, weights) = (Saved::of(&mut before), before.weights());
    let resumed = |weights: Weights| {
        let mut backend = backend(&made, &config, weights);
        saved.restore(&mut backend);
        backend
    };
    let rows: Vec<u32> = (0..20).collect();
    let (model, config, batch) = (&made.0, &config, Batch::rows(&rows));
    Subject { model, config, weights: &weights, backend: &resumed, batch }.check();
}

/// The loss of a batch as a function of the weights, and where it is looked at.
struct Subject<'a> {
    model: &'a ModelConfig,
    config: &'a TrainConfig,
    weights: &'a Weights,
    /// A backend for weights, before the step.
    backend: &'a dyn Fn(Weights) -> CpuBackend,
    batch: Batch<'a>,
}

/// A tensor of a tower, by its place in [`TowerWeights`].
#[derive(Debug, Clone, Copy)]
enum Tensor {
    Table(usize),
    Kernel(usize),
    Bias(usize),
}

/// Place of a number in its tensor, and its gradient by the backward pass.
type Number = (usize, f32);

impl Tensor {
    fn numbers(self, tower: Tower, weights: &mut Weights) -> &mut [f32] {
        let tower = match tower {
            Tower::Query => &mut weights.query,
            Tower::Candidate => &mut weights.candidate,
        };
        let TowerWeights { embeddings, dense } = Arc::make_mut(tower);
        let numbers = match self {
            Self::Table(i) => embeddings[i].as_slice_mut(),
            Self::Kernel(i) => dense[i].kernel.as_slice_mut(),
            Self::Bias(i) => dense[i].bias.as_slice_mut(),
        };
        numbers.unwrap()
    }
}

impl Subject<'_> {
    /// Compares numbers of every tensor, and a learned temperature. Numbers beside a kink are left out: a tenth at most, and
    /// never all of a tensor. A quarter of the gradients are large enough for a comparison to tell something.
    fn check(&self) {
        let (loss, gradients) = (self.backend)(self.weights.clone()).gradients(self.batch).unwrap();
        let (start, mut chosen, mut slopes) = (loss.total(), 0, Vec::<f64>::new());
        for (tower, gradients) in [(Tower::Query, &gradients.query), (Tower::Candidate, &gradients.candidate)]
        {
            assert_eq!(gradients.dense.len(), self.weights.tower(tower).dense.len());
            for (table, gradient) in own_tables(&self.model.schema, tower, gradients) {
                self.check_unread(start, (tower, Tensor::Table(table)), gradient);
            }
            for (tensor, numbers) in samples(&self.model.schema, tower, gradients) {
                let compared = numbers.iter().filter_map(|&n| self.slope(start, (tower, tensor), n));
                let compared: Vec<f64> = compared.collect();
                assert!(!compared.is_empty(), "{tower:?} {tensor:?} of {}: nothing but kinks", self.what());
                chosen += numbers.len();
                slopes.extend(compared);
            }
        }
        let (compared, what) = (slopes.len(), self.what());
        assert!(10 * compared >= 9 * chosen, "{compared} of {chosen} numbers of {what} are far from kinks");
        let large = slopes.iter().filter(|slope| slope.abs() > 2e-3).count();
        assert!(4 * large >= compared, "{large} of {compared} gradients of {what} are large enough to tell");
        assert_eq!(gradients.log_scale.is_some(), self.config.loss.learned_temperature.is_some());
        if let Some(analytic) = gradients.log_scale {
            self.check_temperature(analytic);
        }
    }

    fn what(&self) -> String {
        let TrainConfig { query, loss, dropout, .. } = self.config;
        format!("{query:?} {loss:?} {dropout:?}")
    }

    fn loss(&self, change: impl FnOnce(&mut Weights)) -> f64 {
        let mut weights = self.weights.clone();
        change(&mut weights);
        (self.backend)(weights).gradients(self.batch).unwrap().0.total()
    }

    /// A number's gradient by differences, which is that of the backward pass; None beside a kink. One that is nearer than the
    /// first step is seldom nearer than the second, and moves the slope by half of what the slopes to either side are apart.
    fn slope(&self, start: f64, (tower, tensor): (Tower, Tensor), (at, analytic): Number) -> Option<f64> {
        let moved = |by: f32| self.loss(|weights| tensor.numbers(tower, weights)[at] += by);
        let (mut numeric, mut apart) = (0.0, 0.0);
        for step in [STEP, STEP / 8.0] {
            let (low, high) = (moved(-step), moved(step));
            numeric = slope(low, high, step);
            if is_close(numeric, analytic) {
                return Some(numeric);
            }
            apart = (high - 2.0 * start + low).abs() / f64::from(step);
        }
        assert!(
            (numeric - f64::from(analytic)).abs() < apart,
            "{tower:?} {tensor:?} at {at} of {}: {numeric} by differences, {analytic} by the backward pass",
            self.what()
        );
        None
    }

    /// Rows of a table that its gradient leaves out are not read: whatever they are, the loss is the same to the bit.
    fn check_unread(&self, start: f64, (tower, tensor): (Tower, Tensor), gradient: &SparseGradient) {
        let read: BTreeSet<u32> = gradient.rows.iter().copied().collect();
        assert_eq!(read.len(), gradient.rows.len(), "{tower:?} {tensor:?} of {}: a row twice", self.what());
        let loss = self.loss(|weights| {
            let rows = tensor.numbers(tower, weights).chunks_exact_mut(gradient.dim);
            let unread = (0u32..).zip(rows).filter(|(row, _)| !read.contains(row));
            unread.for_each(|(_, row)| row.iter_mut().for_each(|number| *number += 1.0));
        });
        assert_eq!(loss, start, "{tower:?} {tensor:?} of {}: rows without a gradient", self.what());
    }

    fn check_temperature(&self, analytic: f32) {
        let moved = |by: f32| {
            let mut backend = (self.backend)(self.weights.clone());
            backend.loss_state().numbers[0][0] += by;
            backend.gradients(self.batch).unwrap().0.total()
        };
        let numeric = slope(moved(-STEP), moved(STEP), STEP);
        let close = (numeric - f64::from(analytic)).abs() < 0.01 * numeric.abs().max(0.05);
        let what = self.what();
        assert!(close, "temperature of {what}: {numeric} by differences, {analytic} by the backward pass");
    }
}

/// The tables that a tower does not borrow, with their gradients.
fn own_tables<'g>(
    schema: &Schema,
    tower: Tower,
    gradients: &'g TowerGradients,
) -> impl Iterator<Item = (usize, &'g SparseGradient)> {
    let places = schema.table_places(tower);
    assert_eq!(places.len(), gradients.embeddings.len());
    let tables = places.into_iter().zip(&gradients.embeddings).enumerate();
    tables.filter_map(move |(table, (place, gradient))| {
        let is_own = place == TablePlace { tower, table };
        assert!(is_own || gradient.rows.is_empty(), "{tower:?} table {table} is another's");
        is_own.then_some((table, gradient))
    })
}

/// Some numbers of each tensor of a tower.
fn samples(schema: &Schema, tower: Tower, gradients: &TowerGradients) -> Vec<(Tensor, Vec<Number>)> {
    let tables = own_tables(schema, tower, gradients);
    let mut samples: Vec<_> = tables.map(|(i, table)| (Tensor::Table(i), of_table(table))).collect();
    for (i, Dense { kernel, bias }) in gradients.dense.iter().enumerate() {
        let of_kernel: Vec<Number> = match i {
            // Each encoding has a way of its own to its rows.
            0 => encoded_rows(schema.encodings(tower)).iter().flat_map(|r| of_rows(kernel, r, 2)).collect(),
            _ => of_rows(kernel, &(0..kernel.nrows()), 4),
        };
        samples.push((Tensor::Kernel(i), of_kernel));
        let of_bias: Vec<Number> =
            places([1, bias.len()], 4).into_iter().map(|[_, at]| (at, bias[at])).collect();
        samples.push((Tensor::Bias(i), of_bias));
    }
    samples
}

/// Of the rows that the batch reads.
fn of_table(SparseGradient { rows, values, dim, .. }: &SparseGradient) -> Vec<Number> {
    assert_eq!(values.len(), rows.len() * dim);
    assert!(!rows.is_empty(), "the batch does not read a table");
    let places = places([rows.len(), *dim], 4).into_iter();
    places.map(|[i, column]| (rows[i] as usize * dim + column, values[i * dim + column])).collect()
}

fn of_rows(kernel: &Array2<f32>, rows: &Range<usize>, n: usize) -> Vec<Number> {
    let columns = kernel.ncols();
    let places = places([rows.len(), columns], n).into_iter().map(|[i, column]| [rows.start + i, column]);
    places.map(|[row, column]| (row * columns + column, kernel[[row, column]])).collect()
}

/// Rows of the first kernel that each encoding is multiplied by.
fn encoded_rows(encodings: &[Encoding]) -> Vec<Range<usize>> {
    let mut to = 0;
    let widths = encodings.iter().filter(|encoding| !encoding.is_bias()).map(Encoding::width);
    let rows = widths.map(|width| {
        to += width;
        to - width..to
    });
    rows.collect()
}

/// Up to `n` places of a matrix, from end to end of its rows and of its columns, but not along the diagonal, where a gradient
/// that is turned would not show.
fn places([rows, columns]: [usize; 2], n: usize) -> BTreeSet<[usize; 2]> {
    let spread = |k: usize, len: usize| (k % n) * (len - 1) / (n - 1);
    (0..n).map(|k| [spread(k, rows), spread(k + 1, columns)]).collect()
}

fn slope(low: f64, high: f64, step: f32) -> f64 {
    (high - low) / (2.0 * f64::from(step))
}

fn is_close(numeric: f64, analytic: f32) -> bool {
    (numeric - f64::from(analytic)).abs() < 0.02 * numeric.abs().max(0.02)
}

/// One number of the weights.
pub(super) type Place<'a> = &'a dyn Fn(&mut Weights) -> &mut f32;

pub(super) fn compare(
    checks: &[(&str, f32, Place<'_>)],
    weights: &Weights,
    loss: &dyn Fn(Weights) -> f64,
    what: &str,
) {
    for (name, analytic, at) in checks {
        let moved = |by: f32| {
            let mut weights = weights.clone();
            *at(&mut weights) += by;
            loss(weights)
        };
        let numeric = slope(moved(-STEP), moved(STEP), STEP);
        let close = is_close(numeric, *analytic);
        assert!(close, "{name} of {what}: {numeric} by differences, {analytic} by the backward pass");
    }
}
