//! Work of several owners in fair turns: one piece of an owner at a time and in order, and next the
//! owner for whom the least was done so far. So an owner with much work waits for itself.
//!
//! **Source:** start-time fair queueing, P. Goyal, H. Vin and H. Cheng, SIGCOMM 1996.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Idle owners that are remembered with what was done for them; beyond it, they start again.
const IDLE_MAX: usize = 1024;

/// Waiting work by owner.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    lanes: HashMap<Arc<str>, Lane<T>>,
    /// Lanes with waiting work of which nothing runs, by cost and order of arrival.
    ready: BTreeSet<(u64, u64, Arc<str>)>,
    /// Cost of the lane that was served last: where a new lane begins, so that an owner saves up
    /// nothing while idle.
    now: u64,
    arrivals: u64,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    cost: u64,
    is_running: bool,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        let (lanes, ready) = (HashMap::new(), BTreeSet::new());
        Self { lanes, ready, now: 0, arrivals: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Returns the waiting work of an owner, the oldest first.
    pub(super) fn waiting_of(&mut self, owner: &str) -> impl Iterator<Item = &mut T> {
        self.lanes.get_mut(owner).into_iter().flat_map(|lane| lane.waiting.iter_mut())
    }

    /// Adds work.
    pub(super) fn push(&mut self, owner: &str, work: T) {
        let owner: Arc<str> = match self.lanes.get_key_value(owner) {
            Some((known, _)) => Arc::clone(known),
            None => owner.into(),
        };
        let now = self.now;
        let lane = self.lanes.entry(Arc::clone(&owner)).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            cost: now,
            is_running: false,
        });
        lane.waiting.push_back(work);
        if lane.waiting.len() == 1 && !lane.is_running {
            lane.cost = lane.cost.max(now);
            self.make_ready(&owner);
        }
    }

    /// Takes the next work; its owner has no other turn until [`FairQueue::finish`].
    pub(super) fn next(&mut self) -> Option<(Arc<str>, T)> {
        let (cost, _, owner) = self.ready.pop_first()?;
        let lane = self.lanes.get_mut(&owner)?;
        let work = lane.waiting.pop_front()?;
        lane.is_running = true;
        self.now = self.now.max(cost);
        Some((owner, work))
    }

    /// Ends the turn of an owner and charges what it cost.
    pub(super) fn finish(&mut self, owner: &Arc<str>, cost: u64) {
        if let Some(lane) = self.lanes.get_mut(owner) {
            lane.is_running = false;
            lane.cost = lane.cost.saturating_add(cost);
            if !lane.waiting.is_empty() {
                self.make_ready(owner);
            }
        }
        if self.lanes.len() > IDLE_MAX {
            self.lanes.retain(|_, lane| lane.is_running || !lane.waiting.is_empty());
        }
    }

    fn make_ready(&mut self, owner: &Arc<str>) {
        if let Some(lane) = self.lanes.get(owner) {
            self.arrivals += 1;
            self.ready.insert((lane.cost, self.arrivals, Arc::clone(owner)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(queue: &mut FairQueue<&'static str>, cost: u64) -> &'static str {
        let (owner, work) = queue.next().unwrap();
        queue.finish(&owner, cost);
        work
    }

    #[test]
    fn an_owner_runs_one_piece_at_a_time_and_in_order() {
        let mut queue = FairQueue::default();
        for work in ["a1", "a2", "b1"] {
            queue.push(&work[..1], work);
        }
        let (a, first) = queue.next().unwrap();
        let (b, second) = queue.next().unwrap();
        assert_eq!((first, second), ("a1", "b1"));
        assert!(queue.next().is_none(), "a2 waits for a1");
        queue.finish(&b, 1);
        assert!(queue.next().is_none());
        queue.finish(&a, 1);
        assert_eq!(queue.next().unwrap().1, "a2");
        assert!(queue.next().is_none());
    }

    #[test]
    fn who_cost_less_is_served_first_and_idle_owners_save_nothing_up() {
        let mut queue = FairQueue::default();
        for work in ["a1", "a2", "a3", "b1", "b2", "b3"] {
            queue.push(&work[..1], work);
        }
        let order: Vec<_> = (0..4)
            .map(|_| {
                let (owner, work) = queue.next().unwrap();
                queue.finish(&owner, if &*owner == "a" { 100 } else { 1 });
                work
            })
            .collect();
        assert_eq!(order, ["a1", "b1", "b2", "b3"]);
        // `c` was idle until now, and is served before `a`, which has cost more, but not twice as
        // often from now on.
        queue.push("c", "c1");
        assert_eq!(served(&mut queue, 1), "c1");
        assert_eq!(served(&mut queue, 1), "a2");
        for work in ["c2", "c3", "a4"] {
            queue.push(&work[..1], work);
        }
        assert_eq!(served(&mut queue, 1), "c2");
        // What `a` cost before stays charged while it is idle.
        assert_eq!([served(&mut queue, 1), served(&mut queue, 1)], ["a3", "c3"]);
    }

    #[test]
    fn idle_owners_are_forgotten_beyond_the_bound() {
        let mut queue = FairQueue::default();
        for at in 0..3 * IDLE_MAX {
            queue.push(&at.to_string(), "work");
            let (owner, _) = queue.next().unwrap();
            queue.finish(&owner, 5);
        }
        assert!(queue.lanes.len() <= IDLE_MAX + 1 && queue.ready.is_empty());
    }
}
