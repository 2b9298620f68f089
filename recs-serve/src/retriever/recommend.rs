//! One request, and a thousand at once.

use super::draft::{Draft, Entry};
use super::fallback::Bestsellers;
use super::rules::Rules;
use super::{Ignored, IgnoredValue, Item, Parts, Reason, Recommendations, Request, Retriever, Shortfall};
use crate::error::Result;
use crate::index::{Filter, Hit, Query};
use ndarray::Array2;
use rayon::prelude::*;
use recs_core::model::TowerColumns;
use std::cell::OnceCell;

/// Requests that one task encodes.
const ENCODE_ROWS: usize = 128;
/// A ranking that is followed so far is followed to its end: a few searches, however many products there are.
const NEARLY_ALL: usize = 16;
/// How much further a ranking is followed when the cap on categories left the list short.
const DEEPER: usize = 4;

/// What is known about a request before anything is scored.
pub(super) struct Plan<'r> {
    rules: Rules,
    bought: &'r [u32],
    counts: &'r [u32],
    segment: Option<Bestsellers<'r>>,
    /// `Model` or `FeaturesOnly`; None when the model knows neither customer nor city.
    pub(super) by_model: Option<Reason>,
    /// The customer is in the vocabulary without a training row: nothing was learned about them, so the model is not to
    /// see who they are.
    is_untrained: bool,
    /// Where the customer bought most: their city when the request names none.
    home: Option<&'r str>,
}

/// What ranks the products.
#[derive(Clone, Copy)]
enum Source<'a> {
    Model(Reason, &'a [f32]),
    Popular(Bestsellers<'a>),
}

impl Source<'_> {
    fn reason(&self) -> Reason {
        match self {
            Self::Model(reason, _) => *reason,
            Self::Popular(popular) => popular.reason(),
        }
    }

    /// Why a product is in the ranking.
    fn reason_of(&self, product: u32) -> Reason {
        match self {
            Self::Model(reason, _) => *reason,
            Self::Popular(popular) => popular.reason_of(product),
        }
    }
}

impl<'r> Plan<'r> {
    /// The vector of the model, if there is one that can be scored; what was bought most otherwise.
    fn source<'a>(&self, retriever: &'a Retriever, vector: Option<&'a [f32]>) -> Source<'a>
    where
        'r: 'a,
    {
        match (self.by_model.zip(vector), self.segment) {
            (Some((reason, vector)), _) => Source::Model(reason, vector),
            (None, Some(segment)) => Source::Popular(segment),
            (None, None) => Source::Popular(Bestsellers::of_everybody(&retriever.popular)),
        }
    }
}

