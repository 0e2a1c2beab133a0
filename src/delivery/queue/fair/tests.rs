//! Fair queue: shares are never exceeded, no permit is unused while somebody may have it, and
//! everybody's turn comes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod replays;

const PATIENT: Patience = Patience { timeout_us: 2_000_000, attempt_us: 0 };

fn limits() -> FairLimits {
    FairLimits {
        total: 16,
        app: 8,
        installation: 4,
        host: 8,
        app_host: 6,
        event: 3,
        replay: 3,
        endpoint: 2,
        slow_share: 0.75,
        endpoint_waiting: 50,
        app_waiting: 40,
    }
}

/// A queue and what it granted.
struct World {
    queue: FairQueue,
    now_us: u64,
    /// App, endpoint and event of each open request; whether it runs.
    open: BTreeMap<usize, (usize, EndpointId, Option<usize>, bool)>,
}

impl World {
    fn new(limits: FairLimits) -> Self {
        Self { queue: FairQueue::new(limits), now_us: 0, open: BTreeMap::new() }
    }

    fn endpoint(&mut self, app: usize, installation: usize, host: usize) -> EndpointId {
        let (app, installation) = (format!("app-{app}"), format!("{app}-{installation}"));
        self.queue.add_endpoint(&EndpointOwners {
            app: &app.as_str().into(),
            installation: &installation.as_str().into(),
            host: &format!("host-{host}"),
        })
    }

    /// Makes an endpoint quick.
    fn prove(&mut self, endpoint: EndpointId) {
        let Response::Granted(id) = self.request(0, endpoint, None) else { panic!("no permit") };
        self.finish(id);
    }

    fn request(&mut self, app: usize, at: EndpointId, event: Option<EventShareId>) -> Response {
        let response = self.queue.request(at, event, PATIENT, self.now_us);
        if let Response::Granted(id) | Response::Waiting(id) = response {
            let runs = response == Response::Granted(id);
            self.open.insert(id.0, (app, at, event.map(|event| event.0), runs));
        }
        response
    }

    fn finish(&mut self, id: RequestId) -> Vec<RequestId> {
        let mut granted = Vec::new();
        let runs = self.open.remove(&id.0).is_some_and(|(_, _, _, runs)| runs);
        self.queue.finish(id, runs, self.now_us, &mut granted);
        for id in &granted {
            self.open.get_mut(&id.0).unwrap().3 = true;
        }
        granted
    }

    fn ids(&self, runs: bool) -> Vec<RequestId> {
        let ids = self.open.iter().filter(|(_, request)| request.3 == runs);
        ids.map(|(id, _)| RequestId(*id)).collect()
    }

    /// Number of running requests by a part of their owner.
    fn running<K: Ord>(
        &self,
        key: impl Fn(&(usize, EndpointId, Option<usize>, bool)) -> Option<K>,
    ) -> usize {
        let mut counts = BTreeMap::new();
        for request in self.open.values().filter(|request| request.3) {
            if let Some(key) = key(request) {
                *counts.entry(key).or_insert(0) += 1;
            }
        }
        counts.into_values().max().unwrap_or(0)
    }

    fn check(&self) {
        let limits = &self.queue.limits;
        assert!(self.running(|_| Some(())) <= limits.total);
        assert!(self.running(|request| Some(request.0)) <= limits.app);
        assert!(self.running(|request| Some(request.1.0)) <= limits.endpoint);
        assert!(self.running(|request| request.2) <= limits.event);
        let owner = |at: EndpointId| self.queue.owners.owners_of(at.0);
        assert!(self.running(|request| Some(owner(request.1).1)) <= limits.installation);
        assert!(self.running(|request| Some(owner(request.1).2)) <= limits.host);
        assert!(self.running(|request| Some(owner(request.1).3)) <= limits.app_host);
        let replays_at = |request: &(usize, EndpointId, Option<usize>, bool)| {
            is_replay(request.2).then_some(request.1.0)
        };
        assert!(self.running(replays_at) <= (limits.endpoint / 2).max(1));
        let waiting = self.ids(false);
        assert_eq!(self.queue.waiting, waiting.len());
        for id in waiting {
            let (_, at, event, _) = self.open[&id.0];
            assert!(!self.queue.admits(at.0, event), "{id:?} waits, but is within all shares");
        }
    }
}

#[test]
fn hanging_app_leaves_permits_to_others() {
    let mut world = World::new(limits());
    for installation in 0..10 {
        let at = world.endpoint(1, installation, 1);
        for _ in 0..2 {
            world.request(1, at, None);
        }
    }
    assert_eq!(world.queue.permit_use().running, 4, "three quarters of the app's share of a host");
    for app in 2..8 {
        let at = world.endpoint(app, 0, app);
        let got = world.request(app, at, None);
        assert!(matches!(got, Response::Granted(_)), "{app}: {got:?}");
    }
}

