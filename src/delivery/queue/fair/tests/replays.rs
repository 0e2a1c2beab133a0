//! Replays take neither permits nor waiting places that live deliveries could use.

use super::*;

const REPLAYED: Option<EventShareId> = Some(EventShareId::REPLAYS);

#[test]
fn replays_hold_their_share_and_let_others_of_an_endpoint_pass() {
    let mut world = World::new(FairLimits { endpoint: 1, replay: 3, ..limits() });
    let ends: Vec<_> = (0..6).map(|app| world.endpoint(app, 0, app)).collect();
    let responses: Vec<_> =
        ends.iter().enumerate().map(|(app, at)| world.request(app, *at, REPLAYED)).collect();
    let granted = |response: &&Response| matches!(response, Response::Granted(_));
    assert_eq!(responses.iter().filter(granted).count(), 2, "the slow part of three permits");

    let mut world = World::new(FairLimits { endpoint: 1, ..limits() });
    let at = world.endpoint(0, 0, 0);
    let Response::Granted(running) = world.request(0, at, None) else { panic!("no permit") };
    let Response::Waiting(replayed) = world.request(0, at, REPLAYED) else { panic!("it waits") };
    let Response::Waiting(live) = world.request(0, at, None) else { panic!("it waits") };
    assert_eq!(world.finish(running), [live], "the later one, since the first is replayed");
    assert_eq!(world.finish(live), [replayed]);
    world.queue.remove_event(EventShareId::REPLAYS);
    world.finish(replayed);
    assert!(matches!(world.request(0, at, REPLAYED), Response::Granted(_)), "it is never removed");
}

#[test]
fn replays_hold_at_most_half_of_the_permits_of_an_endpoint() {
    let mut world = World::new(FairLimits { endpoint: 4, replay: 16, slow_share: 1.0, ..limits() });
    let at = world.endpoint(0, 0, 0);
    let granted = |response| matches!(response, Response::Granted(_));
    assert_eq!((0..4).filter(|_| granted(world.request(0, at, REPLAYED))).count(), 2);
    assert_eq!((0..4).filter(|_| granted(world.request(0, at, None))).count(), 2);
}

#[test]
fn waiting_replays_make_no_live_delivery_refused() {
    let limits = FairLimits { replay: 16, endpoint_waiting: 20, app_waiting: 20, ..limits() };
    let slow = Patience { attempt_us: 200_000, ..PATIENT };
    let live = |replays: usize| {
        let mut world = World::new(limits.clone());
        let at = world.endpoint(1, 0, 1);
        for _ in 0..2 {
            world.request(1, at, None);
        }
        for _ in 0..replays {
            world.queue.request(at, REPLAYED, slow, 0);
        }
        let request = |_| world.queue.request(at, None, slow, 0);
        let responses: Vec<_> = (0..40).map(request).collect();
        responses.iter().filter(|one| matches!(one, Response::Waiting(_))).count()
    };
    assert_eq!(live(0), 20);
    assert_eq!(live(60), live(0), "as many live deliveries wait as without a replay");
}

#[test]
fn waiting_replays_are_bounded_by_what_the_endpoint_can_take_after_the_live_ones() {
    let mut world = World::new(FairLimits { replay: 16, ..limits() });
    let at = world.endpoint(1, 0, 1);
    let slow = Patience { attempt_us: 200_000, ..PATIENT };
    for _ in 0..12 {
        world.queue.request(at, None, slow, 0);
    }
    let request = |_| world.queue.request(at, REPLAYED, slow, 0);
    let responses: Vec<_> = (0..40).map(request).collect();
    let waiting = responses.iter().filter(|one| matches!(one, Response::Waiting(_))).count();
    assert_eq!(waiting, 11, "ten live ones wait, and 20 attempts are made within two seconds");
    assert_eq!(responses.last(), Some(&Response::Refused(WaitingLimit::Endpoint)));
}
