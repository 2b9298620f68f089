//! What the columns of a step are beside the products of the batch, and how often each is sampled.

use crate::config::TrainConfig;
use crate::loss::{
    Cached, Columns, CrossBatch, FrequencyEstimate, LogQ, LossConfig, LossState, ObjectiveConfig, Targets,
    UniformDraws, mixed_probability,
};

/// What is drawn, cached and estimated. Everything random in a step is a function of the seed and the step's number.
#[derive(Debug)]
pub(super) struct Sampling {
    pub(super) config: LossConfig,
    seed: u64,
    /// Number of products.
    catalogue: usize,
    /// log of each catalogue product's share of the training rows.
    log_q: Vec<f32>,
    /// Steps done.
    steps: [u32; 1],
    estimate: Option<FrequencyEstimate>,
    cache: Option<CrossBatch>,
    uniform: UniformDraws,
    negatives: Vec<u32>,
}

impl Sampling {
    pub(super) fn new(config: &TrainConfig, log_q: Vec<f32>, catalogue: usize, dim: usize) -> Self {
        let (loss, seed) = (config.loss, config.seed);
        let estimate = match loss.log_q {
            LogQ::Streaming { alpha } => Some(FrequencyEstimate::new(alpha, catalogue)),
            LogQ::None | LogQ::Exact => None,
        };
        Self {
            config: loss,
            seed,
            catalogue,
            log_q,
            steps: [0],
            estimate,
            cache: loss.cross_batch.map(|config| CrossBatch::new(config, dim)),
            uniform: UniformDraws::default(),
            negatives: Vec::new(),
        }
    }

    /// Number of the step that runs, from 1.
    pub(super) fn step(&self) -> u32 {
        self.steps[0].saturating_add(1)
    }

    /// Draws the step's uniform negatives: positions in the catalogue.
    pub(super) fn draw_uniform(&mut self) -> &[u32] {
        let (step, n) = (self.step(), self.config.uniform_negatives);
        self.uniform.draw(self.seed, step, n, self.catalogue);
        &self.uniform.products
    }

    /// The columns of earlier steps.
    pub(super) fn cached(&self) -> Option<Cached<'_>> {
        self.cache.as_ref().map(|cache| cache.cached(self.steps[0]))
    }

    /// True when losses want to know which columns have the same product.
    pub(super) fn wants_links(&self) -> bool {
        let LossConfig { mask_accidental_hits, hard_negatives, objective, .. } = self.config;
        mask_accidental_hits || hard_negatives.is_some() || objective != ObjectiveConfig::Softmax
    }

    /// True when the products of columns matter, not only their embeddings.
    pub(super) fn wants_products(&self) -> bool {
        self.wants_links() || self.config.log_q != LogQ::None
    }

    /// -log of the probability that a column is one with this product, `copies` of the batch's `targets` being such; without
    /// uniform negatives but for a constant, which a softmax does not see.
    pub(super) fn correction(&self, product: u32, copies: f32, targets: usize) -> f32 {
        let uniform = self.config.uniform_negatives;
        let expected = match (self.config.log_q, &self.estimate) {
            (LogQ::None, _) => return 0.0,
            (LogQ::Exact, _) if uniform == 0 => return -self.log_q[product as usize],
            (_, None) => targets as f64 * f64::from(self.log_q[product as usize]).exp(),
            (_, Some(estimate)) if copies > 0.0 => {
                f64::from(estimate.rate_with(product, copies, self.step()))
            }
            (_, Some(estimate)) => f64::from(estimate.rate(product)),
        };
        -mixed_probability(expected, targets, uniform, self.catalogue).ln() as f32
    }

    /// Columns drawn for each row, for a loss that wants some.
    pub(super) fn draw_negatives(&mut self, targets: Targets<'_>, columns: Columns<'_>) {
        if let ObjectiveConfig::Bpr(bpr) = self.config.objective {
            let step = self.step();
            bpr.draw(&mut self.negatives, (self.seed, step), targets, columns);
        }
    }

    /// Those of the rows `from..to` of `rows`.
    pub(super) fn negatives(&self, from: usize, to: usize, rows: usize) -> &[u32] {
        let each = self.negatives.len() / rows.max(1);
        &self.negatives[from * each..to * each]
    }

    /// The step is over: `seen` are the distinct products of its targets with their numbers, the others its columns.
    pub(super) fn close(
        &mut self,
        seen: impl Iterator<Item = (u32, f32)>,
        columns: impl FnOnce(&mut CrossBatch),
    ) {
        let step = self.step();
        if let Some(estimate) = &mut self.estimate {
            seen.for_each(|(product, copies)| estimate.observe(product, copies, step));
        }
        if let Some(cache) = &mut self.cache {
            columns(cache);
        }
        self.steps = [step];
    }

    /// False when what a checkpoint gave cannot be.
    pub(super) fn fits(&self) -> bool {
        self.cache.as_ref().is_none_or(|cache| cache.fits(self.catalogue))
    }

    /// Adds what a checkpoint must keep: steps, estimates, cached columns.
    pub(super) fn add_state<'a>(&'a mut self, state: &mut LossState<'a>) {
        state.counts.push(&mut self.steps);
        if let Some(estimate) = &mut self.estimate {
            let (numbers, last) = estimate.state();
            state.numbers.extend(numbers);
            state.counts.push(last);
        }
        if let Some(cache) = &mut self.cache {
            let (numbers, counts) = cache.state();
            state.numbers.extend(numbers);
            state.counts.extend(counts);
        }
    }
}
