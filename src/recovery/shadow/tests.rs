//! Counts over streams in memory: exact, whichever replica counts, and whatever happens between two counts.

mod losses;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use switchyard_expr::{CheckProfile, compile};

use super::testing::{GivenShadows, MemoryTallies, follower, follower_over};
use super::{
    Comparison, CountError, Counted, DIFFERENCES_KEPT, Side, Tally, TallyStore, TallyStoreError,
};
use crate::domain::{Handler, OnError, SubscriptionId};
use crate::matcher::{DeliverySettings, EventConditions, EventSubscription, Owner, Subscription};
use crate::recovery::replay::testing::{MemoryStreams, event};
use crate::telemetry::SubscriptionStats;

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
const CREATED: &str = "avi:jira:created:issue";
const LONG: Duration = Duration::from_secs(600);

fn id() -> SubscriptionId {
    SubscriptionId { installation: "inst-1".into(), key: "k".into() }
}

/// A subscription to these types with their filters.
fn subscription(events: &[(&str, &str, OnError)]) -> Arc<Subscription> {
    let events = events.iter().map(|(event_type, filter, on_error)| {
        let conditions = EventConditions::unconditional((*event_type).into());
        let program = compile(filter, CheckProfile::Filter).unwrap().program;
        EventSubscription {
            conditions: Arc::new(EventConditions { on_error: *on_error, ..conditions }),
            program: Some(Arc::new(program)),
        }
    });
    Arc::new(Subscription {
        owner: Arc::new(Owner {
            id: "inst-1".into(),
            app: "app-1".into(),
            app_account_id: None,
            cloud_id: SITE.into(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(Handler::function("sw.fn.i.f"))),
        }),
        key: "k".into(),
        event_subscriptions: events.collect(),
        revision: 1,
        stats: SubscriptionStats::default(),
    })
}

/// The filter matches every second event of one type and fails where there is no number; the shadow
/// matches every third event of two types, and delivers what fails.
fn comparison() -> Comparison {
    let receive = OnError::ReceiveAndLog;
    Comparison {
        id: id(),
        site: SITE.into(),
        name: "first".into(),
        revision: 5,
        after: 10,
        stream_ms: 0,
        filter: subscription(&[(TYPE, "event.a.n % 2 == 0", OnError::default())]),
        shadow: subscription(&[
            (TYPE, "event.a.n % 3 == 0", receive),
            (CREATED, "event.a.n % 3 == 0", receive),
        ]),
    }
}

struct World {
    streams: Arc<MemoryStreams>,
    tallies: Arc<MemoryTallies>,
    shadows: Arc<GivenShadows>,
}

impl World {
    fn new() -> Self {
        let shadows = Arc::new(GivenShadows::default());
        shadows.0.lock().unwrap().push(comparison());
        Self { streams: Arc::default(), tallies: Arc::default(), shadows }
    }

    /// Stores the events with these sequences: every 5th of another site, every 7th of another type,
    /// every 11th without a number, every 13th no JSON.
    fn store(&self, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            let site = if sequence % 5 == 0 { "site-2" } else { SITE };
            let event_type = if sequence % 7 == 0 { CREATED } else { TYPE };
            let body = match sequence {
                _ if sequence % 13 == 0 => "no json".to_owned(),
                _ if sequence % 11 == 0 => "{}".to_owned(),
                _ => format!(r#"{{"a":{{"n":{sequence}}}}}"#),
            };
            self.streams.add(event(sequence, site, event_type, &body));
        }
    }

    async fn count(&self) -> Result<Counted, CountError> {
        let follower = follower(&self.streams, &self.tallies, &self.shadows);
        Ok(follower.count(&id(), LONG).await?.unwrap())
    }
}

/// The counts of the events with these sequences, by the rule of [`World::store`].
fn expected(sequences: std::ops::RangeInclusive<u64>) -> Tally {
    let mut tally = Tally::default();
    for sequence in sequences.filter(|sequence| sequence % 5 != 0) {
        if sequence % 13 == 0 {
            tally.unreadable += 1;
            continue;
        }
        tally.events += 1;
        let (fails, is_first_type) = (sequence % 11 == 0, sequence % 7 != 0);
        let filter = is_first_type && !fails && sequence % 2 == 0;
        let shadow = fails || sequence % 3 == 0;
        tally.filter.matched += u64::from(filter);
        tally.filter.errors += u64::from(fails && is_first_type);
        tally.shadow.matched += u64::from(shadow);
        tally.shadow.errors += u64::from(fails);
        tally.both += u64::from(filter && shadow);
        tally.gained += u64::from(!filter && shadow);
        tally.lost += u64::from(filter && !shadow);
    }
    tally
}

