//! What the lists of the version in production are like, and those of the one on trial.

use super::prediction::Prediction;
use super::served::{Served, ServedReport};
use crate::deploy::{Serving, Side, Version};
use crate::error::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Until a version that could not answer its own customers is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// In this order wherever there are two of something.
const SIDES: [Side; 2] = [Side::Production, Side::Canary];

/// Both sides of a trial.
#[derive(Debug, Default)]
pub(super) struct Sides {
    production: Known,
    canary: Known,
}

/// What is known of one of them.
#[derive(Debug, Default)]
struct Known {
    served: Option<Served>,
    /// A version that could not answer its own customers, and when.
    broken: Option<(String, Instant)>,
}

/// What there is to begin with.
pub(super) type Begun = [Option<Result<Served>>; 2];

fn versions(serving: &Serving) -> [Option<&Arc<Version>>; 2] {
    [serving.production.as_ref(), serving.canary.as_ref().map(|trial| &trial.version)]
}

impl Sides {
    /// Of production, and of the trial.
    pub(super) fn reports(&self) -> (Option<ServedReport>, Option<ServedReport>) {
        (self.production.report(), self.canary.report())
    }

    /// Whether the versions that serve are those that are known, each.
    pub(super) fn are_of(&self, serving: &Serving) -> [bool; 2] {
        let [production, canary] = versions(serving);
        [self.production.is_of(production), self.canary.is_of(canary)]
    }

    /// Begins with the versions that are not known.
    ///
    /// Cost: a batch of 512 requests each. Run it where nobody waits.
    pub(super) fn begin(serving: &Serving, are_known: [bool; 2], window: usize) -> Begun {
        let mut sides = versions(serving).into_iter().zip(SIDES).zip(are_known);
        std::array::from_fn(|_| {
            let ((version, side), is_known) = sides.next()?;
            (!is_known).then(|| Some(Served::new(version?.retriever(), side, window))).flatten()
        })
    }

    /// Goes on with what was begun, and counts lists.
    ///
    /// # Errors
    /// The first of those that beginning with a version met.
    pub(super) fn look(&mut self, serving: &Serving, begun: Begun, lists: &[Prediction]) -> Result<()> {
        let both = [&mut self.production, &mut self.canary].into_iter().zip(versions(serving)).zip(begun);
        let mut done = Ok(());
        for ((known, version), begun) in both {
            done = done.and(known.look(version, begun, lists));
        }
        done
    }
}

fn is_recent((broken, at): &(String, Instant), version: &Version) -> bool {
    broken == version.name() && at.elapsed() < RETRY
}

impl Known {
    fn report(&self) -> Option<ServedReport> {
        self.served.as_ref().map(Served::report)
    }

    fn is_of(&self, version: Option<&Arc<Version>>) -> bool {
        match version {
            None => self.served.is_none(),
            Some(version) if self.broken.as_ref().is_some_and(|broken| is_recent(broken, version)) => true,
            Some(version) => self.served.as_ref().is_some_and(|served| served.is_of(version.retriever())),
        }
    }

    fn look(
        &mut self,
        version: Option<&Arc<Version>>,
        begun: Option<Result<Served>>,
        lists: &[Prediction],
    ) -> Result<()> {
        let Some(version) = version else {
            self.served = None;
            return Ok(());
        };
        match begun {
            Some(Ok(begun)) => self.served = Some(begun),
            Some(Err(error)) => {
                (self.served, self.broken) = (None, Some((version.name().to_owned(), Instant::now())));
                return Err(error);
            }
            None => {}
        }
        let retriever = version.retriever();
        // What is known of another version is not of this one.
        self.served.take_if(|served| !served.is_of(retriever));
        if let Some(served) = &mut self.served {
            lists.iter().for_each(|list| served.push(retriever, list));
        }
        Ok(())
    }
}
