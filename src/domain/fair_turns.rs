//! A queue that serves its owners in fair turns.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Empty lanes that are kept for owners to come, so that a queue that empties with every item
/// allocates nothing.
const SPARE_MAX: usize = 8;

/// Waiting items by owner: in order within an owner, and between owners by deficit round robin. In
/// each turn an owner may take items of a total cost of one quantum; what it may not use yet, because
/// its next item costs more, is kept for its next turn.
///
/// Owners are distinguished by a hash: two of the same hash share a lane, which costs fairness between
/// them and nothing else.
///
/// **Source:** M. Shreedhar and G. Varghese, Efficient fair queuing using deficit round robin,
/// SIGCOMM 1995.
#[derive(Debug)]
pub struct FairTurns<T> {
    lanes: HashMap<TurnOwner, Lane<T>, RandomState>,
    /// Owners with waiting items; the first has its turn.
    turns: VecDeque<TurnOwner>,
    spare: Vec<VecDeque<(u64, T)>>,
    owners: RandomState,
    quantum: u64,
    len: usize,
}

/// An owner in one [`FairTurns`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TurnOwner(u64);

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<(u64, T)>,
    /// What it may still take in this turn.
    credit: u64,
}

impl<T> FairTurns<T> {
    /// Creates an empty queue whose turns have a cost of `quantum`.
    #[must_use]
    pub fn new(quantum: u64) -> Self {
        Self {
            lanes: HashMap::default(),
            turns: VecDeque::new(),
            spare: Vec::new(),
            owners: RandomState::default(),
            quantum: quantum.max(1),
            len: 0,
        }
    }

    /// Number of waiting items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the owner with this name.
    #[must_use]
    pub fn owner(&self, name: &str) -> TurnOwner {
        TurnOwner(self.owners.hash_one(name))
    }

    /// Number of waiting items of an owner.
    #[must_use]
    pub fn len_of(&self, owner: TurnOwner) -> usize {
        self.lanes.get(&owner).map_or(0, |lane| lane.waiting.len())
    }

    /// Adds an item of an owner.
    pub fn push(&mut self, owner: TurnOwner, cost: u64, item: T) {
        self.len += 1;
        if let Some(lane) = self.lanes.get_mut(&owner) {
            lane.waiting.push_back((cost, item));
            return;
        }
        let mut waiting = self.spare.pop().unwrap_or_default();
        waiting.push_back((cost, item));
        self.lanes.insert(owner, Lane { waiting, credit: self.quantum });
        self.turns.push_back(owner);
    }

    /// Takes the next item. An owner whose last item is taken saves up nothing.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let owner = *self.turns.front()?;
            let Some(lane) = self.lanes.get_mut(&owner) else {
                self.turns.pop_front();
                continue;
            };
            let is_alone = self.turns.len() == 1;
            match lane.waiting.front() {
                Some((cost, _)) if *cost <= lane.credit || is_alone => {
                    lane.credit = lane.credit.saturating_sub(*cost);
                    let taken = lane.waiting.pop_front();
                    if lane.waiting.is_empty() {
                        self.end(owner);
                    }
                    self.len -= usize::from(taken.is_some());
                    return taken.map(|(_, item)| item);
                }
                Some(_) => {
                    lane.credit = lane.credit.saturating_add(self.quantum);
                    self.turns.rotate_left(1);
                }
                None => self.end(owner),
            }
        }
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.lanes.clear();
        self.turns.clear();
        self.len = 0;
    }

    /// Yields all waiting items, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().flat_map(|lane| lane.waiting.iter().map(|(_, item)| item))
    }

    /// Removes the lane of an owner whose turn it is.
    fn end(&mut self, owner: TurnOwner) {
        self.turns.pop_front();
        let lane = self.lanes.remove(&owner);
        if let Some(lane) = lane.filter(|_| self.spare.len() < SPARE_MAX) {
            self.spare.push(lane.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push<T>(turns: &mut FairTurns<T>, owner: &str, cost: u64, item: T) {
        let owner = turns.owner(owner);
        turns.push(owner, cost, item);
    }

    fn drained<T>(turns: &mut FairTurns<T>) -> Vec<T> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn owners_take_turns_and_keep_their_order() {
        let mut turns = FairTurns::new(1);
        for at in 0..4 {
            push(&mut turns, "flood", 1, format!("f{at}"));
        }
        push(&mut turns, "quiet", 1, "q0".to_owned());
        push(&mut turns, "other", 1, "o0".to_owned());
        assert_eq!(
            (turns.len(), turns.len_of(turns.owner("flood")), turns.len_of(turns.owner("none"))),
            (6, 4, 0)
        );
        assert_eq!(drained(&mut turns), ["f0", "q0", "o0", "f1", "f2", "f3"]);
        assert!(turns.is_empty() && turns.lanes.is_empty());
    }

    #[test]
    fn turns_are_equal_in_cost_and_not_in_number() {
        let mut turns = FairTurns::new(100);
        for _ in 0..10 {
            push(&mut turns, "large", 1_000, 'L');
        }
        for _ in 0..100 {
            push(&mut turns, "small", 50, 's');
        }
        let mut taken = Vec::new();
        while taken.iter().filter(|one| **one == 'L').count() < 3 {
            taken.extend(turns.pop());
        }
        let small = taken.iter().filter(|one| **one == 's').count();
        // Three large items cost as much as 60 small ones.
        assert!((50..=62).contains(&small), "{small} small items before the third large one");
    }

    /// Whatever a flood queues, the item of another owner waits for one turn of it.
    #[test]
    fn an_item_waits_for_one_turn_of_each_other_owner() {
        for flood in [1, 10, 10_000] {
            let mut turns = FairTurns::new(8);
            (0..flood).for_each(|_| push(&mut turns, "flood", 4, "f"));
            assert_eq!(turns.pop(), Some("f"));
            push(&mut turns, "quiet", 4, "q");
            let before = std::iter::from_fn(|| turns.pop()).take_while(|one| *one == "f").count();
            assert!(before <= 2, "{before} items of the flood before the other one");
        }
    }

    #[test]
    fn all_items_are_yielded_and_cleared() {
        let mut turns = FairTurns::new(8);
        push(&mut turns, "a", 1, 1);
        push(&mut turns, "b", 100, 2);
        assert_eq!(turns.iter().sum::<i32>(), 3);
        turns.clear();
        assert_eq!((turns.len(), turns.pop()), (0, None));
        push(&mut turns, "a", 1, 3);
        assert_eq!(drained(&mut turns), [3]);
    }
}
