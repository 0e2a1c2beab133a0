//! State of one router process.

use std::collections::{BTreeMap, VecDeque};

use switchyard::delivery::state_machines::{Backlog, Breaker};
use switchyard::delivery::{AttemptOutcome, Delivery};

use crate::broker::{Letter, Pair, ParkedMessage, Source};
use crate::dice::Ms;
use crate::policy::Permits;
use crate::scenario::Scenario;
use crate::world::Action;

/// A message in work: acknowledged once all of its deliveries are accounted for.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) received: Ms,
    /// Deliveries that are not accounted for.
    pub(crate) left: usize,
}

/// A delivery in work.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) handle: u64,
    pub(crate) pair: Pair,
    pub(crate) delivery: Delivery,
    pub(crate) stage: Stage,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Waiting,
    Attempting(AttemptOutcome),
    Publishing,
}

/// What a publish stores.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Parked(ParkedMessage, Ms),
    Letter(Letter),
}

/// A publish that is repeated until it is confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) replica: usize,
    pub(crate) incarnation: u64,
    pub(crate) handle: u64,
    /// None for the dead letter of an event.
    pub(crate) task: Option<u64>,
    pub(crate) message_id: String,
    pub(crate) content: Content,
    pub(crate) tries: u32,
}

/// Circuit breaker and backlog of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) breaker: Breaker,
    pub(crate) backlog: Backlog,
    pub(crate) average_us: u64,
}

/// One router process.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Grows with each start; work of an earlier process is dropped.
    pub(crate) incarnation: u64,
    pub(crate) is_up: bool,
    pub(crate) stalled: Option<Ms>,
    /// What reached the process while it was stopped.
    pub(crate) deferred: Vec<Action>,
    /// End and length of the last stop.
    pub(crate) last_gap: (Ms, Ms),
    /// When the last change of the registry reaches it: changes come in order.
    pub(crate) watched: Ms,
    /// Its view of the registry.
    pub(crate) live: Vec<bool>,
    pub(crate) handles: BTreeMap<u64, Handle>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) waiting: VecDeque<u64>,
    pub(crate) permits: Permits,
    pub(crate) attempting: usize,
    pub(crate) lanes: Vec<Lane>,
    /// Messages on their way to it or in work, by source.
    pub(crate) in_flight: [usize; 2],
    pub(crate) last_id: u64,
}

impl Replica {
    pub(crate) fn new(scenario: &Scenario, incarnation: u64, per_owner_max: usize) -> Self {
        let lanes = (0..scenario.installations).map(|_| Lane::default()).collect();
        Self {
            incarnation,
            is_up: true,
            stalled: None,
            deferred: Vec::new(),
            last_gap: (Ms::MIN, 0),
            watched: 0,
            live: vec![false; scenario.triggers.len()],
            handles: BTreeMap::new(),
            tasks: BTreeMap::new(),
            waiting: VecDeque::new(),
            permits: Permits::new(scenario.permits, per_owner_max),
            attempting: 0,
            lanes,
            in_flight: [0, 0],
            last_id: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Drops all messages in work, unacknowledged.
    pub(crate) fn drop_held(&mut self, scenario: &Scenario, per_owner_max: usize) {
        self.handles.clear();
        self.tasks.clear();
        self.waiting.clear();
        self.permits = Permits::new(scenario.permits, per_owner_max);
        self.attempting = 0;
        self.in_flight = [0, 0];
    }
}

/// Returns the position of a source in counters.
pub(crate) fn position(source: Source) -> usize {
    match source {
        Source::Events => 0,
        Source::Due => 1,
    }
}
