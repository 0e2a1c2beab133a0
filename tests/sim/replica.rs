//! State of one router process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use switchyard::delivery::state_machines::{
    AppHostBreaker, Breaker, EndpointBreakers, EndpointOwners, EventShareId, FairLimits, FairQueue,
    Lane, RequestId, ShareLedger, host_breaker,
};
use switchyard::delivery::{
    AttemptOutcome, BEAT_INTERVAL_MAX, CURRENT_GAP_MAX, Delivery, DriftDetector, Gap,
    PauseDetector, ReplicaChanges, ShareOwner,
};

use crate::broker::{Letter, Pair, ParkedMessage, Source};
use crate::counting::{Known, dead_letter_limits, parking_limits};
use crate::dice::Ms;
use crate::examination::Examination;
use crate::fixture;
use crate::scenario::Scenario;
use crate::world::{ACK_WAIT, Action, Local};

/// A message in work: acknowledged once all of its deliveries are accounted for.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) received: Ms,
    /// Deliveries that are not accounted for.
    pub(crate) left: usize,
    /// Share of the permits of an event with many deliveries.
    pub(crate) share: Option<EventShareId>,
    /// Who pays for the parked record; none if the delivery is parked again.
    pub(crate) place: Option<ShareOwner>,
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
    /// No permit was requested yet.
    New,
    Waiting(RequestId),
    /// It has a permit and waits for the registry, or is attempted.
    Permitted(RequestId, Option<AttemptOutcome>),
    /// It is published; `place` is taken for it until it is confirmed.
    Publishing(Option<Place>),
}

/// A place in a stream.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Parking(ShareOwner),
    DeadLetters(ShareOwner),
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
    /// What its process knew of the shares when it took the place.
    pub(crate) known: Arc<Known>,
    pub(crate) tries: u32,
}

/// A change of the registry on its way to a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegistryChange {
    pub(crate) trigger: usize,
    pub(crate) is_live: bool,
    pub(crate) revision: u64,
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
    pauses: PauseDetector,
    last_beat: Ms,
    /// What waits until the registry has caught up after a stop.
    pub(crate) held: Vec<Local>,
    /// When the last change of the registry reaches it: changes come in order.
    pub(crate) watched: Ms,
    /// Changes of the registry on their way to it.
    pub(crate) watch: VecDeque<RegistryChange>,
    /// Revision of its view of the registry.
    pub(crate) revision: u64,
    /// Its view of the registry.
    pub(crate) live: Vec<bool>,
    pub(crate) handles: BTreeMap<u64, Handle>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) queue: FairQueue,
    /// Task of each request for a permit.
    pub(crate) requests: BTreeMap<RequestId, u64>,
    pub(crate) lanes: Vec<Lane<()>>,
    pub(crate) examination: Examination,
    pub(crate) shares: ShareLedger,
    pub(crate) others: ReplicaChanges,
    pub(crate) drift: DriftDetector,
    pub(crate) known: Arc<Known>,
    /// Places that it gave back since it wrote its changes, by installation.
    pub(crate) given_back: Vec<usize>,
    pub(crate) is_count_planned: bool,
    pub(crate) is_trim_planned: bool,
    /// Messages on their way to it or in work, by source.
    pub(crate) in_flight: [usize; 2],
    pub(crate) last_id: u64,
}

