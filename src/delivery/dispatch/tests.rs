//! Deliveries through lanes: each is accounted for once, whatever its handler does.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bytes::Bytes;

use super::super::testing::{MemoryPorts, delivery_to, function};
use super::super::{EgressGuard, FunctionError, FunctionReply};
use super::*;
use crate::config::Config;
use crate::matcher::{Matcher, Subscription};

const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

fn config() -> config::DeliveryConfig {
    let mut config = Config::defaults().unwrap().delivery;
    config.endpoint_concurrency = 1;
    config.endpoint_queue_max = 1;
    config
}

fn dispatcher(
    config: &config::DeliveryConfig,
    edge: MemoryPorts,
) -> (Arc<Dispatcher>, Arc<MemoryPorts>) {
    let edge = Arc::new(edge);
    let sender = HttpSender::new(config, Arc::new(EgressGuard::new(config).unwrap())).unwrap();
    let ports = Ports {
        channels: ChannelPorts { functions: edge.clone(), keys: Arc::default() },
        parking: edge.clone(),
        dead_letters: edge.clone(),
        jobs: edge.clone(),
        endpoint_reports: mpsc::channel(1).0,
        log: None,
    };
    (Arc::new(Dispatcher::new(config, sender, ports, Random::seeded(1), LiveFeed::default())), edge)
}

fn delivery(installation: &str, event: &str) -> Delivery {
    delivery_to(installation, function("sw.fn.x.main"), event)
}

fn start(
    dispatcher: &Arc<Dispatcher>,
    delivery: Delivery,
) -> tokio::task::JoinHandle<DeliveryOutcome> {
    let dispatcher = Arc::clone(dispatcher);
    tokio::spawn(async move { dispatcher.deliver(delivery, QUEUE_TIMEOUT, None).await.outcome })
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn accepted_delivery_is_delivered_and_counted() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    let delivery = delivery("i", "e1");
    let stats = delivery.subscription.stats.clone();
    assert_eq!(
        dispatcher.deliver(delivery.clone(), QUEUE_TIMEOUT, None).await.outcome,
        DeliveryOutcome::Delivered
    );
    assert_eq!(stats.delivered.load(Relaxed), 1);
    let calls = edge.calls.lock().unwrap();
    assert!(calls[0].contains(&("webhook-id", delivery.id.to_string())));
    assert!(calls[0].contains(&("switchyard-attempt", "1".into())));
    assert!(calls[0].contains(&("switchyard-sequence", "42".into())));
}

#[tokio::test]
async fn failed_attempt_is_parked_until_its_retry() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::NoSubscriber));
    let delivery = delivery("i", "e1");
    let (stats, before) = (delivery.subscription.stats.clone(), clock::now());
    let accounted = dispatcher.deliver(delivery.clone(), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Backoff));
    assert_eq!(stats.failed_attempts.load(Relaxed), 1);
    let records = edge.parked.lock().unwrap();
    assert!(records[0].message_id.starts_with(&format!("{}/2/1/", delivery.id)), "{records:?}");
    let delay = records[0].due.duration_since(before).as_secs_f64();
    assert!((4.0..=6.1).contains(&delay), "5 s, plus or minus a fifth, not {delay}");
}

/// Moves the wall clock of a test back on drop.
struct WallJump;

impl WallJump {
    fn by_hours(hours: i64) -> Self {
        clock::wall_jump::set(SignedDuration::from_hours(hours));
        Self
    }
}

impl Drop for WallJump {
    fn drop(&mut self) {
        clock::wall_jump::set(SignedDuration::ZERO);
    }
}

