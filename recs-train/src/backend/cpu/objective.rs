//! Forward pass, loss and backward pass of a batch.

use super::backend::CpuBackend;
use super::queries::Queries;
use super::shared::Towers;
use super::tower_step::Rows;
use crate::backend::Batch;
use crate::data::TrainData;
use crate::loss::{LearnedTemperature, LossConfig, LossGradients, LossInput, Objective, Reduction};
use crate::matrix::Matrix;
use crate::optim::Clip;
use ndarray::{ArrayView2, ArrayViewMut2};
use recs_core::kernel::{add, dot};
use std::sync::Arc;

type View<'a> = ArrayView2<'a, f32>;
type ViewMut<'a> = ArrayViewMut2<'a, f32>;

/// Sums of weights by which losses can be divided: far from the ends of f32.
const SUMS_AS_THEY_ARE: std::ops::RangeInclusive<f32> = 1e-20..=1e20;

/// What each thread has for the loss.
#[derive(Debug)]
pub(super) struct Thread {
    objective: Objective,
    d_columns: Matrix,
    shares: Vec<f32>,
}

impl Thread {
    pub(super) fn new(config: LossConfig) -> Self {
        Self { objective: Objective::new(config), d_columns: Matrix::default(), shares: Vec::new() }
    }
}

/// The loss of a batch, and the gradient of a learned log(1 / temperature).
#[derive(Debug, Clone, Copy)]
pub(super) struct Retrieval {
    pub(super) loss: f64,
    pub(super) log_scale: f32,
}

impl CpuBackend {
    /// The temperature as it is now, where it is learned.
    pub fn learned_temperature(&self) -> Option<f32> {
        self.update.temperature.as_ref().map(LearnedTemperature::value)
    }

    /// What the loss of every target is multiplied by.
    pub(super) fn weight(&self, batch: Batch<'_>) -> f32 {
        match (self.config.loss.reduction, batch.targets) {
            (Reduction::Sum, _) => 1.0,
            (Reduction::Mean, None) => 1.0 / batch.rows.len().max(1) as f32,
            (Reduction::Mean, Some(targets)) => match targets.weights.iter().sum::<f32>() {
                0.0 => 0.0,
                sum => 1.0 / sum,
            },
        }
    }

    /// The weights of a batch's targets by the largest of them, where their mean would leave the range of f32 as they are:
    /// the mean does not see what all are multiplied by.
    pub(super) fn rescaled(&self, batch: Batch<'_>) -> Option<Vec<f32>> {
        let weights = batch.targets.filter(|_| self.config.loss.reduction == Reduction::Mean)?.weights;
        if SUMS_AS_THEY_ARE.contains(&weights.iter().sum::<f32>()) {
            return None;
        }
        let largest = weights.iter().copied().fold(0.0, f32::max);
        (largest > 0.0).then(|| weights.iter().map(|weight| weight / largest).collect())
    }

    pub(super) fn forward(&mut self, batch: Batch<'_>) {
        if let Some(temperature) = self.learned_temperature() {
            self.query.set_counterpart(temperature);
            self.threads.iter_mut().for_each(|thread| thread.objective.set_temperature(temperature));
        }
        let Self {
            data,
            weights,
            update,
            sampling,
            shared,
            queries,
            query,
            candidate,
            candidates,
            clock,
            ..
        } = self;
        query.open(sampling.step());
        candidate.open(sampling.step());
        let (data, clock) = (&**data, &*clock);
        if !shared.is_empty() {
            queries.fill(&data.query, batch);
            candidates.fill(data, batch, sampling);
            let queries = customers(data, queries, batch);
            let towers = Towers { query: &mut *query, candidate: &mut *candidate };
            shared.read(towers, weights, update, [queries, products(data, &candidates.distinct.ids)]);
        }
        let steps = [&update.embeddings, &update.dense];
        let (query_states, candidate_states) =
            (&mut update.query.embeddings, &mut update.candidate.embeddings);
        let (q, c) = (Arc::make_mut(&mut weights.query), Arc::make_mut(&mut weights.candidate));
        let dim = self.model.embedding_dim();
        rayon::join(
            || {
                if shared.is_empty() {
                    queries.fill(&data.query, batch);
                }
                query.forward(q, query_states, steps, customers(data, queries, batch), clock);
            },
            || {
                if shared.is_empty() {
                    candidates.fill(data, batch, sampling);
                }
                let products = products(data, &candidates.distinct.ids);
                candidate.forward(c, candidate_states, steps, products, clock);
                candidates.embed(candidate, dim, sampling);
            },
        );
    }

