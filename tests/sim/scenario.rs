//! Scenario of a seed: who is registered, what is published, how handlers behave, what fails.

use std::fmt;

use switchyard::delivery::CURRENT_GAP_MAX;

use crate::dice::{Dice, Ms, Topic};

/// Longest time until a change of the registry reaches a replica that runs.
pub(crate) const REGISTRY_LAG_MAX: Ms = 500;
const SECOND: Ms = 1000;

/// Behaviour of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    /// Accepts after up to this many milliseconds.
    Accept(Ms),
    /// Answers with this status.
    Status(u16),
    /// Does not answer.
    Hang,
    /// Refuses connections.
    Refuse,
    /// The router has no descriptor for the attempt.
    NoDescriptor,
}

/// A period in which an endpoint behaves otherwise than quickly accepting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) endpoint: usize,
    pub(crate) from: Ms,
    pub(crate) until: Ms,
    pub(crate) behaviour: Behaviour,
}

/// A subscription of an installation. Installation and endpoint have the same number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trigger {
    pub(crate) installation: usize,
    /// Bit mask of the event types that match.
    pub(crate) kinds: u8,
    pub(crate) created: Ms,
    pub(crate) removed: Option<Ms>,
}

impl Trigger {
    pub(crate) fn matches(&self, kind: u8) -> bool {
        self.kinds & (1 << kind) != 0
    }
}

/// Something that happens at a time. A scenario shrinks by leaving out entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Ms,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A publisher sends an event of this type; `poison` crashes the replica that decodes it.
    Publish { event: usize, kind: u8, poison: bool },
    /// A replica is killed and starts again after a time.
    Crash { replica: usize, down: Ms },
    /// A replica ends in order: it releases what it holds and starts again after a time.
    Restart { replica: usize, down: Ms },
    /// A replica is stopped (SIGSTOP) for a time.
    Stall { replica: usize, length: Ms },
    /// The broker neither stores nor answers for a time.
    LeaderChange { length: Ms },
    /// The broker stores and does not answer for a time.
    AnswersLost { length: Ms },
    /// The durable consumer of the event stream is deleted.
    ConsumerDeleted,
    /// The event stream is deleted, with its events.
    StreamDeleted,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} ms  {:?}", self.at, self.what)
    }
}

/// Everything that a seed decides in advance.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) replicas: usize,
    /// Difference of each replica's wall clock from the broker's.
    pub(crate) skews: Vec<Ms>,
    pub(crate) installations: usize,
    /// Installations of one app; the next ones belong to the next app.
    pub(crate) app_size: usize,
    /// Apps at one host.
    pub(crate) host_size: usize,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) periods: Vec<Period>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) schedule_s: Vec<u64>,
    pub(crate) jitter: f64,
    pub(crate) in_flight_max: usize,
    pub(crate) pending_max: usize,
    pub(crate) event_messages_max: usize,
    /// Age above which acknowledged events are purged.
    pub(crate) event_age_max: Option<Ms>,
    pub(crate) parking_share: usize,
    pub(crate) letter_share: usize,
    /// Publishes of hundred whose answer is lost outside of faults.
    pub(crate) unknown_percent: u64,
    /// Whether the network and the broker's timers take time.
    pub(crate) is_instant: bool,
}

