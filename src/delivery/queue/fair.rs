//! Fair queue: which waiting delivery gets the next permit for an attempt.
//!
//! Owners form a tree: app, installation, endpoint. Each owner may hold a share of all permits; so
//! may each host, each app at a host and each event with a wide fan-out. Attempts that run for
//! longer than a quarter of a second, and all attempts at endpoints that have not proven to be quick, count as
//! slow. Slow attempts may hold only a part of the permits in total, of each app, each host and each
//! event, so that a handler that hangs delays no quick one.
//!
//! A released permit goes to the next app in turn, in it to the next installation, in it to the
//! next endpoint, and there to the delivery that waits longest. This is deficit round robin where
//! each request costs one permit, so no deficit has to be kept. Owners at their share are skipped:
//! no permit stays unused while a delivery within all shares waits.
//!
//! Deliveries of replays wait apart: they take no waiting place of a live delivery, get a permit at an
//! endpoint only if no live delivery there can use it, and hold at most half of the permits of each owner
//! and a fifth of all.
//!
//! Pure state: times are arguments, in microseconds of any monotonic clock.

mod limits;
mod owners;
mod share;

use std::collections::VecDeque;

use slab::Slab;

pub use limits::FairLimits;
use limits::{REPLAYS, is_replay};
pub use owners::{EndpointId, EndpointOwners};
use owners::{Owners, Waiting};
use share::{AttemptKind, Share};

/// An attempt that runs for longer counts as slow; so does the endpoint of one that took longer.
///
/// Permits go round by number, not by time, so attempts just below this limit take the reserve from
/// quick ones. With a limit of a second, 10,000 attempts of 0.75 to 1.25 s did: deliveries of others
/// waited for two seconds and were parked for up to 15 (`benches/isolation`, *wide-slow*).
const SLOW_US: u64 = 250_000;
/// An endpoint whose oldest waiting delivery saw no attempt start for this long is slower than
/// measured. A shorter pause may be a hiccup of the machine.
const STALL_MIN_US: u64 = 250_000;

/// Identifies a request from its creation until it is finished; then the number is used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RequestId(pub(super) usize);

/// Identifies an event that has a share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventShareId(usize);

impl EventShareId {
    /// The share of all replays together.
    pub const REPLAYS: Self = Self(REPLAYS);
}

/// What a request may wait for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time that the delivery waits.
    pub timeout_us: u64,
    /// Shortest recent attempt at the endpoint; 0 before the first.
    pub attempt_us: u64,
}

/// Response to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// The permit is granted.
    Granted(RequestId),
    /// The request waits until it is granted or finished.
    Waiting(RequestId),
    /// The request may not wait: its owner is over this limit.
    Refused(WaitingLimit),
}

/// A limit on waiting deliveries; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitingLimit {
    /// What the endpoint can take in time.
    Endpoint,
    /// The waiting places of the app.
    App,
    /// The waiting places of the event.
    Event,
}

impl WaitingLimit {
    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::App => "app",
            Self::Event => "event",
        }
    }
}

/// How many permits are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PermitUse {
    /// All permits in use.
    pub running: usize,
    /// Those of slow attempts.
    pub slow: usize,
    /// How many there are.
    pub max: usize,
    /// Deliveries that wait.
    pub waiting: usize,
}

#[derive(Debug)]
struct Request {
    endpoint: usize,
    event: Option<usize>,
    state: RequestState,
}

#[derive(Clone, Copy, Debug)]
enum RequestState {
    Waiting,
    Running { since_us: u64, is_slow: bool, serial: u64 },
}

#[derive(Debug)]
struct EventShare {
    permits: Share,
    waiting: usize,
    waiting_max: usize,
}

impl EventShare {
    fn new(limits: &FairLimits, max: usize) -> Self {
        let waiting_max = FairLimits::event_waiting(max);
        Self { permits: limits.reserving(max), waiting: 0, waiting_max }
    }
}

/// An attempt that started as a quick one, remembered until it ends or turns slow.
#[derive(Debug)]
struct QuickStart {
    since_us: u64,
    request: usize,
    serial: u64,
}

/// The fair queue.
#[derive(Debug)]
pub struct FairQueue {
    limits: FairLimits,
    total: Share,
    owners: Owners,
    events: Slab<EventShare>,
    requests: Slab<Request>,
    quick_starts: VecDeque<QuickStart>,
    starts: u64,
    waiting: usize,
    /// Changes when a share that several apps have in common becomes available.
    generation: u64,
}