#[test]
fn quick_endpoints_have_a_reserve() {
    let mut world = World::new(limits());
    let quick = world.endpoint(9, 0, 9);
    world.prove(quick);
    for app in 0..8 {
        for host in 0..8 {
            let at = world.endpoint(app, host, host + 10 * app);
            world.request(app, at, None);
        }
    }
    let used = world.queue.permit_use();
    assert_eq!((used.running, used.slow), (12, 12));
    assert!(matches!(world.request(9, quick, None), Response::Granted(_)));
}

#[test]
fn running_attempt_turns_slow_after_a_second() {
    let mut world = World::new(limits());
    let at = world.endpoint(1, 0, 1);
    world.prove(at);
    world.request(1, at, None);
    assert_eq!(world.queue.permit_use().slow, 0);
    world.now_us += SLOW_US;
    world.request(1, at, None);
    assert_eq!(world.queue.permit_use().slow, 2, "its endpoint counts as slow as well");
    for id in world.ids(true) {
        world.finish(id);
    }
    assert_eq!(world.queue.permit_use().slow, 0);
}

#[test]
fn permits_go_round_apps_then_installations_then_endpoints() {
    let limits = FairLimits { total: 1, slow_share: 1.0, ..limits() };
    let mut world = World::new(limits);
    let busy: Vec<_> = (0..3).map(|installation| world.endpoint(1, installation, 1)).collect();
    let other = world.endpoint(2, 0, 2);
    let Response::Granted(mut running) = world.request(1, busy[0], None) else { panic!() };
    for _ in 0..3 {
        for at in &busy {
            world.request(1, *at, None);
        }
    }
    world.request(2, other, None);
    world.request(2, other, None);
    let mut order = Vec::new();
    while let Some(next) = world.finish(running).pop() {
        let (app, at, ..) = world.open[&next.0];
        order.push((app, at.0));
        running = next;
    }
    let apps: Vec<_> = order.iter().map(|(app, _)| *app).collect();
    assert_eq!(apps, [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
    let endpoints: Vec<_> = order.iter().filter(|(app, _)| *app == 1).map(|(_, at)| *at).collect();
    assert_eq!(endpoints, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn wide_event_holds_its_share_and_lets_others_pass() {
    let mut world = World::new(limits());
    let event = world.queue.add_event();
    let ends: Vec<_> = (0..20).map(|app| world.endpoint(app, 0, app)).collect();
    let responses: Vec<_> =
        ends.iter().enumerate().map(|(app, at)| world.request(app, *at, Some(event))).collect();
    let granted = |response: &&Response| matches!(response, Response::Granted(_));
    assert_eq!(responses.iter().filter(granted).count(), 2, "the slow part of three permits");
    let refused = responses.last().unwrap();
    assert_eq!(*refused, Response::Refused(WaitingLimit::Event), "it may not wait without bound");
    assert!(matches!(world.request(19, ends[5], None), Response::Granted(_)), "no event's");
}

#[test]
fn hanging_handlers_of_a_wide_event_leave_a_permit_to_its_quick_ones() {
    let mut world = World::new(limits());
    let quick = world.endpoint(30, 0, 30);
    world.prove(quick);
    let event = world.queue.add_event();
    for app in 0..6 {
        let hanging = world.endpoint(app, 0, app);
        world.request(app, hanging, Some(event));
    }
    world.now_us = 10_000_000;
    assert!(matches!(world.request(30, quick, Some(event)), Response::Granted(_)));
}

#[test]
fn app_whose_turn_is_far_parks_its_deliveries_at_once() {
    let mut world = World::new(limits());
    let ends: Vec<_> = (0..40).map(|number| world.endpoint(1, number, number)).collect();
    let slow = Patience { attempt_us: 300_000, ..PATIENT };
    let mut refused = 0;
    for at in ends.iter().chain(&ends).chain(&ends) {
        let response = world.queue.request(*at, None, slow, 0);
        refused += usize::from(response == Response::Refused(WaitingLimit::App));
    }
    assert_eq!(world.queue.waiting, 40);
    assert_eq!(refused, 120 - 40 - 6, "all but those that wait and run");
}

#[test]
fn burst_for_a_quick_endpoint_may_wait_up_to_the_bound() {
    let mut world = World::new(FairLimits { app_waiting: 5, ..limits() });
    let at = world.endpoint(1, 0, 1);
    let quick = Patience { attempt_us: 1_000, ..PATIENT };
    let waits =
        |world: &mut World| matches!(world.queue.request(at, None, quick, 1), Response::Waiting(_));
    assert_eq!((0..60).filter(|_| waits(&mut world)).count(), 50);
}

#[test]
fn slow_endpoint_queues_only_what_it_can_take_in_time() {
    let waiting = |attempt_us| {
        let mut world = World::new(limits());
        let at = world.endpoint(1, 0, 1);
        let patience = Patience { attempt_us, ..PATIENT };
        for _ in 0..100 {
            world.queue.request(at, None, patience, 1);
        }
        world.queue.waiting
    };
    // Two at once: 20 within two seconds, and one with an empty queue.
    assert_eq!(waiting(200_000), 21);
    assert_eq!(waiting(15_000_000), 1);
}

#[test]
fn stalled_endpoint_counts_as_slow_before_anything_is_measured() {
    let mut world = World::new(limits());
    let at = world.endpoint(1, 0, 1);
    for _ in 0..10 {
        world.request(1, at, None);
    }
    assert_eq!(world.queue.waiting, 8, "nothing was measured, and the first have only started");
    world.now_us = 10_000_000;
    assert_eq!(world.request(1, at, None), Response::Refused(WaitingLimit::Endpoint));
}

#[test]
fn owners_leave_with_their_last_endpoint() {
    let mut world = World::new(limits());
    let ends: Vec<_> = (0..4).map(|number| world.endpoint(number / 2, number, 1)).collect();
    for at in ends {
        world.prove(at);
        world.queue.remove_endpoint(at);
    }
    assert!(world.queue.owners.is_empty());
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Request {
        endpoint: usize,
        event: Option<usize>,
    },
    /// Ends the nth running request.
    Finish(usize),
    /// Ends the nth waiting request.
    Leave(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..24_usize, prop::option::weighted(0.4, 0..4_usize))
            .prop_map(|(endpoint, event)| Step::Request { endpoint, event }),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => (0..1_500_000_u64).prop_map(Step::Pass),
    ]
}

/// Creates 24 endpoints of 4 apps and 12 installations at 3 hosts, 3 events, and the share of replays.
fn populated() -> (World, Vec<(usize, EndpointId)>, Vec<EventShareId>) {
    let mut world = World::new(limits());
    let endpoint = |number: usize| {
        let app = number % 4;
        (app, world.endpoint(app, number % 12, number % 3))
    };
    let endpoints = (0..24).map(endpoint).collect();
    let mut events: Vec<_> = (0..3).map(|_| world.queue.add_event()).collect();
    events.push(EventShareId::REPLAYS);
    (world, endpoints, events)
}

proptest! {
    #[test]
    fn shares_hold_and_no_permit_is_unused(steps in prop::collection::vec(step(), 0..400)) {
        let (mut world, endpoints, events) = populated();
        for step in steps {
            match step {
                Step::Request { endpoint, event } => {
                    let (app, at) = endpoints[endpoint];
                    world.request(app, at, event.map(|event| events[event]));
                }
                Step::Finish(number) | Step::Leave(number) => {
                    let ids = world.ids(matches!(step, Step::Finish(_)));
                    if let Some(id) = ids.get(number % ids.len().max(1)) {
                        world.finish(*id);
                    }
                }
                Step::Pass(us) => world.now_us += us,
            }
            world.check();
        }
        // Each request that waits gets a permit, whatever the others do.
        while let Some(id) = world.ids(true).first().copied() {
            world.finish(id);
            world.check();
        }
        prop_assert!(world.open.is_empty());
        prop_assert_eq!(world.queue.permit_use().slow, 0);
    }

    #[test]
    fn turn_comes_within_a_bounded_number_of_releases(
        busy in 1..4_usize,
        depth in 1..40_usize,
        order in prop::collection::vec(any::<usize>(), 200),
    ) {
        // Busy apps ask again at once whenever they get a permit; the last app asks once.
        let limits = FairLimits { total: 4, slow_share: 1.0, ..limits() };
        let mut world = World::new(limits);
        let ends: Vec<_> = (0..=busy).map(|app| world.endpoint(app, 0, app)).collect();
        for _ in 0..depth {
            for (app, at) in ends.iter().enumerate().take(busy) {
                world.request(app, *at, None);
            }
        }
        let waits = world.request(busy, ends[busy], None);
        let mut releases = 0;
        if let Response::Waiting(id) = waits {
            for number in order {
                let running = world.ids(true);
                let next = running[number % running.len()];
                let app = world.open[&next.0].0;
                world.finish(next);
                releases += 1;
                if world.open[&id.0].3 {
                    break;
                }
                world.request(app, ends[app], None);
            }
            prop_assert!(world.open[&id.0].3, "never granted");
        }
        prop_assert!(releases <= busy + 1, "{} releases", releases);
    }
}