impl Scenario {
    /// Returns the scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let draw = Draw { dice: Dice(seed), at: 0 };
        draw.scenario()
    }

    /// Returns the scenario with the entries of these positions only.
    pub(crate) fn keeping(&self, kept: &[usize]) -> Self {
        let at = |at: &usize| self.entries.get(*at).copied();
        Self { entries: kept.iter().filter_map(at).collect(), ..self.clone() }
    }

    /// Whether nothing fails but handlers, and all events may be in flight at once.
    pub(crate) fn is_calm(&self) -> bool {
        let is_calm = |entry: &Entry| matches!(entry.what, What::Publish { poison: false, .. });
        self.unknown_percent == 0
            && self.in_flight_max >= self.entries.len()
            && self.entries.iter().all(is_calm)
    }

    /// Longest time that a change of the registry may be unknown to a replica that works. A stop
    /// of up to `CURRENT_GAP_MAX` is not noticed; the changes in it arrive thereafter.
    pub(crate) fn registry_lag_max(&self) -> Ms {
        let stalls = |entry: &Entry| matches!(entry.what, What::Stall { .. });
        if !self.entries.iter().any(stalls) {
            return REGISTRY_LAG_MAX;
        }
        2 * REGISTRY_LAG_MAX + Ms::try_from(CURRENT_GAP_MAX.as_millis()).unwrap_or(0)
    }

    /// App of an installation.
    pub(crate) fn app(&self, installation: usize) -> usize {
        installation / self.app_size
    }

    /// Host of the endpoint of an installation.
    pub(crate) fn host(&self, installation: usize) -> usize {
        self.app(installation) / self.host_size
    }

    /// Whether the endpoint is always quick and no breaker that it shares with another may open.
    pub(crate) fn is_healthy(&self, endpoint: usize) -> bool {
        self.periods.iter().all(|period| {
            let is_refusing = period.behaviour == Behaviour::Refuse;
            self.app(period.endpoint) != self.app(endpoint)
                && !(is_refusing && self.host(period.endpoint) == self.host(endpoint))
        })
    }

    /// Behaviour of an endpoint at a time.
    pub(crate) fn behaviour(&self, endpoint: usize, now: Ms) -> Behaviour {
        let current = |period: &&Period| {
            period.endpoint == endpoint && (period.from..period.until).contains(&now)
        };
        self.periods.iter().find(current).map_or(Behaviour::Accept(40), |found| found.behaviour)
    }
}

/// Draws the parts of a scenario one after the other.
struct Draw {
    dice: Dice,
    at: u64,
}

impl Draw {
    fn below(&mut self, bound: Ms) -> Ms {
        self.at += 1;
        self.dice.between((Topic::Shape, self.at, 0), 0, bound)
    }

    fn size(&mut self, low: usize, high: usize) -> usize {
        let span = Ms::try_from(high - low + 1).unwrap_or(1);
        low + usize::try_from(self.below(span)).unwrap_or(0)
    }

    fn chance(&mut self, of_hundred: Ms) -> bool {
        self.below(100) < of_hundred
    }

    fn scenario(mut self) -> Scenario {
        let is_calm = self.chance(20);
        let replicas = self.size(1, 3);
        let (events, installations) = (self.size(4, 30), self.size(2, 4));
        let span = (5 + self.below(90)) * SECOND;
        let skewed = self.chance(30);
        let skews =
            (0..replicas).map(|_| if skewed { self.below(4 * 3_600_000) - 7_200_000 } else { 0 });
        let skews = skews.collect();
        let (app_size, host_size) = (self.size(1, 2), self.size(1, 4));
        let mut triggers: Vec<Trigger> =
            (0..self.size(2, 7)).map(|_| self.trigger(installations, span)).collect();
        let mut periods = self.periods(installations, span);
        let mut entries = self.publishes(events, span, is_calm);
        if !is_calm {
            self.faults(&mut entries, replicas, span);
        }
        entries.sort_by_key(|entry| entry.at);
        if self.dice.0.is_multiple_of(4) {
            let at = span / 3 + self.below(SECOND);
            remove_in_burst(&mut triggers, &mut periods, &entries, at);
        }
        let schedule_s = match self.below(8) {
            0 => vec![5, 30, 300, 1800, 7200, 18000, 36000, 36000],
            1..4 => vec![5, 30],
            _ => vec![5, 30, 300],
        };
        let is_narrow = !is_calm && self.chance(40);
        Scenario {
            seed: self.dice.0,
            replicas,
            skews,
            installations,
            app_size,
            host_size,
            triggers,
            periods,
            entries,
            schedule_s,
            jitter: 0.2,
            in_flight_max: if is_narrow { self.size(2, 5) } else { 64 },
            pending_max: if is_narrow { self.size(4, 8) } else { 128 },
            event_messages_max: if is_calm || self.chance(50) { 1000 } else { self.size(6, 16) },
            event_age_max: self.chance(50).then(|| 10 * SECOND + self.below(120 * SECOND)),
            parking_share: if self.chance(50) { self.size(2, 6) } else { 1000 },
            letter_share: if self.chance(50) { self.size(1, 4) } else { 1000 },
            unknown_percent: if is_calm || self.chance(50) { 0 } else { 5 },
            is_instant: false,
        }
    }

