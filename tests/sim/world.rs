//! The event loop: virtual time, faults, publishers, the broker's timers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use switchyard::matcher::Subscription;

use crate::broker::{Broker, Consumer, Pair, ParkedMessage, PublishAnswer, Source, Stream};
use crate::dice::{Dice, Ms, Topic};
use crate::fixture;
use crate::ledger::{Ledger, Violation};
use crate::mutation::Mutation;
use crate::policy::{self, CrashMarkers};
use crate::replica::{Publish, Replica};
use crate::scenario::{Entry, REGISTRY_LAG_MAX, Scenario, What};

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
    Apply { trigger: usize, is_live: bool },
    Received(Box<Received>),
    Decoded { handle: u64, event: usize, stream: Ms },
    Extend(u64),
    QueueTimeout(u64),
    AttemptDone(u64),
    Reply(Box<Publish>, Option<PublishAnswer>),
    Resend(Box<Publish>),
    Trim,
}

/// A message as a router pulls it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) deliveries: u32,
    /// Creation time of its stream.
    pub(crate) stream: Ms,
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
    pub(crate) markers: CrashMarkers,
    pub(crate) ledger: Ledger,
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
    /// Pairs with a record in the parking stream, by owner.
    pub(crate) parked: Vec<BTreeSet<Pair>>,
    /// Dead letters of deliveries, stored or on their way, by owner.
    pub(crate) letters: Vec<usize>,
    /// When each message id was stored in the parking stream.
    pub(crate) record_ids: HashMap<String, Ms>,
    /// Records that arrived from processes that no longer exist.
    pub(crate) orphans: usize,
    /// A publisher was refused since the last round of the trimmer.
    pub(crate) was_refused: bool,
    pub(crate) is_trim_planned: bool,
    trace: Option<Vec<String>>,
    pub(crate) steps: u64,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) steps: u64,
    pub(crate) attempts: u32,
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
            markers: CrashMarkers::default(),
            ledger: Ledger::default(),
            subscriptions: fixture::subscriptions(scenario),
            parked: vec![BTreeSet::new(); scenario.installations],
            letters: vec![0; scenario.installations],
            record_ids: HashMap::new(),
            orphans: 0,
            was_refused: false,
            is_trim_planned: false,
            trace: traced.then(Vec::new),
            steps: 0,
        };
        world.start_all();
        world
    }

    fn start_all(&mut self) {
        for _ in 0..self.scenario.replicas {
            let mut replica = Replica::new(self.scenario, 1, self.per_owner_max());
            replica.live = self.registry();
            self.replicas.push(replica);
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

    pub(crate) fn per_owner_max(&self) -> usize {
        match self.is(Mutation::OneQueueForAll) {
            true => self.scenario.permits,
            false => self.scenario.permits_per_owner,
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

    fn registry_changed(&mut self, trigger: usize) {
        let is_live = self.registry().get(trigger).copied().unwrap_or(false);
        self.note(|| {
            format!("subscription {trigger} is {}", if is_live { "live" } else { "removed" })
        });
        for replica in 0..self.replicas.len() {
            let at = (Topic::Replica, self.order, 1);
            let lag = self.dice.between(at, 0, REGISTRY_LAG_MAX);
            self.watch(self.now + lag, replica, Local::Apply { trigger, is_live });
        }
    }

    /// Plans when a change of the registry reaches a replica, after the changes before it.
    fn watch(&mut self, at: Ms, replica: usize, change: Local) {
        let Some(of) = self.replicas.get_mut(replica) else { return };
        of.watched = of.watched.max(at);
        let at = of.watched;
        self.local(at, replica, change);
    }

    /// Kills a replica.
    pub(crate) fn crash(&mut self, replica: usize, down: Ms) {
        let (scenario, per_owner_max) = (self.scenario, self.per_owner_max());
        let Some(of) = self.replicas.get_mut(replica).filter(|of| of.is_up) else { return };
        *of = Replica::new(scenario, of.incarnation + 1, per_owner_max);
        of.is_up = false;
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
        let registry = self.registry();
        if let Some(of) = self.replicas.get_mut(replica) {
            of.is_up = true;
            of.live = registry;
        }
        self.note(|| format!("replica {replica} starts"));
    }

    fn stall(&mut self, replica: usize, length: Ms) {
        let now = self.now;
        let Some(of) = self.replicas.get_mut(replica) else { return };
        if !of.is_up || of.stalled.is_some() {
            return;
        }
        of.stalled = Some(now);
        let incarnation = of.incarnation;
        self.at(now + length, Action::Wake { replica, incarnation });
    }

    fn wake(&mut self, replica: usize, incarnation: u64) {
        let (now, registry) = (self.now, self.registry());
        let (scenario, per_owner_max) = (self.scenario, self.per_owner_max());
        let is_zombie = self.is(Mutation::ZombieDeliversAfterRemoval);
        let Some(of) = self.replicas.get_mut(replica) else { return };
        let Some(since) = of.stalled.filter(|_| of.incarnation == incarnation) else { return };
        of.stalled = None;
        let gap = now - since;
        let deferred = std::mem::take(&mut of.deferred);
        let is_pause = policy::is_pause(gap, ACK_WAIT) && !is_zombie;
        if is_pause {
            of.drop_held(scenario, per_owner_max);
            of.live = registry;
        } else {
            of.last_gap = (now, if gap > ACK_WAIT { 0 } else { gap });
        }
        self.note(|| format!("replica {replica} continues after {gap} ms, pause: {is_pause}"));
        for action in deferred {
            let Action::Local { local, .. } = action else { continue };
            match local {
                // The registry's watch catches up after what the sockets hold.
                Local::Apply { .. } => self.watch(now + REGISTRY_LAG_MAX, replica, local),
                Local::Trim => self.is_trim_planned = false,
                _ if is_pause => {}
                local => self.local(now, replica, local),
            }
        }
    }

    fn check_replicas(&mut self) {
        let (in_flight_max, permits) = (self.scenario.in_flight_max, self.scenario.permits);
        for (at, of) in self.replicas.iter().enumerate() {
            let events = of.in_flight.first().copied().unwrap_or(0);
            let held = of.permits.held();
            if events > in_flight_max || held > permits {
                let detail = format!("replica {at}: {events} events in flight, {held} permits");
                return self.ledger.violation("bounds", detail);
            }
            if held != of.attempting {
                let detail = format!("replica {at}: {held} held, {} attempts", of.attempting);
                return self.ledger.violation("permits are returned", detail);
            }
        }
    }
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("steps", &self.steps).finish()
    }
}