#[tokio::test]
async fn jump_of_the_wall_clock_moves_no_due_time() {
    for hours in [2, -2] {
        let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
        let before = clock::broker_now();
        let jump = WallJump::by_hours(hours);
        for number in 0..10 {
            edge.answer(Err(FunctionError::NoSubscriber));
            dispatcher.deliver(delivery("i", &format!("e{number}")), QUEUE_TIMEOUT, None).await;
        }
        let accounted =
            dispatcher.deliver(delivery("i", "held"), QUEUE_TIMEOUT, None).await.outcome;
        assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Breaker));
        let mut paused = delivery("i", "paused");
        let subscription = Arc::get_mut(&mut paused.subscription).unwrap();
        Arc::get_mut(&mut subscription.owner).unwrap().settings.is_paused = true;
        let accounted = dispatcher.deliver(paused, QUEUE_TIMEOUT, None).await.outcome;
        assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Paused));
        drop(jump);
        for record in edge.parked.lock().unwrap().iter() {
            let delay = record.due.duration_since(before).as_secs_f64();
            assert!((1.0..=120.0).contains(&delay), "{hours} h: due after {delay} s: {record:?}");
        }
    }
}

#[tokio::test]
async fn wall_clock_that_is_days_ahead_expires_no_delivery() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    let mut paused = delivery("i", "e1");
    let subscription = Arc::get_mut(&mut paused.subscription).unwrap();
    Arc::get_mut(&mut subscription.owner).unwrap().settings.is_paused = true;
    let _jump = WallJump::by_hours(72);
    let accounted = dispatcher.deliver(paused, QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Paused));
    assert!(edge.letters.lock().unwrap().is_empty());
}

#[tokio::test]
async fn request_larger_than_the_broker_allows_is_dead_lettered_at_once() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::TooLarge));
    let accounted = dispatcher.deliver(delivery("i", "e1"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::TooLarge));
}

#[tokio::test]
async fn jump_of_the_wall_clock_neither_opens_nor_prolongs_a_breaker() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    for number in 0..10 {
        edge.answer(Err(FunctionError::NoSubscriber));
        dispatcher.deliver(delivery("i", &format!("e{number}")), QUEUE_TIMEOUT, None).await;
    }
    for hours in [2, -2] {
        let _jump = WallJump::by_hours(hours);
        let accounted =
            dispatcher.deliver(delivery("i", "held"), QUEUE_TIMEOUT, None).await.outcome;
        assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Breaker), "{hours} h");
    }
    assert_eq!(edge.calls.lock().unwrap().len(), 10, "no attempt was made");
}

#[tokio::test]
async fn last_attempt_ends_as_a_dead_letter_with_its_history() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Ok(FunctionReply { body: Bytes::new(), error_code: Some(503) }));
    let mut delivery = delivery("i", "e1");
    delivery.progress.attempt = 9;
    let accounted = dispatcher.deliver(delivery.clone(), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::Exhausted));
    assert_eq!(delivery.subscription.stats.dead.load(Relaxed), 1);
    let letters = edge.letters.lock().unwrap();
    assert_eq!(letters[0].header("switchyard-dlq-reason"), Some("exhausted"));
    assert_eq!(letters[0].header("switchyard-dlq-attempts"), Some("9"));
    assert_eq!(letters[0].header("switchyard-dlq-last-class"), Some("5xx"));
    assert_eq!(letters[0].body, delivery.prepared.event.body);
}