    fn trigger(&mut self, installations: usize, span: Ms) -> Trigger {
        let created = if self.chance(70) { -60 * SECOND } else { self.below(span) };
        let removed = self.chance(30).then(|| created.max(0) + self.below(span + 60 * SECOND));
        let kinds = u8::try_from(self.below(7)).unwrap_or(0) + 1;
        let installation = self.size(0, installations - 1);
        Trigger { installation, kinds, created, removed }
    }

    fn periods(&mut self, installations: usize, span: Ms) -> Vec<Period> {
        let mut periods = Vec::new();
        for endpoint in 0..installations {
            if self.chance(50) {
                continue;
            }
            let behaviour = match self.below(9) {
                0 | 1 => Behaviour::Hang,
                2 => Behaviour::Accept(12 * SECOND),
                3 => Behaviour::Status(429),
                4 => Behaviour::Status(422),
                5 => Behaviour::Refuse,
                6 => Behaviour::NoDescriptor,
                _ => Behaviour::Status(503),
            };
            let from = self.below(span);
            let length = match self.below(4) {
                // A delivery without descriptors is attempted each minute.
                0 if behaviour != Behaviour::NoDescriptor => 60 * 3600 * SECOND,
                0 | 1 => 1800 * SECOND,
                _ => self.below(2 * span) + SECOND,
            };
            periods.push(Period { endpoint, from, until: from + length, behaviour });
        }
        periods
    }

    fn publishes(&mut self, events: usize, span: Ms, is_calm: bool) -> Vec<Entry> {
        let burst = self.chance(40);
        let publish = |event| {
            let at = if burst { self.below(SECOND) + span / 3 } else { self.below(span) };
            let kind = u8::try_from(self.below(3)).unwrap_or(0);
            let poison = !is_calm && self.chance(2);
            Entry { at, what: What::Publish { event, kind, poison } }
        };
        (0..events).map(publish).collect()
    }

    /// Length of a stop: unnoticed, short or a pause.
    fn stall(&mut self) -> Ms {
        match self.below(3) {
            0 => 100 + self.below(2 * SECOND),
            1 => SECOND + self.below(14 * SECOND),
            _ => SECOND + self.below(60 * SECOND),
        }
    }

    fn faults(&mut self, entries: &mut Vec<Entry>, replicas: usize, span: Ms) {
        let crash_loop = self.chance(15);
        if crash_loop {
            let mut at = self.below(span);
            for _ in 0..9 {
                at += 2 * SECOND + self.below(2 * SECOND);
                let crash = |replica| Entry { at, what: What::Crash { replica, down: SECOND } };
                entries.extend((0..replicas).map(crash));
            }
        }
        for _ in 0..self.size(0, 6) {
            let at = self.below(span + 20 * SECOND);
            let replica = self.size(0, replicas - 1);
            let what = match self.below(12) {
                0 | 1 => What::Crash { replica, down: SECOND + self.below(30 * SECOND) },
                2 => What::Restart { replica, down: SECOND + self.below(5 * SECOND) },
                3..6 => What::Stall { replica, length: self.stall() },
                6 | 7 => What::LeaderChange { length: SECOND + self.below(10 * SECOND) },
                8 | 9 => What::AnswersLost { length: SECOND + self.below(10 * SECOND) },
                10 => What::ConsumerDeleted,
                _ if self.chance(40) => What::StreamDeleted,
                _ => What::ConsumerDeleted,
            };
            entries.push(Entry { at, what });
        }
    }
}

/// Removes a subscription while its deliveries wait for permits, if the events come in a burst.
fn remove_in_burst(triggers: &mut [Trigger], periods: &mut Vec<Period>, entries: &[Entry], at: Ms) {
    let published = |entry: &&Entry| matches!(entry.what, What::Publish { .. });
    let mut times = entries.iter().filter(published).map(|entry| entry.at);
    let first = times.next().unwrap_or(0);
    let is_burst = times.next_back().is_some_and(|last| last - first < SECOND);
    if let Some(trigger) = triggers.iter_mut().find(|of| is_burst && of.created < 0) {
        trigger.removed = Some(at);
        let behaviour = Behaviour::Accept(SECOND);
        let endpoint = trigger.installation;
        periods.insert(0, Period { endpoint, from: 0, until: 3600 * SECOND, behaviour });
    }
}
