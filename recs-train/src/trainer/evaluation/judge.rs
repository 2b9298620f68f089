//! A report: ranks, lists, slices and intervals of a model, and of popularity beside it.

use super::bootstrap::{Spreads, Sums, bootstrap};
use super::evaluator::{Evaluator, sums};
use super::options::{EvaluateOptions, Seen};
use super::report::{Evaluation, Slice, SliceTable};
use super::score::Both;
use super::slices::{Facts, Slicing};
use crate::error::Result;
use crate::trainer::popularity::Popularity;
use recs_core::metrics::{ListStats, RankSums};
use recs_core::observe::CancelToken;
use recs_core::schema::Schema;
use recs_core::vocab::Vocabulary;
use std::collections::HashMap;
use std::time::Instant;

/// Rows whose facts are collected at a time, of each thread.
const FACT_BLOCK: usize = 1024;

/// What a report needs besides a model.
#[derive(Debug, Clone, Copy)]
pub struct ReportInputs<'a> {
    /// What it looks at.
    pub options: &'a EvaluateOptions,
    /// Training rows of each product of the evaluator's catalogue: for novelty, head and tail, and to compare with.
    pub popularity: &'a Popularity,
    /// Fields of the query, for slices.
    pub schema: &'a Schema,
    /// Their values.
    pub vocabulary: &'a Vocabulary,
}

/// The rows that count, with all that is known of them.
struct Rows {
    /// Places among the rows given.
    kept: Vec<usize>,
    left_out: usize,
    /// Customer of each kept row, from 0.
    customer: Vec<u32>,
    customers: usize,
    slicings: Vec<Slicing>,
}

impl Evaluator<'_> {
    /// Evaluates `rows` with all that the options ask for; the second evaluation is that of recommending the most bought
    /// products to everybody, on the same rows. The list of a customer is that of their last row among `rows`. Known
    /// purchases are those that the evaluator was given, without those of the row's own customer and day.
    ///
    /// Cost over [`Evaluator::evaluate`]: O(known purchases of the rows' customers) and the bootstrap.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`], and [`Error::Config`](crate::Error::Config) for slices that the rows do not have.
    pub fn report(
        &self,
        rows: &[u32],
        inputs: &ReportInputs<'_>,
        cancel: &CancelToken,
    ) -> Result<(Evaluation, Evaluation)> {
        let (started, options) = (Instant::now(), inputs.options);
        let facts = self.facts(rows, inputs, cancel)?;
        let ranked = self.rank(rows, options.seen, cancel)?;
        let kept = self.kept(rows, &facts, inputs)?;
        let pick = |ranks: &[Option<u32>]| kept.kept.iter().map(|&at| ranks[at]).collect::<Vec<_>>();
        let popular: Vec<Option<u32>> = facts.iter().map(|facts| facts.popular).collect();
        let Both { towers, with_repeat } = &ranked;
        let mut methods = vec![(pick(&towers.0), Some(&towers.1)), (pick(&popular), None)];
        methods.extend(with_repeat.as_ref().map(|(ranks, lists)| (pick(ranks), Some(lists))));
        let of = |(ranks, _): &(Vec<_>, _)| Sums::new(ranks, &kept.customer, kept.customers, &kept.slicings);
        let resampled: Vec<Sums> = methods.iter().map(of).collect();
        let mut spreads = bootstrap(&resampled, options.bootstrap, self.pool, cancel)?.map(Vec::into_iter);
        let mut all = methods.iter().map(|(ranks, lists)| {
            let spreads = spreads.as_mut().and_then(Iterator::next);
            kept.evaluation(ranks, *lists, &inputs.popularity.counts, spreads)
        });
        let (model, popularity) = (all.next().unwrap_or_default(), all.next().unwrap_or_default());
        let seconds = started.elapsed().as_secs_f64();
        let with_repeat = all.next().map(|served| Box::new(Evaluation { seconds, ..served }));
        Ok((Evaluation { with_repeat, seconds, ..model }, popularity))
    }

    fn facts(&self, rows: &[u32], inputs: &ReportInputs<'_>, cancel: &CancelToken) -> Result<Vec<Facts>> {
        let popularity = inputs.popularity;
        let of = |&row: &u32| {
            let (product, bought) = (self.product_of(row), self.known.bought(self.data, row));
            let before = |rank: u32| {
                let ranks = bought.iter().filter_map(|&(other, _)| popularity.rank(other));
                ranks.filter(|&other| other < rank).count() as u32
            };
            let popular = popularity.rank(product).map(|rank| match inputs.options.seen {
                Seen::Keep => rank,
                Seen::Remove => rank - before(rank),
            });
            Facts {
                purchases: bought.iter().map(|&(_, rows)| rows).sum(),
                is_repurchase: bought.binary_search_by_key(&product, |&(product, _)| product).is_ok(),
                popular,
            }
        };
        self.by_blocks(rows, FACT_BLOCK, |_, rows| {
            cancel.check()?;
            Ok(rows.iter().map(of).collect())
        })
    }

    fn kept(&self, rows: &[u32], facts: &[Facts], inputs: &ReportInputs<'_>) -> Result<Rows> {
        let is_kept = |at: &usize| inputs.options.seen == Seen::Keep || !facts[*at].is_repurchase;
        let kept: Vec<usize> = (0..rows.len()).filter(is_kept).collect();
        let mut customers = HashMap::new();
        let customer = |&at: &usize| {
            let (row, next) = (rows[at] as usize, customers.len() as u32);
            let customer = self.data.customer[row];
            // Nobody knows who the unknown are: their rows of one moment are taken for one customer's.
            let moment = if customer == 0 { self.data.timestamp[row] } else { 0 };
            *customers.entry((customer, moment)).or_insert(next)
        };
        let customer: Vec<u32> = kept.iter().map(customer).collect();
        let kept_rows: Vec<u32> = kept.iter().map(|&at| rows[at]).collect();
        let kept_facts: Vec<Facts> = kept.iter().map(|&at| facts[at]).collect();
        let (config, fields) = (&inputs.options.slices, (inputs.schema, inputs.vocabulary));
        let slicings = Slicing::all(self, (&kept_rows, &kept_facts), inputs.popularity, config, fields)?;
        let left_out = rows.len() - kept.len();
        Ok(Rows { kept, left_out, customer, customers: customers.len(), slicings })
    }
}

impl Rows {
    fn evaluation(
        &self,
        ranks: &[Option<u32>],
        lists: Option<&ListStats>,
        training_rows: &[u64],
        spreads: Option<Spreads>,
    ) -> Evaluation {
        let (bootstrap, errors) = spreads.map_or((None, Vec::new()), |s| (Some(s.all), s.slices));
        let mut errors = errors.into_iter();
        let mut table = |slicing: &Slicing| {
            let mut of_slices = vec![RankSums::default(); slicing.names.len()];
            ranks.iter().zip(&slicing.of).for_each(|(&rank, &at)| of_slices[at as usize].push(rank));
            let named = slicing.names.iter().zip(&of_slices);
            let slices = named.map(|(name, sums)| Slice::new(name, sums, errors.next().flatten())).collect();
            SliceTable { by: slicing.by.clone(), slices }
        };
        Evaluation {
            slices: self.slicings.iter().map(&mut table).collect(),
            bootstrap,
            rows_left_out: self.left_out as u64,
            novelty: lists.and_then(|lists| lists.novelty(training_rows)),
            ..Evaluation::new(sums(ranks), lists, 0.0)
        }
    }
}
