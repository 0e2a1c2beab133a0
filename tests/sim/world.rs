//! The event loop: virtual time, faults, publishers, the broker's timers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use switchyard::delivery::Gaps;
use switchyard::delivery::state_machines::FairLimits;
use switchyard::event::CrashRecord;
use switchyard::matcher::Subscription;

use crate::broker::{Broker, Consumer, Pair, ParkedMessage, PublishAnswer, Source, Stream};
use crate::counting::Additions;
use crate::dice::{Dice, Ms, Topic};
use crate::fixture;
use crate::ledger::{Ledger, Violation};
use crate::mutation::Mutation;
use crate::replica::{Place, Publish, Replica};
use crate::scenario::{Entry, Scenario, What};

/// Start of virtual time, milliseconds since the epoch.
const EPOCH_MS: Ms = 1_800_000_000_000;
/// Acknowledgement deadline of the consumers.
pub(crate) const ACK_WAIT: Ms = 15_000;
/// Deduplication window of the streams.
pub(crate) const WINDOW: Ms = 120_000;
/// A run that takes longer does not come to rest.
const TIME_MAX: Ms = 200 * 3_600_000;
const STEPS_MAX: u64 = 400_000;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Entry(Entry),
    PublishEvent { event: usize, kind: u8, poison: bool, tries: u64 },
    Fire(u64),
    Expire { source: Source, sequence: u64, epoch: u64 },
    Arrive(Box<Publish>),
    Registry { trigger: usize },
    Start(usize),
    Wake { replica: usize, incarnation: u64 },
    Pump,
    Local { replica: usize, incarnation: u64, local: Local },
}

/// Something that happens inside a router process.
#[derive(Clone, Debug)]
pub(crate) enum Local {
    /// The next change of the registry arrives.
    Apply,
    AskRevision,
    Revision(Gaps, u64),
    Received(Box<Received>),
    Decoded {
        handle: u64,
        event: usize,
    },
    Examine,
    CrashesRead(Vec<CrashRecord>),
    Marked(Vec<CrashRecord>),
    Resume {
        handle: u64,
        message: Box<ParkedMessage>,
    },
    Extend(u64),
    Attempt(u64),
    QueueTimeout(u64),
    AttemptDone(u64),
    Reply(Box<Publish>, Option<PublishAnswer>),
    Resend(Box<Publish>),
    Trim,
    Count,
}

/// A message as a router pulls it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) deliveries: u32,
    pub(crate) payload: Payload,
}

/// Content of a pulled message.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Event(usize),
    Record(ParkedMessage),
}

/// A run of one scenario.
pub(crate) struct World<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) dice: Dice,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) now: Ms,
    agenda: BTreeMap<(Ms, u64), Action>,
    pub(crate) order: u64,
    pub(crate) broker: Broker,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) additions: Additions,
    pub(crate) ledger: Ledger,
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
    /// Pairs with a record in the parking stream, by owner.
    pub(crate) parked: Vec<BTreeSet<Pair>>,
    /// When each message id was stored in the parking stream.
    pub(crate) record_ids: HashMap<String, Ms>,
    /// A publisher was refused since the last round of the trimmer.
    pub(crate) was_refused: bool,
    trace: Option<Vec<String>>,
    pub(crate) steps: u64,
    /// Longest time until the first attempt at a handler for which fairness is checked.
    pub(crate) longest_wait: Ms,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) steps: u64,
    pub(crate) attempts: u32,
    pub(crate) longest_wait: Ms,
    pub(crate) trace: Vec<String>,
}

/// Runs a scenario to its end or to the first broken invariant.
pub(crate) fn run(scenario: &Scenario, mutation: Option<Mutation>, traced: bool) -> Outcome {
    let mut world = World::new(scenario, mutation, traced);
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        world.ledger.violation("no panic", format!("at {} ms", world.now));
    }
    let violation = world.ledger.first_violation().cloned();
    Outcome {
        violation,
        steps: world.steps,
        attempts: world.ledger.attempts,
        longest_wait: world.longest_wait,
        trace: world.trace.unwrap_or_default(),
    }
}

/// Returns a time as the router's state machines take it.
pub(crate) fn epoch_ms(now: Ms) -> Ms {
    EPOCH_MS + now
}

/// Returns a time as records have it.
pub(crate) fn timestamp(now: Ms) -> Timestamp {
    Timestamp::from_millisecond(epoch_ms(now))
        .expect("a simulated time is in the range of timestamps")
}

