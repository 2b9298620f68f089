//! What the lists that were served are like, and what was asked for.

use super::prediction::Prediction;
use crate::deploy::Side;
use crate::error::Result;
use crate::retriever::{MAX_BATCH, Reason, Request, Retriever};
use recs_core::metrics::{ListStats, stability_index};
use recs_core::model::InputCounter;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bins of scores, of equal shares where the version answers its own customers.
const SCORE_BINS: usize = 10;
/// Of these customers.
const PROBED: usize = 512;

/// Lists of one version, over two halves of a window: what is told is of the last half that is full, and the one begun.
#[derive(Debug)]
pub(super) struct Served {
    retriever: Arc<Retriever>,
    /// Bounds between bins of the first score of a list.
    score_bounds: Vec<f32>,
    half: usize,
    before: Option<Half>,
    now: Half,
}

#[derive(Debug, Clone)]
struct Half {
    lists: ListStats,
    sources: BTreeMap<&'static str, u64>,
    short: u64,
    scores: Vec<f64>,
    inputs: Option<InputCounter>,
}

/// Lists of a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedReport {
    /// Which version's.
    pub model_version: String,
    /// Sampled ones.
    pub lists: u64,
    /// By what they began with.
    pub sources: BTreeMap<&'static str, u64>,
    /// With fewer products than asked for.
    pub short: u64,
    /// Share of the catalogue that is in at least one of them.
    pub coverage: Option<f64>,
    /// 0 when everybody gets the same, 1 when no two lists share a product.
    pub personalisation: Option<f64>,
    /// Stability index of each input against the training rows.
    pub input_drift: BTreeMap<String, f64>,
    /// That of the best score, against the lists of the version's own customers as it came.
    pub score_drift: Option<f64>,
}

impl Served {
    /// Begins with a version: asks it for the lists of some of its own customers.
    ///
    /// Cost: a batch of 512 requests. Run it where nobody waits.
    ///
    /// # Errors
    /// Those of [`Retriever::recommend_batch`].
    pub(super) fn new(retriever: Arc<Retriever>, window: usize) -> Result<Self> {
        let mut first: Vec<f32> = Vec::new();
        let every = (retriever.customers() / PROBED).max(1);
        let probe = (0..retriever.customers()).step_by(every).take(PROBED);
        let like = Request { k: 1, ..Request::default() };
        let probe = probe.filter_map(|number| {
            Some(Request { customer_id: retriever.customer(number)?.to_owned(), ..like.clone() })
        });
        let probe: Vec<Request> = probe.collect();
        for requests in probe.chunks(MAX_BATCH) {
            for list in retriever.recommend_batch(requests)? {
                first.extend(list.items.first().filter(|_| is_scored(list.source)).map(|item| item.score));
            }
        }
        first.sort_unstable_by(f32::total_cmp);
        let cut = |i: usize| first.get(i * first.len() / SCORE_BINS).copied();
        let score_bounds = (1..SCORE_BINS).filter_map(cut).collect();
        let now = Half::new(&retriever);
        Ok(Self { retriever, score_bounds, half: (window / 2).max(1), before: None, now })
    }

    pub(super) fn model_version(&self) -> &str {
        &self.retriever.metadata().model_version
    }

    /// Counts a list of production's.
    pub(super) fn push(&mut self, prediction: &Prediction) {
        if prediction.side != Side::Production || prediction.model_version != self.model_version() {
            return;
        }
        let now = &mut self.now;
        let listed = prediction.listed.iter();
        now.lists.push(listed.filter_map(|(id, ..)| u32::try_from(self.retriever.number(id)?).ok()));
        *now.sources.entry(prediction.source.name()).or_default() += 1;
        now.short += u64::from(prediction.listed.len() < prediction.request.k);
        if let Some((_, score, reason)) = prediction.listed.first()
            && is_scored(prediction.source)
            && *reason != Reason::Pinned
        {
            now.scores[self.score_bounds.partition_point(|bound| bound <= score)] += 1.0;
        }
        if let Some(inputs) = &mut now.inputs {
            // What it could be answered for it can be counted for.
            let _ = self.retriever.count_inputs(&prediction.request, inputs);
        }
        if self.now.lists.lists() >= self.half as u64 {
            self.before = Some(std::mem::replace(&mut self.now, Half::new(&self.retriever)));
        }
    }

    pub(super) fn report(&self) -> ServedReport {
        let mut all = self.now.clone();
        if let Some(before) = &self.before {
            all.merge(before);
        }
        let drift = all.inputs.iter().flat_map(|inputs| inputs.drift());
        // As many were to be expected in each bin.
        let expected = vec![1.0; self.score_bounds.len() + 1];
        ServedReport {
            model_version: self.model_version().to_owned(),
            lists: all.lists.lists(),
            short: all.short,
            coverage: all.lists.coverage(),
            personalisation: all.lists.personalisation(),
            input_drift: drift.map(|(name, index)| (name.to_owned(), index)).collect(),
            score_drift: stability_index(&expected, &all.scores[..expected.len()])
                .filter(|_| self.score_bounds.len() + 1 == SCORE_BINS),
            sources: all.sources,
        }
    }
}

impl Half {
    fn new(retriever: &Retriever) -> Self {
        Self {
            lists: ListStats::new(retriever.products()),
            sources: BTreeMap::new(),
            short: 0,
            scores: vec![0.0; SCORE_BINS],
            inputs: retriever.input_counter(),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.lists.merge(&other.lists);
        other.sources.iter().for_each(|(source, count)| *self.sources.entry(source).or_default() += count);
        self.short += other.short;
        self.scores.iter_mut().zip(&other.scores).for_each(|(a, b)| *a += b);
        if let (Some(inputs), Some(others)) = (&mut self.inputs, &other.inputs) {
            inputs.merge(others);
        }
    }
}

/// True for lists whose scores are the model's.
fn is_scored(source: Reason) -> bool {
    matches!(source, Reason::Model | Reason::FeaturesOnly)
}