impl FairQueue {
    /// Creates a queue without owners.
    pub fn new(limits: FairLimits) -> Self {
        let mut events = Slab::new();
        let mut of_replays = EventShare::new(&limits, limits.replay);
        of_replays.permits = of_replays.permits.of_replays();
        let replays = events.insert(of_replays);
        debug_assert_eq!(replays, REPLAYS, "it is the first one");
        Self {
            total: limits.reserving(limits.total),
            owners: Owners::default(),
            events,
            requests: Slab::new(),
            quick_starts: VecDeque::new(),
            starts: 0,
            waiting: 0,
            generation: 0,
            limits,
        }
    }

    /// Adds an endpoint; its owners are added with their first endpoint.
    pub fn add_endpoint(&mut self, owners: &EndpointOwners<'_>) -> EndpointId {
        self.owners.add_endpoint(owners, &self.limits)
    }

    /// Removes an endpoint that has no request.
    pub fn remove_endpoint(&mut self, id: EndpointId) {
        self.owners.remove_endpoint(id.0);
    }

    /// Adds an event whose deliveries share a part of the permits.
    pub fn add_event(&mut self) -> EventShareId {
        EventShareId(self.events.insert(EventShare::new(&self.limits, self.limits.event)))
    }

    /// Removes an event that has no request.
    pub fn remove_event(&mut self, id: EventShareId) {
        if id != EventShareId::REPLAYS {
            self.events.try_remove(id.0);
        }
    }

    /// Requests a permit for an attempt at an endpoint.
    pub fn request(
        &mut self,
        endpoint: EndpointId,
        event: Option<EventShareId>,
        patience: Patience,
        now_us: u64,
    ) -> Response {
        self.turn_slow(now_us);
        let (endpoint, event) = (endpoint.0, event.map(|event| event.0));
        if self.admits(endpoint, event) {
            let request = Request { endpoint, event, state: RequestState::Waiting };
            let id = self.requests.insert(request);
            self.start(id, now_us);
            return Response::Granted(RequestId(id));
        }
        if let Some(limit) = self.waiting_limit(endpoint, event, patience, now_us) {
            return Response::Refused(limit);
        }
        let id = self.requests.insert(Request { endpoint, event, state: RequestState::Waiting });
        self.owners.enqueue(endpoint, Waiting { request: id, event, since_us: now_us });
        self.count_waiting(event, 1);
        Response::Waiting(RequestId(id))
    }

    /// Ends a request that waits or runs; `is_measured` if an attempt was made. Appends the
    /// requests that get a permit in turn.
    pub fn finish(
        &mut self,
        id: RequestId,
        is_measured: bool,
        now_us: u64,
        granted: &mut Vec<RequestId>,
    ) {
        self.turn_slow(now_us);
        let Some(request) = self.requests.try_remove(id.0) else { return };
        match request.state {
            RequestState::Waiting => {
                self.owners.dequeue(request.endpoint, id.0, request.event);
                self.count_waiting(request.event, -1);
            }
            RequestState::Running { since_us, is_slow, .. } => {
                let is_replay = is_replay(request.event);
                self.release(&request, AttemptKind { is_slow, is_replay });
                if is_measured {
                    let is_quick = now_us.saturating_sub(since_us) < SLOW_US;
                    self.owners.measured(request.endpoint, is_quick);
                }
            }
        }
        self.grant_waiting(now_us, granted);
    }

    /// Returns how many permits are in use.
    pub fn permit_use(&self) -> PermitUse {
        PermitUse {
            running: self.total.running(),
            slow: self.total.slow(),
            max: self.total.max(),
            waiting: self.waiting,
        }
    }

    /// Counts attempts as slow that run for too long.
    fn turn_slow(&mut self, now_us: u64) {
        while let Some(start) = self.quick_starts.front() {
            let request = self.requests.get_mut(start.request);
            let running = request.and_then(|request| match &mut request.state {
                RequestState::Running { is_slow, serial, .. } if *serial == start.serial => {
                    Some((request.endpoint, request.event, is_slow))
                }
                _ => None,
            });
            if let Some((endpoint, event, is_slow)) = running {
                if now_us.saturating_sub(start.since_us) < SLOW_US {
                    return;
                }
                *is_slow = true;
                self.total.turn_slow();
                if let Some(event) = event.and_then(|event| self.events.get_mut(event)) {
                    event.permits.turn_slow();
                }
                self.owners.shares_of(endpoint, Share::turn_slow);
            }
            self.quick_starts.pop_front();
        }
    }