/// Returns the virtual time of a timestamp.
pub(crate) fn virtual_ms(at: Timestamp) -> Ms {
    at.as_millisecond() - EPOCH_MS
}

impl<'s> World<'s> {
    fn new(scenario: &'s Scenario, mutation: Option<Mutation>, traced: bool) -> Self {
        let events = Stream::new(0, WINDOW, scenario.event_messages_max);
        let broker = Broker {
            events,
            parked: Stream::new(0, WINDOW, usize::MAX),
            dead: Stream::new(0, WINDOW, usize::MAX),
            event_consumer: None,
            due_consumer: Consumer::new(0, 1, ACK_WAIT, scenario.pending_max),
            schedules: HashMap::new(),
            floor: None,
            crash_marks: BTreeMap::new(),
            share_documents: BTreeMap::new(),
            registry_revision: 0,
            silent_until: 0,
            answers_lost_until: 0,
            epochs: 0,
        };
        let mut world = Self {
            scenario,
            dice: Dice(scenario.seed),
            mutation,
            now: 0,
            agenda: BTreeMap::new(),
            order: 0,
            broker,
            replicas: Vec::new(),
            additions: Additions::new(scenario),
            ledger: Ledger::default(),
            subscriptions: fixture::subscriptions(scenario),
            parked: vec![BTreeSet::new(); scenario.installations],
            record_ids: HashMap::new(),
            was_refused: false,
            trace: traced.then(Vec::new),
            steps: 0,
            longest_wait: 0,
        };
        world.start_all();
        world
    }

    fn start_all(&mut self) {
        for replica in 0..self.scenario.replicas {
            self.replicas.push(Replica::new(self.scenario, 1, self.limits()));
            self.start(replica);
        }
        for entry in self.scenario.entries.clone() {
            self.at(entry.at, Action::Entry(entry));
        }
        for (trigger, of) in self.scenario.triggers.iter().enumerate() {
            for at in [Some(of.created), of.removed].into_iter().flatten().filter(|at| *at >= 0) {
                self.at(at, Action::Registry { trigger });
            }
        }
    }

    fn run(&mut self) {
        while let Some(((at, _), action)) = self.agenda.pop_first() {
            self.now = at;
            self.steps += 1;
            if at > TIME_MAX || self.steps > STEPS_MAX {
                let detail = format!("after {} steps, {at} ms", self.steps);
                self.ledger.violation("comes to rest", detail);
            }
            self.act(action);
            self.pump();
            self.check_replicas();
            if self.ledger.first_violation().is_some() {
                return;
            }
        }
        self.ledger.close(self.scenario, self.now);
    }