    /// Loss, and the gradients of the embeddings in the towers' chunks.
    pub(super) fn loss(&mut self, batch: Batch<'_>, weight: f32) -> Retrieval {
        let learns = self.update.temperature.is_some();
        let Self { queries, query, candidate, candidates, sampling, threads, clock, .. } = self;
        let rows = queries.rows.len();
        let columns = candidates.columns();
        let targets = queries.targets(batch, candidates.slots());
        sampling.draw_negatives(targets, columns);
        let (run, clock, sampling) = (query.run(), &*clock, &*sampling);
        let (trained, dim) = (candidates.trained(), columns.embeddings.ncols());
        let width = query.output_width();
        let gemm = |alpha, a: View<'_>, b: View<'_>, beta, c: ViewMut<'_>| clock.gemm(alpha, a, b, beta, c);
        let losses = query.each_chunk(threads, |i, thread, q, mut d| {
            thread.d_columns.reshape(trained, dim);
            thread.shares.resize(q.nrows(), 0.0);
            let from = (i * run).min(rows);
            let to = from + q.nrows();
            let negatives = sampling.negatives(from, to, rows);
            let input = LossInput { queries: q, targets: targets.rows(from, to), negatives, weight, columns };
            let gradients = LossGradients {
                queries: d.view_mut(),
                columns: thread.d_columns.view_mut(),
                shares: &mut thread.shares,
            };
            let loss = thread.objective.forward_backward(input, gradients, &gemm);
            (loss, if learns { log_scale(&q, &d.view(), width) } else { 0.0 })
        });
        let (threads, run) = (&*threads, candidate.run());
        let mut nothing = vec![(); threads.len()];
        candidate.each_chunk(&mut nothing, |i, (), _, mut d| {
            for (row, mut d) in d.rows_mut().into_iter().enumerate() {
                let d = d.as_slice_mut().unwrap_or_default();
                d.copy_from_slice(threads[0].d_columns.row(i * run + row));
                threads[1..].iter().for_each(|thread| add(d, thread.d_columns.row(i * run + row)));
            }
        });
        let log_scale = losses.iter().map(|(_, log_scale)| log_scale).sum::<f64>() as f32;
        Retrieval { loss: losses.iter().map(|(loss, _)| loss).sum(), log_scale }
    }

    pub(super) fn backward(&mut self, weight: f32) {
        let temperature = self.learned_temperature().unwrap_or(self.config.loss.temperature);
        let Self {
            weights, queries, query, candidate, candidates, threads, contrasts, clock, config, ..
        } = self;
        let clock = &*clock;
        if !matches!(config.clip, Clip::PerVariable { .. }) {
            rayon::join(
                || query.backward(&weights.query, clock),
                || candidate.backward(&weights.candidate, clock),
            );
            return;
        }
        // Beside what members of one row have in common, the gradient of a member's candidate is its query by its share, that
        // of its query its own candidate.
        let (scale, run, dim) = (weight / temperature, query.run(), candidate.output_width());
        let (members, slots) = (&queries.members, candidates.slots());
        let of_candidate = |i: usize| {
            let at = members[i] as usize;
            (query.embedding(at), scale * threads[at / run].shares[at % run])
        };
        // Without a mask, as clipping by variable has it, the share of a target is -1.
        let of_query = |i: usize| (candidate.embedding(slots[i] as usize), -scale);
        let [of_queries, of_candidates] = contrasts;
        rayon::join(
            || of_queries.fill((queries.rows.len(), dim), members, of_query),
            || of_candidates.fill((candidates.trained(), dim), slots, of_candidate),
        );
        rayon::join(
            || query.backward_with_members(&weights.query, of_queries, clock),
            || candidate.backward_with_members(&weights.candidate, of_candidates, clock),
        );
    }
}

/// What the query tower reads.
fn customers<'a>(data: &'a TrainData, queries: &'a Queries, batch: Batch<'a>) -> Rows<'a> {
    let columns = &data.query;
    Rows { ids: &columns.ids, numbers: &columns.numbers, batch: &queries.rows, histories: batch.histories }
}

/// What the candidate tower reads.
fn products<'a>(data: &'a TrainData, batch: &'a [u32]) -> Rows<'a> {
    let columns = &data.candidates;
    Rows { ids: &columns.ids, numbers: &columns.numbers, batch, histories: None }
}

/// Gradient of log(1 / temperature): logits, biases apart, times their gradients, which is `sum of q . dq`.
fn log_scale(queries: &View<'_>, gradients: &View<'_>, width: usize) -> f64 {
    let pairs = queries.rows().into_iter().zip(gradients.rows());
    let pairs = pairs.map(|(q, d)| (q.to_slice().unwrap_or_default(), d.to_slice().unwrap_or_default()));
    pairs.map(|(q, d)| f64::from(dot(&q[..width], &d[..width]))).sum()
}
