//! What the lists that were served are like, and what was asked for.

use super::cities::Cities;
use super::prediction::Prediction;
use crate::deploy::Side;
use crate::error::Result;
use crate::retriever::{MAX_BATCH, Reason, Request, Retriever};
use recs_core::metrics::{ListStats, stability_index};
use recs_core::model::InputCounter;
use serde::Serialize;
use std::collections::BTreeMap;

/// The input of models that do not read it.
const CITY: &str = "city";
/// Most bins of scores, of equal shares where the version answers its own customers.
const SCORE_BINS: usize = 10;
/// Of these customers.
const PROBED: usize = 512;
/// Fewer say nothing about what scores are usual.
const MIN_PROBED: usize = 50;

/// Lists of one version, over two halves of a window: what is told is of the last half that is full, and the one begun.
///
/// It does not hold the version: one that makes room is gone.
#[derive(Debug)]
pub(super) struct Served {
    model_version: String,
    side: Side,
    products: usize,
    /// Bounds between bins of the first score of a list.
    score_bounds: Vec<f32>,
    /// The version's own customers in these bins.
    usual_scores: Vec<f64>,
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
    cities: Option<Cities>,
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
    /// Stability index of each input against the training rows; `city` also for models that do not read it.
    pub input_drift: BTreeMap<String, f64>,
    /// That of the best score of customers whom the model knows, in lists that no rule had a say in, against the version's own
    /// customers as it came, with revenues as the training rows had them. None while there are too few of either.
    pub score_drift: Option<f64>,
}

impl Served {
    /// Begins with a version: asks it for the lists of some of its own customers.
    ///
    /// Cost: a batch of 512 requests. Run it where nobody waits.
    ///
    /// # Errors
    /// Those of [`Retriever::recommend_batch`].
    pub(super) fn new(retriever: &Retriever, side: Side, window: usize) -> Result<Self> {
        let mut first: Vec<f32> = Vec::new();
        let (customers, probed) = (retriever.customers(), retriever.customers().min(PROBED));
        let probe = (0..probed).map(|i| i * customers / probed);
        let like = Request { k: 1, ..Request::default() };
        // As others asked: what a list is worth to a model may follow from how much its customer spends.
        let revenues = retriever.usual_revenues();
        let probe = probe.enumerate().filter_map(|(i, number)| {
            let revenue = revenues.get(i % revenues.len().max(1)).copied();
            Some(Request { customer_id: retriever.customer(number)?.to_owned(), revenue, ..like.clone() })
        });
        let probe: Vec<Request> = probe.collect();
        for requests in probe.chunks(MAX_BATCH) {
            for list in retriever.recommend_batch(requests)? {
                first.extend(
                    list.items.first().filter(|_| list.source == Reason::Model).map(|item| item.score),
                );
            }
        }
        first.sort_unstable_by(f32::total_cmp);
        let cut = |i: usize| first.get(i * first.len() / SCORE_BINS).copied();
        let mut score_bounds: Vec<f32> = (1..SCORE_BINS).filter_map(cut).collect();
        score_bounds.dedup();
        if first.len() < MIN_PROBED {
            score_bounds.clear();
        }
        let mut usual_scores = vec![0.0; score_bounds.len() + 1];
        first.iter().for_each(|score| usual_scores[bin(&score_bounds, *score)] += 1.0);
        let (model_version, products) = (retriever.metadata().model_version.clone(), retriever.products());
        let now = Half::new(retriever, usual_scores.len(), Cities::of(retriever));
        Ok(Self {
            model_version,
            side,
            products,
            score_bounds,
            usual_scores,
            half: (window / 2).max(1),
            before: None,
            now,
        })
    }

    /// True for the version that it began with.
    pub(super) fn is_of(&self, retriever: &Retriever) -> bool {
        let name = &retriever.metadata().model_version;
        (&self.model_version, self.products) == (name, retriever.products())
    }

    /// Counts a list, if the version made it on this side.
    pub(super) fn push(&mut self, retriever: &Retriever, prediction: &Prediction) {
        if prediction.side != self.side || prediction.model_version != self.model_version {
            return;
        }
        let now = &mut self.now;
        let listed = prediction.listed.iter();
        now.lists.push(listed.filter_map(|(id, ..)| u32::try_from(retriever.number(id)?).ok()));
        *now.sources.entry(prediction.source.name()).or_default() += 1;
        now.short += u64::from(prediction.listed.len() < prediction.request.k);
        if let Some((_, score, reason)) = prediction.listed.first()
            && prediction.source == Reason::Model
            && prediction.is_plain
            && *reason != Reason::Pinned
        {
            now.scores[bin(&self.score_bounds, *score)] += 1.0;
        }
        if let Some(inputs) = &mut now.inputs {
            // What it could be answered for it can be counted for.
            let _ = retriever.count_inputs(&prediction.request, inputs);
        }
        if let Some(cities) = &mut now.cities {
            cities.push(retriever, &prediction.request);
        }
        if self.now.lists.lists() >= self.half as u64 {
            let cities = self.now.cities.as_ref().map(Cities::anew);
            let next = Half::new(retriever, self.usual_scores.len(), cities);
            self.before = Some(std::mem::replace(&mut self.now, next));
        }
    }

    pub(super) fn report(&self) -> ServedReport {
        let mut all = self.now.clone();
        if let Some(before) = &self.before {
            all.merge(before);
        }
        let drift = all.inputs.iter().flat_map(|inputs| inputs.drift());
        let of_cities = all.cities.as_ref().and_then(Cities::drift).map(|drift| (CITY.to_owned(), drift));
        let has_bins = !self.score_bounds.is_empty();
        ServedReport {
            model_version: self.model_version.clone(),
            lists: all.lists.lists(),
            short: all.short,
            coverage: all.lists.coverage(),
            personalisation: all.lists.personalisation(),
            input_drift: drift.map(|(name, index)| (name.to_owned(), index)).chain(of_cities).collect(),
            score_drift: stability_index(&self.usual_scores, &all.scores).filter(|_| has_bins),
            sources: all.sources,
        }
    }
}

impl Half {
    fn new(retriever: &Retriever, score_bins: usize, cities: Option<Cities>) -> Self {
        Self {
            lists: ListStats::new(retriever.products()),
            sources: BTreeMap::new(),
            short: 0,
            scores: vec![0.0; score_bins],
            inputs: retriever.input_counter(),
            cities,
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
        if let (Some(cities), Some(others)) = (&mut self.cities, &other.cities) {
            cities.merge(others);
        }
    }
}

fn bin(bounds: &[f32], score: f32) -> usize {
    bounds.partition_point(|bound| *bound <= score)
}