#[tokio::test]
async fn error_reply_of_a_function_counts_like_an_http_status() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Ok(FunctionReply { body: Bytes::new(), error_code: Some(422) }));
    let accounted = dispatcher.deliver(delivery("i", "e1"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::Rejected(422)));
    assert_eq!(edge.letters.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn open_breaker_parks_without_an_attempt_and_affects_no_other_endpoint() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    for number in 0..10 {
        edge.answer(Err(FunctionError::NoSubscriber));
        dispatcher.deliver(delivery("i", &format!("e{number}")), QUEUE_TIMEOUT, None).await;
    }
    let (held, before) = (delivery("i", "held"), clock::now());
    let accounted = dispatcher.deliver(held.clone(), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::Parked(ParkReason::Breaker));
    assert_eq!(edge.calls.lock().unwrap().len(), 10, "no attempt was made");
    assert_eq!(held.subscription.stats.failed_attempts.load(Relaxed), 0);
    let due = edge.parked.lock().unwrap().last().unwrap().clone();
    assert!(
        due.message_id.contains("/1/1/"),
        "the attempt number is unchanged: {}",
        due.message_id
    );
    let delay = due.due.duration_since(before).as_secs_f64();
    assert!((24.0..=45.0).contains(&delay), "when the breaker admits a probe, not after {delay} s");
    let other = delivery_to("j", function("sw.fn.y.main"), "e1");
    let other = dispatcher.deliver(other, QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(other, DeliveryOutcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn full_queue_parks_at_once_and_late_permit_parks_in_time() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::gated());
    let running = start(&dispatcher, delivery("i", "e1"));
    settle().await;
    let waiting = start(&dispatcher, delivery("i", "e2"));
    settle().await;
    let full = dispatcher.deliver(delivery("i", "e3"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(full, DeliveryOutcome::Parked(ParkReason::Full));
    assert_eq!(waiting.await.unwrap(), DeliveryOutcome::Parked(ParkReason::Late));
    edge.gate.as_ref().unwrap().notify_one();
    assert_eq!(running.await.unwrap(), DeliveryOutcome::Delivered);
    let records = edge.parked.lock().unwrap();
    assert!(records.iter().all(|record| record.message_id.contains("/1/1/")), "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn one_installation_never_waits_for_another() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::gated());
    let held = start(&dispatcher, delivery("slow", "e1"));
    settle().await;
    let other = start(&dispatcher, delivery("quick", "e1"));
    settle().await;
    assert_eq!(edge.calls.lock().unwrap().len(), 2, "both attempts run");
    edge.gate.as_ref().unwrap().notify_one();
    edge.gate.as_ref().unwrap().notify_waiters();
    let _ = (held.abort(), other.abort());
}

#[tokio::test]
async fn delivery_is_unaccounted_for_until_its_record_is_stored() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::Timeout));
    edge.parking_blocked.store(true, SeqCst);
    let delivering = start(&dispatcher, delivery("i", "e1"));
    settle().await;
    assert!(!delivering.is_finished());
    delivering.abort();
}

#[tokio::test]
async fn record_that_the_broker_cannot_take_becomes_a_dead_letter() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::Timeout));
    edge.records_too_large.store(true, SeqCst);
    let accounted = dispatcher.deliver(delivery("i", "e1"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::TooLarge));
    assert_eq!(edge.letters.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn body_over_the_limit_is_not_sent() {
    let mut config = config();
    config.payload_max = 10;
    let (dispatcher, edge) = dispatcher(&config, MemoryPorts::default());
    let accounted = dispatcher.deliver(delivery("i", "e1"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::TooLarge));
    assert!(edge.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn permit_is_released_when_its_delivery_is_dropped() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::gated());
    let running = start(&dispatcher, delivery("i", "e1"));
    settle().await;
    running.abort();
    let _ = running.await;
    edge.gate.as_ref().unwrap().notify_one();
    let next = dispatcher.deliver(delivery("i", "e2"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(next, DeliveryOutcome::Delivered);
}

/// Adds a subscription to a matcher, and removes it again.
fn add_and_remove(matcher: &Matcher, subscription: &Arc<Subscription>) {
    let installation = &subscription.owner.id;
    matcher.replace_installation(installation, vec![Arc::clone(subscription)]);
    matcher.replace_installation(installation, Vec::new());
}

#[tokio::test]
async fn delivery_to_a_subscription_that_was_removed_while_it_waited_is_dropped() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::gated());
    let running = start(&dispatcher, delivery("i", "e1"));
    settle().await;
    let waits = delivery("i", "e2");
    let subscription = Arc::clone(&waits.subscription);
    let waiting = start(&dispatcher, waits);
    settle().await;
    add_and_remove(&Matcher::default(), &subscription);
    edge.gate.as_ref().unwrap().notify_one();
    assert_eq!(running.await.unwrap(), DeliveryOutcome::Delivered);
    assert_eq!(waiting.await.unwrap(), DeliveryOutcome::Dropped(DropPolicy::SubscriptionRemoved));
    assert_eq!(edge.calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn delivery_for_several_subscriptions_goes_to_those_that_are_left() {
    let matcher = Matcher::default();
    let mut delivery = delivery("i", "e1");
    let others = ["i", "j", "k"].map(|installation| {
        super::super::testing::delivery_to(installation, function("f"), "e1").subscription
    });
    delivery.coalesced_with = others.to_vec().into();
    assert!(delivery.retain_live());
    assert_eq!(delivery.coalesced_with.len(), 3);
    add_and_remove(&matcher, &delivery.subscription);
    add_and_remove(&matcher, &others[1]);
    assert!(delivery.retain_live());
    assert!(Arc::ptr_eq(&delivery.subscription, &others[0]));
    assert_eq!(delivery.coalesced_with.len(), 1);
    add_and_remove(&matcher, &others[0]);
    add_and_remove(&matcher, &others[2]);
    assert!(!delivery.retain_live());
}

#[tokio::test]
async fn removal_of_a_successor_is_seen_by_deliveries_of_its_predecessor() {
    let matcher = Matcher::default();
    let (mut before, after) = (delivery("i", "e1"), delivery("i", "e1"));
    let successor = Arc::new(Subscription {
        owner: Arc::clone(&after.subscription.owner),
        key: after.subscription.key.clone(),
        event_subscriptions: Vec::new().into(),
        revision: 6,
        stats: before.subscription.stats.clone(),
    });
    for one in [&before.subscription, &successor] {
        matcher.replace_installation(&"i".into(), vec![Arc::clone(one)]);
    }
    assert!(before.retain_live(), "a replaced subscription is not removed");
    matcher.replace_installation(&"i".into(), Vec::new());
    assert!(!before.retain_live());
}

#[tokio::test]
async fn delivery_waits_while_the_process_resumes_from_a_pause() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    let pause = Arc::new(PauseGate::new(Duration::from_secs(3_600)));
    dispatcher.set_pause_gate(Arc::clone(&pause));
    pause.find_pause();
    let held = delivery("i", "e1");
    let subscription = Arc::clone(&held.subscription);
    let waiting = start(&dispatcher, held);
    settle().await;
    assert!(!waiting.is_finished() && edge.calls.lock().unwrap().is_empty());
    add_and_remove(&Matcher::default(), &subscription);
    pause.resume(pause.found().await);
    assert_eq!(waiting.await.unwrap(), DeliveryOutcome::Dropped(DropPolicy::SubscriptionRemoved));
}

#[tokio::test]
async fn delivery_beyond_the_parking_share_is_a_dead_letter() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::Timeout));
    edge.parking_share_used.store(true, SeqCst);
    let accounted = dispatcher.deliver(delivery("i", "e1"), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::BacklogFull));
    let letters = edge.letters.lock().unwrap();
    assert_eq!(letters[0].header("switchyard-dlq-reason"), Some("backlog_full"));
}

#[tokio::test]
async fn delivery_beyond_both_shares_is_dropped() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::default());
    edge.answer(Err(FunctionError::Timeout));
    edge.parking_share_used.store(true, SeqCst);
    edge.dead_letter_share_used.store(true, SeqCst);
    let delivery = delivery("i", "e1");
    let accounted = dispatcher.deliver(delivery.clone(), QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::Dropped(DropPolicy::ShareExceeded));
    assert_eq!(delivery.subscription.stats.dead.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn delivery_that_waited_too_long_expires() {
    let (dispatcher, edge) = dispatcher(&config(), MemoryPorts::gated());
    let running = start(&dispatcher, delivery("i", "e1"));
    settle().await;
    let mut old = delivery("i", "e2");
    old.progress.first_seen = clock::now() - SignedDuration::from_hours(25);
    let accounted = dispatcher.deliver(old, QUEUE_TIMEOUT, None).await.outcome;
    assert_eq!(accounted, DeliveryOutcome::DeadLettered(DeadLetterReason::Expired));
    assert!(edge.parked.lock().unwrap().is_empty());
    running.abort();
}