    /// Returns whether a request is within all shares.
    fn admits(&self, endpoint: usize, event: Option<usize>) -> bool {
        let is_slow = self.owners.is_slow(endpoint);
        let kind = AttemptKind { is_slow, is_replay: is_replay(event) };
        self.total.admits(kind)
            && event_admits(&self.events, kind, event)
            && self.owners.admits(endpoint, kind)
    }

    /// Returns the limit that forbids a request to wait. Waiting replays count to the limits of replays
    /// only.
    fn waiting_limit(
        &self,
        endpoint: usize,
        event: Option<usize>,
        patience: Patience,
        now_us: u64,
    ) -> Option<WaitingLimit> {
        let is_replay = is_replay(event);
        let queue = self.owners.queue_of(endpoint, is_replay)?;
        let stalled_us = queue.stalled_us(now_us);
        let stalled_us = if stalled_us < STALL_MIN_US { 0 } else { stalled_us };
        let attempt_us = patience.attempt_us.max(stalled_us);
        let expected_us = expected_wait_us(queue.ahead, attempt_us, self.limits.endpoint);
        if queue.endpoint_waiting >= self.limits.endpoint_waiting
            || expected_us > patience.timeout_us
        {
            return Some(WaitingLimit::Endpoint);
        }
        // Beyond its share, an app may use waiting places for as long as they are free again soon.
        let expected_us =
            expected_us.max(expected_wait_us(queue.app_waiting, attempt_us, self.limits.app));
        let is_full = queue.app_waiting >= self.limits.app_waiting;
        if !is_replay && is_full && expected_us > patience.timeout_us / 2 {
            return Some(WaitingLimit::App);
        }
        let event = event.and_then(|event| self.events.get(event));
        event.is_some_and(|event| event.waiting >= event.waiting_max).then_some(WaitingLimit::Event)
    }

    fn count_waiting(&mut self, event: Option<usize>, change: isize) {
        self.waiting = self.waiting.saturating_add_signed(change);
        if let Some(event) = event.and_then(|event| self.events.get_mut(event)) {
            event.waiting = event.waiting.saturating_add_signed(change);
        }
    }

    fn start(&mut self, id: usize, now_us: u64) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let is_slow = self.owners.is_slow(request.endpoint);
        self.starts += 1;
        let serial = self.starts;
        request.state = RequestState::Running { since_us: now_us, is_slow, serial };
        let (endpoint, event) = (request.endpoint, request.event);
        let kind = AttemptKind { is_slow, is_replay: is_replay(event) };
        self.total.take(kind);
        if let Some(event) = event.and_then(|event| self.events.get_mut(event)) {
            event.permits.take(kind);
        }
        self.owners.shares_of(endpoint, |share| share.take(kind));
        self.owners.started(endpoint, now_us);
        if !is_slow {
            self.quick_starts.push_back(QuickStart { since_us: now_us, request: id, serial });
        }
    }

    fn release(&mut self, request: &Request, kind: AttemptKind) {
        let mut was_limiting = self.total.is_limiting();
        self.total.release(kind);
        if let Some(event) = request.event.and_then(|event| self.events.get_mut(event)) {
            was_limiting |= event.permits.is_limiting();
            event.permits.release(kind);
        }
        was_limiting |= self.owners.host_is_limiting(request.endpoint);
        self.owners.shares_of(request.endpoint, |share| share.release(kind));
        self.owners.released(request.endpoint);
        self.generation = self.generation.wrapping_add(u64::from(was_limiting));
    }

    /// Grants free permits to waiting requests in turn.
    fn grant_waiting(&mut self, now_us: u64, granted: &mut Vec<RequestId>) {
        while self.waiting > 0 && self.total.running() < self.total.max() {
            let (events, total) = (&self.events, &self.total);
            let admits = |kind, event| total.admits(kind) && event_admits(events, kind, event);
            let Some(next) = self.owners.next(self.generation, admits) else { return };
            self.count_waiting(next.event, -1);
            self.start(next.request, now_us);
            granted.push(RequestId(next.request));
        }
    }
}

fn event_admits(events: &Slab<EventShare>, kind: AttemptKind, event: Option<usize>) -> bool {
    event.and_then(|event| events.get(event)).is_none_or(|event| event.permits.admits(kind))
}

/// Estimates how long `ahead` deliveries take: zero as long as nothing was measured and the first
/// attempts have only started.
fn expected_wait_us(ahead: usize, attempt_us: u64, permits: usize) -> u64 {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    count(ahead).saturating_mul(attempt_us) / count(permits).max(1)
}

#[cfg(test)]
mod tests;