impl Replica {
    pub(crate) fn new(scenario: &Scenario, incarnation: u64, limits: FairLimits) -> Self {
        let endpoint_max = limits.endpoint;
        let mut queue = FairQueue::new(limits);
        let lanes = lanes(scenario, &mut queue, endpoint_max);
        Self {
            incarnation,
            is_up: true,
            stalled: None,
            deferred: Vec::new(),
            pauses: PauseDetector::new(ACK_WAIT),
            last_beat: 0,
            held: Vec::new(),
            watched: 0,
            watch: VecDeque::new(),
            revision: 0,
            live: vec![false; scenario.triggers.len()],
            handles: BTreeMap::new(),
            tasks: BTreeMap::new(),
            queue,
            requests: BTreeMap::new(),
            lanes,
            examination: Examination::default(),
            shares: ShareLedger::new(parking_limits(scenario), dead_letter_limits(scenario)),
            others: ReplicaChanges::default(),
            drift: DriftDetector::default(),
            known: Arc::default(),
            given_back: vec![0; scenario.installations],
            is_count_planned: false,
            is_trim_planned: false,
            in_flight: [0, 0],
            last_id: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Starts the beats of a process that starts now.
    pub(crate) fn first_beat(&mut self, now: Ms) {
        self.last_beat = now;
        self.pauses.beat(now);
    }

    /// Returns the gap that the first beat after a stop finds; the last one before it was `offset`
    /// before `since`. The beats of the time before the stop find nothing.
    pub(crate) fn beat_after_stop(&mut self, since: Ms, offset: Ms, now: Ms) -> Gap {
        let step = Ms::try_from(CURRENT_GAP_MAX.as_millis()).unwrap_or(1);
        let last = (since - offset).max(self.last_beat);
        while self.last_beat < last {
            self.last_beat = last.min(self.last_beat + step);
            self.pauses.beat(self.last_beat);
        }
        self.last_beat = now;
        self.pauses.beat(now)
    }

    /// Whether the registry may have missed changes in a stop.
    pub(crate) fn is_behind(&self) -> bool {
        self.pauses.is_catching_up()
    }

    pub(crate) fn pauses(&self) -> &PauseDetector {
        &self.pauses
    }

    /// Returns how many deliveries have a permit.
    pub(crate) fn permitted(&self) -> usize {
        let has_permit = |task: &&Task| matches!(task.stage, Stage::Permitted(..));
        self.tasks.values().filter(has_permit).count()
    }

    /// Drops all messages in work, unacknowledged, with the permits and places of their deliveries.
    /// Returns the owners of places that may be used nevertheless.
    pub(crate) fn drop_held(&mut self, now: Ms) -> Vec<Place> {
        let now_us = micros(now);
        let mut places = Vec::new();
        // In the order of their requests; what is granted in turn is dropped as well.
        for task in std::mem::take(&mut self.tasks).into_values() {
            match task.stage {
                Stage::New => {}
                Stage::Waiting(request) | Stage::Permitted(request, _) => {
                    self.queue.finish(request, false, now_us, &mut Vec::new());
                }
                Stage::Publishing(place) => places.extend(place),
            }
        }
        for place in &places {
            self.give_back(place);
        }
        for handle in std::mem::take(&mut self.handles).into_values() {
            if let Some(share) = handle.share {
                self.queue.remove_event(share);
            }
            places.extend(handle.place.map(Place::Parking));
        }
        self.requests.clear();
        self.held.clear();
        self.examination = Examination::default();
        self.in_flight = [0, 0];
        places
    }

    /// Gives back a place whose message is not stored.
    pub(crate) fn give_back(&mut self, place: &Place) {
        match place {
            Place::Parking(owner) => self.shares.release_parked(owner, crate::counting::one()),
            Place::DeadLetters(owner) => {
                self.shares.end_publishing(owner, crate::counting::one(), false);
            }
        }
    }
}

/// Returns a lane for each endpoint; installations of an app and apps at a host share breakers.
fn lanes(scenario: &Scenario, queue: &mut FairQueue, concurrency: usize) -> Vec<Lane<()>> {
    let mut app_hosts: BTreeMap<(usize, usize), Arc<AppHostBreaker>> = BTreeMap::new();
    let mut hosts: BTreeMap<usize, Arc<Breaker>> = BTreeMap::new();
    let lane = |number: usize| {
        let (app, host) = (scenario.app(number), scenario.host(number));
        let installation = fixture::installation(number);
        let owner = fixture::app(scenario, number);
        let endpoint = queue.add_endpoint(&EndpointOwners {
            app: &owner,
            installation: &installation,
            host: &format!("host-{host}"),
        });
        let app_host = Arc::clone(app_hosts.entry((app, host)).or_default());
        let host = Arc::clone(hosts.entry(host).or_insert_with(|| Arc::new(host_breaker())));
        let breakers = EndpointBreakers::new((owner, installation), app_host, host);
        Lane::new(endpoint, concurrency, breakers, ())
    };
    (0..scenario.installations).map(lane).collect()
}

/// Returns a time as the fair queue takes it.
pub(crate) fn micros(now: Ms) -> u64 {
    u64::try_from(now).unwrap_or(0).saturating_mul(1000)
}

/// Returns a duration of virtual time.
pub(crate) fn duration(length: Ms) -> Duration {
    Duration::from_millis(u64::try_from(length).unwrap_or(0))
}

/// Longest interval between two beats.
pub(crate) fn beat_interval() -> Ms {
    Ms::try_from(BEAT_INTERVAL_MAX.as_millis()).unwrap_or(1)
}

/// Returns the position of a source in counters.
pub(crate) fn position(source: Source) -> usize {
    match source {
        Source::Events => 0,
        Source::Due => 1,
    }
}