    /// Whether the run has this mutation.
    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Adds a line to the trace of a traced run.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} ms  {}", self.now, line()));
        }
    }

    /// Plans an action.
    pub(crate) fn at(&mut self, at: Ms, action: Action) {
        self.order += 1;
        self.agenda.insert((at.max(self.now), self.order), action);
    }

    /// Plans an action inside a replica.
    pub(crate) fn local(&mut self, at: Ms, replica: usize, local: Local) {
        let Some(incarnation) = self.replicas.get(replica).map(|of| of.incarnation) else { return };
        self.at(at, Action::Local { replica, incarnation, local });
    }

    /// Returns how long a message takes on the network.
    pub(crate) fn latency(&self) -> Ms {
        let at = (Topic::Network, self.order, 0);
        if self.scenario.is_instant { 0 } else { self.dice.between(at, 1, 20) }
    }

    /// Returns a random number from 0.0 to 1.0 for jitter.
    pub(crate) fn jitter(&self) -> f64 {
        self.dice.unit(Topic::Jitter, self.order, 0)
    }

    /// Returns the true state of the registry.
    pub(crate) fn registry(&self) -> Vec<bool> {
        let is_live = |trigger: &crate::scenario::Trigger| {
            trigger.created <= self.now && trigger.removed.is_none_or(|at| at > self.now)
        };
        self.scenario.triggers.iter().map(is_live).collect()
    }

    /// Returns the limits of the fair queue: as many permits as two and a half endpoints may hold.
    fn limits(&self) -> FairLimits {
        let total = 8;
        if self.is(Mutation::OneQueueForAll) {
            return FairLimits {
                total,
                app: total,
                installation: total,
                host: total,
                app_host: total,
                event: total,
                replay: total,
                endpoint: total,
                slow_share: 1.0,
                endpoint_waiting: 1_000,
                app_waiting: 1_000,
            };
        }
        FairLimits {
            total,
            app: 4,
            installation: 4,
            host: 7,
            app_host: 4,
            event: 4,
            replay: 2,
            endpoint: 3,
            slow_share: 0.75,
            endpoint_waiting: 100,
            app_waiting: 100,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Entry(entry) => self.entry(&entry),
            Action::PublishEvent { event, kind, poison, tries } => {
                self.publish_event(event, kind, poison, tries);
            }
            Action::Fire(sequence) => self.fire(sequence),
            Action::Expire { source, sequence, epoch } => self.expire(source, sequence, epoch),
            Action::Arrive(publish) => self.arrive(publish),
            Action::Registry { trigger } => self.registry_changed(trigger),
            Action::Start(replica) => self.start(replica),
            Action::Wake { replica, incarnation } => self.wake(replica, incarnation),
            Action::Pump => {}
            Action::Local { replica, incarnation, local } => {
                let Some(of) = self.replicas.get_mut(replica) else { return };
                if of.incarnation != incarnation || !of.is_up {
                    return;
                }
                match of.stalled {
                    Some(_) => of.deferred.push(Action::Local { replica, incarnation, local }),
                    None => self.local_step(replica, local),
                }
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.note(|| format!("{:?}", entry.what));
        match entry.what {
            What::Publish { event, kind, poison } => self.publish_event(event, kind, poison, 0),
            What::Crash { replica, down } => self.crash(replica, down),
            What::Restart { replica, down } => self.restart(replica, down),
            What::Stall { replica, length } => self.stall(replica, length),
            What::LeaderChange { length } => {
                self.broker.silent_until = self.broker.silent_until.max(self.now + length);
                self.at(self.broker.silent_until, Action::Pump);
            }
            What::AnswersLost { length } => {
                let until = self.now + length;
                self.broker.answers_lost_until = self.broker.answers_lost_until.max(until);
            }
            What::ConsumerDeleted => self.broker.event_consumer = None,
            What::StreamDeleted => self.delete_stream(),
        }
    }

    /// Kills a replica.
    pub(crate) fn crash(&mut self, replica: usize, down: Ms) {
        let (scenario, limits) = (self.scenario, self.limits());
        let Some(of) = self.replicas.get_mut(replica).filter(|of| of.is_up) else { return };
        let mut next = Replica::new(scenario, of.incarnation + 1, limits);
        next.is_up = false;
        let before = std::mem::replace(of, next);
        // Its records may be resumed again, and their places given back a second time.
        for place in before.handles.into_values().filter_map(|handle| handle.place) {
            self.uncounted(&Place::Parking(place));
        }
        self.note(|| format!("replica {replica} is killed"));
        self.at(self.now + down, Action::Start(replica));
    }

    /// Ends a replica in order: the broker redelivers at once what it held.
    fn restart(&mut self, replica: usize, down: Ms) {
        let handles = self.replicas.get(replica).map(|of| of.handles.values());
        let held = handles.into_iter().flatten().map(|of| (of.source, of.sequence, of.epoch));
        let held: Vec<_> = held.collect();
        if !self.broker.is_silent(self.now) {
            for (source, sequence, epoch) in held {
                if let Some(consumer) = self.consumer(source).filter(|of| of.epoch == epoch) {
                    consumer.nak(sequence);
                }
            }
        }
        self.crash(replica, down);
    }

    fn start(&mut self, replica: usize) {
        let (registry, revision) = (self.registry(), self.broker.registry_revision);
        let now = self.now;
        if let Some(of) = self.replicas.get_mut(replica) {
            of.is_up = true;
            of.live = registry;
            of.revision = revision;
            of.watch.clear();
            of.first_beat(now);
        }
        self.note(|| format!("replica {replica} starts"));
        self.plan_count_of(replica, 0);
        self.plan_trim(0);
    }

    fn check_replicas(&mut self) {
        for (at, of) in self.replicas.iter().enumerate() {
            let events = of.in_flight.first().copied().unwrap_or(0);
            let permits = of.queue.permit_use();
            if events > self.scenario.in_flight_max || permits.running > permits.max {
                let detail = format!("replica {at}: {events} events in flight, {permits:?}");
                return self.ledger.violation("bounds", detail);
            }
            let permitted = of.permitted();
            if permits.running != permitted || permits.waiting > 0 && permits.running == 0 {
                let detail = format!("replica {at}: {permitted} have a permit, {permits:?}");
                return self.ledger.violation("permits are returned and used", detail);
            }
        }
    }
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("steps", &self.steps).finish()
    }
}
