//! Whose job is next.

use recs_core::tenant::TenantId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A number of places, given to whoever waits: to one tenant after the other, to each in the order in which its jobs came. So who
/// asks for much waits for it, and the others do not.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    free: usize,
    /// Those with somebody waiting, the next one first. As long as there are some nothing is free.
    tenants: VecDeque<(Option<TenantId>, VecDeque<oneshot::Sender<Turn>>)>,
}

impl Waiting {
    /// Takes out whoever is next, and has its tenant wait for all others.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let (tenant, mut jobs) = self.tenants.pop_front()?;
            while let Some(job) = jobs.pop_front() {
                // Who went away costs its tenant no turn.
                if !job.is_closed() {
                    if !jobs.is_empty() {
                        self.tenants.push_back((tenant, jobs));
                    }
                    return Some(job);
                }
            }
        }
    }

    fn push(&mut self, tenant: Option<&TenantId>, job: oneshot::Sender<Turn>) {
        match self.tenants.iter_mut().find(|(waits, _)| waits.as_ref() == tenant) {
            Some((_, jobs)) => {
                // Before there is more memory for those who wait: many may have gone away.
                if jobs.len() == jobs.capacity() {
                    jobs.retain(|job| !job.is_closed());
                }
                jobs.push_back(job);
            }
            None => self.tenants.push_back((tenant.cloned(), VecDeque::from([job]))),
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Turns>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let mut waiting = turns.waiting();
        while let Some(next) = waiting.next() {
            match next.send(Turn(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // Whoever that was went away.
                Err(mut turn) => turn.0 = None,
            }
        }
        waiting.free += 1;
    }
}

impl Turns {
    /// So many places.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiting { free: places, tenants: VecDeque::new() })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place if one is free: then nobody waits.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Turn> {
        let mut waiting = self.waiting();
        waiting.free = waiting.free.checked_sub(1)?;
        Some(Turn(Some(Arc::clone(self))))
    }

    /// Waits for a place. Jobs of no tenant wait as those of one.
    pub(crate) async fn wait(self: &Arc<Self>, tenant: Option<&TenantId>) -> Turn {
        let given = {
            let mut waiting = self.waiting();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Turn(Some(Arc::clone(self)));
            }
            let (job, given) = oneshot::channel();
            waiting.push(tenant, job);
            given
        };
        // Senders are dropped with the list that holds them, which this keeps.
        given.await.unwrap_or(Turn(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Wait<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    fn poll(wait: &mut Wait<'_>) -> Option<Turn> {
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_asks_for_much_is_next_only_after_the_others() {
        let (turns, [much, little]) =
            (Turns::new(1), ["much", "little"].map(|name| TenantId::new(name).unwrap()));
        let mut held = turns.take();
        let mut order = Vec::new();
        let tenants = [&much, &much, &much, &little, &much, &little];
        let mut waiting: Vec<(usize, Wait<'_>)> = tenants
            .iter()
            .enumerate()
            .map(|(i, tenant)| (i, Box::pin(turns.wait(Some(tenant))) as Wait<'_>))
            .collect();
        assert!(waiting.iter_mut().all(|(_, wait)| poll(wait).is_none()) && turns.take().is_none());
        while !waiting.is_empty() {
            drop(held.take());
            let at = waiting
                .iter_mut()
                .position(|(_, wait)| poll(wait).is_some_and(|turn| held.replace(turn).is_none()));
            order.push(waiting.remove(at.expect("one has the place")).0);
        }
        assert_eq!(order, [0, 3, 1, 5, 2, 4]);
        drop(held);
        assert!(turns.take().is_some());
    }

    #[test]
    fn a_place_that_nobody_takes_goes_on() {
        let turns = Turns::new(1);
        let held = turns.take();
        {
            let mut gone: Wait<'_> = Box::pin(turns.wait(None));
            assert!(poll(&mut gone).is_none());
            let mut too_late: Wait<'_> = Box::pin(turns.wait(None));
            assert!(poll(&mut too_late).is_none());
            drop(gone);
            drop(held);
            // Given to one that goes away without looking.
        }
        assert!(turns.take().is_some());
    }

    #[test]
    fn who_went_away_costs_its_tenant_no_turn_and_no_memory() {
        let (turns, [many, other]) =
            (Turns::new(1), ["many", "other"].map(|name| TenantId::new(name).unwrap()));
        let held = turns.take();
        for _ in 0..10_000 {
            let mut gone: Wait<'_> = Box::pin(turns.wait(Some(&many)));
            assert!(poll(&mut gone).is_none());
        }
        assert!(turns.waiting().tenants[0].1.len() < 100);
        let mut waiting: Vec<Wait<'_>> =
            [&many, &other, &other].map(|tenant| Box::pin(turns.wait(Some(tenant))) as Wait<'_>).into();
        assert!(waiting.iter_mut().all(|wait| poll(wait).is_none()));
        drop(held);
        assert!(poll(&mut waiting[0]).is_some(), "the first that is still there");
    }

    proptest! {
        /// Whoever comes, goes and gives up: places are neither lost nor made, nobody waits beside a free one, and none of a tenant
        /// overtakes another of it.
        #[test]
        fn no_place_is_lost(places in 1usize..4, steps in prop::collection::vec((0u8..3, 0usize..4, 0usize..8), 1..80)) {
            let turns = Turns::new(places);
            let tenants: Vec<TenantId> = (0..4).map(|i| TenantId::new(&format!("t{i}")).unwrap()).collect();
            let (mut held, mut waiting): (Vec<Turn>, Vec<(usize, usize, Wait<'_>)>) = Default::default();
            let mut last = BTreeMap::new();
            for (number, (what, tenant, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => waiting.push((number, tenant, Box::pin(turns.wait(Some(&tenants[tenant]))))),
                    1 if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    2 if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
                    _ => {}
                }
                let mut i = 0;
                while i < waiting.len() {
                    match poll(&mut waiting[i].2) {
                        Some(turn) => {
                            let (number, tenant, _) = waiting.remove(i);
                            prop_assert!(last.insert(tenant, number).is_none_or(|before| before < number));
                            held.push(turn);
                        }
                        None => i += 1,
                    }
                }
                prop_assert!(held.len() <= places && (waiting.is_empty() || held.len() == places));
            }
            drop((waiting, held));
            prop_assert!((0..places).map(|_| turns.take()).collect::<Vec<_>>().iter().all(Option::is_some));
        }
    }
}