fn counts(tally: &Tally) -> [u64; 9] {
    let Side { matched, errors } = tally.filter;
    let shadow = tally.shadow;
    let Tally { events, both, gained, lost, unreadable, .. } = *tally;
    [events, matched, errors, shadow.matched, shadow.errors, both, gained, lost, unreadable]
}

#[tokio::test(start_paused = true)]
async fn counts_equal_those_of_every_event_evaluated_alone() {
    let world = World::new();
    world.store(1..=900);
    let counted = world.count().await.unwrap();
    assert!(counted.is_up_to_date);
    // Those before the shadow was set are not compared.
    assert_eq!(counts(&counted.tally), counts(&expected(11..=900)));
    assert_eq!(counted.tally.counted, 900);
    let gained = &counted.tally.gained_events;
    assert_eq!(gained.len(), DIFFERENCES_KEPT);
    let last = gained.back().unwrap();
    assert_eq!((last.sequence, last.stored_ms), (891, 891_000));
    assert!(
        gained.iter().zip(gained.iter().skip(1)).all(|(one, next)| one.sequence < next.sequence)
    );
    let lost = counted.tally.lost_events.back().unwrap();
    assert_eq!((lost.sequence, lost.event_type.as_str()), (898, TYPE));
}

#[tokio::test(start_paused = true)]
async fn later_counts_go_on_where_another_replica_ended() {
    let world = World::new();
    let mut stored = 0;
    for last in [10, 11, 12, 300, 301, 777] {
        world.store(stored + 1..=last);
        stored = last;
        // Each count is of a replica that was started again.
        let counted = world.count().await.unwrap();
        assert_eq!(counts(&counted.tally), counts(&expected(11..=last)), "{last}");
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_count_at_once_count_each_event_once() {
    let world = World::new();
    world.store(1..=600);
    let followers: Vec<_> = (0..3)
        .map(|_| Arc::new(follower(&world.streams, &world.tallies, &world.shadows)))
        .collect();
    let mut running = tokio::task::JoinSet::new();
    for follower in followers {
        running.spawn(async move { follower.count(&id(), LONG).await.unwrap().unwrap() });
    }
    for counted in running.join_all().await {
        assert_eq!(counts(&counted.tally), counts(&expected(11..=600)));
    }
    assert_eq!(counts(&world.count().await.unwrap().tally), counts(&expected(11..=600)));
}

#[tokio::test(start_paused = true)]
async fn another_filter_is_compared_from_the_begin_and_an_old_one_by_no_replica() {
    let world = World::new();
    world.store(1..=100);
    world.count().await.unwrap();
    let old = comparison();
    let changed = Comparison {
        name: "second".into(),
        revision: 6,
        filter: Arc::clone(&old.shadow),
        ..comparison()
    };
    *world.shadows.0.lock().unwrap() = vec![changed];
    let tally = world.count().await.unwrap().tally;
    assert_eq!(counts(&tally)[5..8], [expected(11..=100).shadow.matched, 0, 0]);
    // A replica that has not applied the change must not begin again with the old filter.
    *world.shadows.0.lock().unwrap() = vec![old];
    assert_eq!(world.count().await, Err(CountError::Outdated));
    world.shadows.0.lock().unwrap().clear();
    let follower = follower(&world.streams, &world.tallies, &world.shadows);
    assert_eq!(follower.count(&id(), LONG).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn traffic_of_other_sites_stores_no_tally_at_each_look() {
    let world = World::new();
    let foreign = |sequence| event(sequence, "site-2", TYPE, "{}");
    world.store(1..=100);
    let first = world.count().await.unwrap().tally;
    for sequence in 101..=120 {
        world.streams.add(foreign(sequence));
        let counted = world.count().await.unwrap();
        assert!(counted.is_up_to_date && counted.tally.counted == sequence);
    }
    let (stored, revision) = world.tallies.read(&id()).await.unwrap();
    assert_eq!((stored.as_ref(), revision), (Some(&first), 1));
    // A position that is a minute old is stored.
    let old = Tally { at_ms: first.at_ms - 61_000, ..first.clone() };
    world.tallies.replace(&id(), &old, revision).await.unwrap();
    world.count().await.unwrap();
    let (stored, revision) = world.tallies.read(&id()).await.unwrap();
    assert_eq!((stored.unwrap().counted, revision), (120, 3));
    // So is every event of the site, and what was lost of any.
    world.store(121..=121);
    world.count().await.unwrap();
    assert_eq!(world.tallies.read(&id()).await.unwrap().1, 4);
    world.streams.add(foreign(130));
    world.streams.events.lock().unwrap().retain(|sequence, _| *sequence > 129);
    assert_eq!(world.count().await.unwrap().tally.uncounted, 8);
    assert_eq!(world.tallies.read(&id()).await.unwrap().1, 5);
}

/// A store that never answers that a tally is replaced.
struct SlowTallies(Arc<MemoryTallies>);

impl TallyStore for SlowTallies {
    fn read<'a>(
        &'a self,
        id: &'a SubscriptionId,
    ) -> BoxFuture<'a, Result<(Option<Tally>, u64), TallyStoreError>> {
        self.0.read(id)
    }

    fn replace<'a>(
        &'a self,
        _: &'a SubscriptionId,
        _: &'a Tally,
        _: u64,
    ) -> BoxFuture<'a, Result<(), TallyStoreError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn request_counts_nothing_itself_while_the_router_counts_for_others() {
    let world = World::new();
    world.store(1..=100);
    let slow: Arc<dyn TallyStore> = Arc::new(SlowTallies(Arc::clone(&world.tallies)));
    let follower = Arc::new(follower_over(&world.streams, &slow, &world.shadows));
    let busy = Arc::clone(&follower);
    let busy = tokio::spawn(async move { busy.count(&id(), LONG).await });
    tokio::task::yield_now().await;
    // Nothing is stored yet.
    let counted = follower.count(&id(), LONG).await.unwrap().unwrap();
    assert_eq!((counted.tally, counted.is_up_to_date), (comparison().begin(), false));
    let stored = world.count().await.unwrap().tally;
    let counted = follower.count(&id(), LONG).await.unwrap().unwrap();
    assert_eq!((counted.tally, counted.is_up_to_date), (stored, false));
    busy.abort();
}

#[tokio::test(start_paused = true)]
async fn tally_of_a_shadow_that_is_not_compiled_is_stored_again_before_it_is_forgotten() {
    let world = World::new();
    world.store(1..=100);
    let counted = world.count().await.unwrap().tally;
    let follower = follower(&world.streams, &world.tallies, &world.shadows);
    follower.renew(&id()).await.unwrap();
    let (stored, revision) = world.tallies.read(&id()).await.unwrap();
    assert_eq!((stored.as_ref(), revision), (Some(&counted), 1), "it is recent");
    let old = Tally { at_ms: counted.at_ms - 25 * 60 * 60 * 1_000, ..counted.clone() };
    world.tallies.replace(&id(), &old, revision).await.unwrap();
    follower.renew(&id()).await.unwrap();
    let (stored, revision) = world.tallies.read(&id()).await.unwrap();
    let stored = stored.unwrap();
    assert!(stored.at_ms >= counted.at_ms && revision == 3, "{revision}");
    assert_eq!(Tally { at_ms: counted.at_ms, ..stored }, counted);
}

#[tokio::test(start_paused = true)]
async fn a_count_that_takes_too_long_goes_on_later() {
    let world = World::new();
    world.store(1..=800);
    let follower = follower(&world.streams, &world.tallies, &world.shadows);
    let mut rounds = 0;
    loop {
        let counted = follower.count(&id(), Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(counts(&counted.tally), counts(&expected(11..=counted.tally.counted)));
        rounds += 1;
        if counted.is_up_to_date {
            break;
        }
    }
    assert!(rounds > 1, "one round has no time for all events");
}

#[test]
fn stored_tallies_are_read_and_written_unchanged() {
    let difference = serde_json::json!({"sequence": 7, "eventType": TYPE, "storedMs": 7000});
    let stored = serde_json::json!({"v": 1, "comparison": "10-ab-cd", "revision": 5, "counted": 12, "streamMs": 3,
        "atMs": 1, "events": 4, "filter": {"matched": 1, "errors": 0},
        "shadow": {"matched": 2, "errors": 1}, "both": 1, "gained": 1, "lost": 0, "steps": 9,
        "unreadable": 0, "uncounted": 0, "gainedEvents": [difference], "lostEvents": [],
        "ofALaterRelease": 1});
    let read = Tally::read(stored.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), stored);
    let later = stored.to_string().replace(r#""v":1"#, r#""v":2"#);
    assert_eq!(Tally::read(later.as_bytes()).unwrap_err(), "its format is 2, known is 1");
}