impl Retriever {
    /// Answers one request, on the calling thread.
    ///
    /// Cost: one row through the query tower and one search; with a cap on categories sometimes a few searches.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) with every fault of the request. Unknown customers, cities and products
    /// are no error.
    pub fn recommend(&self, request: &Request) -> Result<Recommendations<'_>> {
        request.check()?;
        let plan = self.plan(request);
        let vectors = match plan.by_model {
            Some(_) => self.embed(&[(request, &plan)])?,
            None => Array2::zeros((0, self.index.dim())),
        };
        let vector = vectors.as_slice().filter(|v| !v.is_empty() && self.catalogue.can_score(v));
        let source = plan.source(self, vector);
        let hits = self.fetch(source, request.k, &plan.rules.filter)?;
        self.assemble(request, plan, source, hits)
    }

    /// Answers 1 to 1000 requests together, on the host's workers, or on the calling thread where the index is one to [wait](Retriever::waits) for; the calling thread waits. Each gets what
    /// [`Retriever::recommend`] would give; scores may differ in their last bits.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) with every fault of every request; then none is answered.
    pub fn recommend_batch(&self, requests: &[Request]) -> Result<Vec<Recommendations<'_>>> {
        Request::check_batch(requests)?;
        match self.waits() {
            // Whoever waits for others keeps no worker from those who compute.
            true => self.batch(requests),
            false => self.host.workers.install(|| self.batch(requests)),
        }
    }

    fn batch(&self, requests: &[Request]) -> Result<Vec<Recommendations<'_>>> {
        let plans: Vec<Plan<'_>> = requests.par_iter().map(|request| self.plan(request)).collect();
        let rows: Vec<(&Request, &Plan<'_>)> =
            requests.iter().zip(&plans).filter(|(_, p)| p.by_model.is_some()).collect();
        let vectors = self.embed(&rows)?;
        let mut rows = vectors.rows().into_iter();
        let vectors: Vec<Option<&[f32]>> = plans
            .iter()
            .map(|plan| {
                plan.by_model.and_then(|_| rows.next()?.to_slice()).filter(|v| self.catalogue.can_score(v))
            })
            .collect();
        let asked = requests.iter().zip(&plans).zip(&vectors);
        let queries: Vec<Query<'_>> = asked
            .filter_map(|((request, plan), vector)| {
                Some(Query { vector: (*vector)?, k: request.k, filter: &plan.rules.filter })
            })
            .collect();
        let mut found = self.index.search_batch(&queries, &self.scratch)?.into_iter();
        let hits: Vec<Option<Vec<Hit>>> = vectors.iter().map(|v| v.and_then(|_| found.next())).collect();
        let work = requests.par_iter().zip(plans).zip(vectors.par_iter().zip(hits));
        work.map(|((request, plan), (vector, hits))| {
            let source = plan.source(self, *vector);
            let hits = hits.map_or_else(|| self.fetch(source, request.k, &plan.rules.filter), Ok)?;
            self.assemble(request, plan, source, hits)
        })
        .collect()
    }

    pub(super) fn plan(&self, request: &Request) -> Plan<'_> {
        let position = self.customers.position(&request.customer_id);
        let has_id = self.encoder.knows_customer(&request.customer_id);
        // A model without a table of customers is taken by its vocabulary's word.
        let is_untrained = has_id && position.is_none() && !self.customers.is_empty();
        let home = position.map(|p| self.customers.segment(p));
        let (bought, counts) = position.map_or((&[][..], &[][..]), |p| self.customers.purchases(p));
        let city = request.city.as_deref().or(home);
        let knows_city = city.is_some_and(|city| self.encoder.knows_city(city));
        let has_history = self.encoder.has_history() && !bought.is_empty();
        let by_model = match (has_id && !is_untrained || has_history, knows_city) {
            (true, _) => Some(Reason::Model),
            (false, true) => Some(Reason::FeaturesOnly),
            (false, false) => None,
        };
        let of_segment = |name| Bestsellers::of_segment(&self.popular, name);
        let segment = home.and_then(of_segment).or_else(|| of_segment(request.city.as_deref()?));
        let repeats = position.filter(|_| by_model == Some(Reason::Model)).map(|p| self.customers.repeats(p));
        let rules = Rules::new(&self.catalogue, request, bought, repeats.into_iter().flatten());
        Plan { rules, bought, counts, segment, by_model, is_untrained, home }
    }

    /// Query embeddings, already divided by the temperature.
    ///
    /// # Shapes
    /// `[requests, dim]`.
    pub(super) fn embed(&self, requests: &[(&Request, &Plan<'_>)]) -> Result<Array2<f32>> {
        let now = self.now();
        let encode = |requests: &[(&Request, &Plan<'_>)]| self.encode(requests, now);
        let columns = if requests.len() <= ENCODE_ROWS {
            encode(requests)?
        } else {
            let parts: Vec<TowerColumns> =
                requests.par_chunks(ENCODE_ROWS).map(encode).collect::<Result<_>>()?;
            let mut all = TowerColumns::default();
            parts.into_iter().for_each(|part| all.append(part));
            all
        };
        let mut vectors = self.tower.embed(&columns)?;
        vectors.mapv_inplace(|x| x * self.inverse_temperature);
        Ok(vectors)
    }

    /// What the query tower reads; requests that do not say when are as of `now`.
    pub(super) fn encode(&self, requests: &[(&Request, &Plan<'_>)], now: i64) -> Result<TowerColumns> {
        let mut columns = TowerColumns::default();
        for (request, plan) in requests {
            let customer = (!plan.is_untrained).then_some(request.customer_id.as_str());
            let city = request.city.as_deref().or(plan.home);
            self.encoder.encode(request, customer, city, now, &mut columns)?;
            self.encoder.push_history(plan.bought, plan.counts, &mut columns);
        }
        Ok(columns)
    }

    fn fetch(&self, source: Source<'_>, k: usize, filter: &Filter) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        match source {
            Source::Popular(popular) => popular.first(k, filter, &mut hits),
            Source::Model(_, vector) => {
                self.scratch.with(|scratch| self.index.search(vector, k, filter, scratch, &mut hits))?;
            }
        }
        Ok(hits)
    }

    /// The source's scores of the products ranked apart, ascending by product; a popularity list knows some of them only.
    fn score(&self, source: Source<'_>, rules: &Rules) -> Vec<Hit> {
        let products = rules.apart.as_slice();
        let mut scored = Vec::with_capacity(products.len());
        match source {
            Source::Popular(popular) if !products.is_empty() => {
                popular.shares(products, &mut scored);
                scored.sort_unstable_by_key(|hit| hit.index);
            }
            Source::Popular(..) => {}
            Source::Model(_, vector) => {
                for &index in products {
                    let mut score = [0.0];
                    recs_core::kernel::dot_rows(vector, self.catalogue.vector(index), &mut score);
                    scored.push(Hit { index, score: score[0] + rules.repeat(index) });
                }
            }
        }
        scored
    }

    fn assemble(
        &self,
        request: &Request,
        mut plan: Plan<'_>,
        source: Source<'_>,
        hits: Vec<Hit>,
    ) -> Result<Recommendations<'_>> {
        let mut draft = Draft::new(&self.catalogue, request);
        self.pin(&mut draft, source, &mut plan.rules);
        let reachable = OnceCell::new();
        self.fill(&mut draft, source, &plan.rules, (request.k, Some(hits)), &reachable)?;
        let passed = if draft.is_full() { 0 } else { plan.rules.passed(self.products()) };
        let has_more = !draft.is_full() && self.reachable(&draft, &plan.rules, &reachable) > draft.len();
        if has_more && source.reason() != Reason::Popularity {
            let everybody = Source::Popular(Bestsellers::of_everybody(&self.popular));
            let limit = request.k.saturating_add(draft.len());
            self.fill(&mut draft, everybody, &plan.rules, (limit, None), &reachable)?;
        }
        let shortfall = (!draft.is_full()).then(|| self.shortfall(request, passed, draft.len()));
        let entries = draft.into_entries().into_iter().enumerate();
        let items = entries.map(|(i, entry)| self.item(i + 1, entry, request.explain, &plan)).collect();
        Ok(Recommendations { items, source: source.reason(), ignored: plan.rules.ignored, shortfall })
    }

    fn pin(&self, draft: &mut Draft<'_>, source: Source<'_>, rules: &mut Rules) {
        let scored = self.score(source, rules);
        for &product in &rules.pins {
            let known = scored.binary_search_by_key(&product, |hit| hit.index);
            let base = known.map_or(0.0, |at| scored[at].score);
            if !draft.push(Entry { product, base, source: source.reason_of(product), is_pinned: true }) {
                let value = self.catalogue.id(product).to_owned();
                rules.ignored.push(IgnoredValue { field: "pin", value, why: Ignored::NoRoom });
            }
        }
    }

    /// Appends the source's products, best first, boosts added; `first` are its first `limit` without those ranked apart.
    fn fill(
        &self,
        draft: &mut Draft<'_>,
        source: Source<'_>,
        rules: &Rules,
        (mut limit, mut first): (usize, Option<Vec<Hit>>),
        reachable: &OnceCell<usize>,
    ) -> Result<()> {
        let (before, listed) = (draft.len(), draft.products());
        let lifted = |hit: &Hit| Hit { score: hit.score + rules.boost(hit.index), ..*hit };
        let scored = self.score(source, rules);
        let apart: Vec<Hit> = scored.iter().filter(|hit| rules.is_lifted(hit.index)).map(lifted).collect();
        loop {
            let mut ranked = match first.take() {
                Some(hits) => hits,
                None => self.fetch(source, limit, &rules.filter)?,
            };
            // Beyond the last product fetched there may be better ones than a lifted one.
            let end = ranked.last().copied().filter(|_| ranked.len() >= limit);
            if !apart.is_empty() {
                ranked.extend(apart.iter().filter(|hit| end.is_none_or(|end| hit.before(&end))));
                ranked.sort_unstable_by(|a, b| b.before(a).cmp(&a.before(b)));
            }
            for hit in ranked.iter().filter(|hit| !listed.contains(&hit.index)) {
                let known = scored.binary_search_by_key(&hit.index, |s| s.index);
                let base = known.map_or(hit.score, |at| scored[at].score);
                let source = source.reason_of(hit.index);
                draft.push(Entry { product: hit.index, base, source, is_pinned: false });
            }
            if draft.is_full() || end.is_none() || draft.len() >= self.reachable(draft, rules, reachable) {
                return Ok(());
            }
            draft.truncate(before);
            limit = limit.saturating_mul(DEEPER);
            if limit > self.products() / NEARLY_ALL {
                // One more than there are: so the ranking is seen to end.
                limit = limit.max(self.products() + 1);
            }
        }
    }

    /// How long a list can become at most under the rules and the cap on categories. Counted once, in one pass over the products.
    fn reachable(&self, draft: &Draft<'_>, rules: &Rules, counted: &OnceCell<usize>) -> usize {
        *counted.get_or_init(|| {
            if draft.cap().is_none() {
                return rules.passed(self.products());
            }
            let mut passing = Vec::new();
            rules.filter.passing(self.products(), &mut passing);
            draft.most_of(passing.iter().chain(&rules.apart).copied())
        })
    }

    fn item(&self, rank: usize, entry: Entry, explain: bool, plan: &Plan<'_>) -> Item<'_> {
        let bought = plan.bought.binary_search(&entry.product);
        let reason = match bought {
            _ if entry.is_pinned => Reason::Pinned,
            Ok(_) => Reason::Repeat,
            Err(_) => entry.source,
        };
        let boost = plan.rules.boost(entry.product);
        let repeat = if entry.source == Reason::Model { plan.rules.repeat(entry.product) } else { 0.0 };
        let explain = explain.then(|| Parts {
            source: entry.source,
            base: entry.base - repeat,
            repeat,
            boost,
            popularity: self.catalogue.products.popularity[entry.product as usize],
            bought: bought.map_or(0, |at| plan.counts[at]),
        });
        Item {
            product_id: self.catalogue.id(entry.product),
            score: entry.base + boost,
            rank,
            reason,
            explain,
        }
    }

    fn shortfall(&self, request: &Request, passed: usize, found: usize) -> Shortfall {
        let (asked, all) = (request.k, self.products());
        let detail = match request.category_cap {
            Some(cap) if passed > found => {
                format!(
                    "{passed} of {all} products pass the rules, {found} of them with at most {cap} of a category"
                )
            }
            _ if passed == all => format!("the catalogue has {all} products"),
            _ => format!("{passed} of {all} products pass the rules of the request"),
        };
        Shortfall { asked, passed, detail }
    }
}
