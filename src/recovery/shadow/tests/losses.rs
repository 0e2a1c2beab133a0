//! What is counted when events are lost: deleted, or with their stream or its end.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Counted, World, comparison, counts, expected};

/// No sequence.
const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);

#[tokio::test(start_paused = true)]
async fn events_that_were_deleted_before_they_were_counted_are_said_to_be() {
    let world = World::new();
    world.store(1..=50);
    world.count().await.unwrap();
    world.store(51..=100);
    world.streams.events.lock().unwrap().retain(|sequence, _| *sequence > 60);
    let tally = world.count().await.unwrap().tally;
    assert_eq!(tally.uncounted, 10);
    let mut both = expected(11..=50);
    let rest = expected(61..=100);
    both.events += rest.events;
    both.lost += rest.lost;
    assert_eq!((tally.events, tally.lost), (both.events, both.lost));
}

impl World {
    /// Replaces the events by those with other sequences.
    fn store_only(&self, sequences: RangeInclusive<u64>) {
        self.streams.events.lock().unwrap().clear();
        self.store(sequences);
    }

    /// Creates the stream again, with events of these sequences.
    fn create_again(&self, sequences: RangeInclusive<u64>) {
        self.store_only(sequences);
        *self.streams.created_ms.lock().unwrap() = 1;
    }
}

/// The events that are counted of these two ranges, with the first position, whether a loss is known, and
/// what was not counted.
fn is_counted(counted: &Counted, ranges: [RangeInclusive<u64>; 2]) -> (u64, bool, u64) {
    let [first, second] = ranges.map(|range| counts(&expected(range)));
    let sum: Vec<u64> = first.iter().zip(second).map(|(one, other)| one + other).collect();
    assert_eq!(counts(&counted.tally).to_vec(), sum);
    assert!(counted.is_up_to_date);
    (counted.tally.counted, counted.tally.is_stream_lost, counted.tally.uncounted)
}

#[tokio::test(start_paused = true)]
async fn stream_that_was_created_again_is_counted_from_its_first_event() {
    // Whether it has fewer events than were counted, or more.
    for last in [20, 900] {
        let world = World::new();
        world.store(1..=100);
        world.count().await.unwrap();
        world.create_again(1..=last);
        for _ in 0..2 {
            let counted = world.count().await.unwrap();
            assert_eq!(is_counted(&counted, [11..=100, 1..=last]), (last, true, 0), "{last}");
        }
        let last = last + 30;
        world.store(1..=last);
        let counted = world.count().await.unwrap();
        assert_eq!(is_counted(&counted, [11..=100, 1..=last]), (last, true, 0), "{last}");
    }
    // One that begins later never had what lies before.
    let world = World::new();
    world.store(1..=100);
    world.count().await.unwrap();
    world.create_again(500..=600);
    let counted = world.count().await.unwrap();
    assert_eq!(is_counted(&counted, [11..=100, 500..=600]), (600, true, 0));
}

#[tokio::test(start_paused = true)]
async fn stream_that_was_created_again_before_the_first_count_is_counted_from_its_first_event() {
    for last in [5, 10, 300] {
        let world = World::new();
        world.create_again(1..=last);
        let counted = world.count().await.unwrap();
        assert_eq!(is_counted(&counted, [NONE, 1..=last]), (last, true, 0), "{last}");
    }
}

#[test]
fn sequences_of_a_stream_that_was_created_again_say_nothing_of_the_begin() {
    let is_after = |(at, created_ms)| comparison().is_after(at, created_ms);
    assert_eq!([(10, 0), (11, 0), (1, 4), (11, 4)].map(is_after), [false, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn last_events_that_the_broker_lost_are_not_counted_again_and_later_ones_are() {
    let world = World::new();
    world.store(1..=100);
    world.count().await.unwrap();
    world.store_only(1..=60);
    let counted = world.count().await.unwrap();
    assert_eq!(is_counted(&counted, [11..=100, NONE]), (60, true, 0));
    // Other events have the same sequences now.
    world.store(61..=130);
    let counted = world.count().await.unwrap();
    assert_eq!(is_counted(&counted, [11..=100, 61..=130]), (130, true, 0));

    // Lost with it was the event after which the shadow begins.
    let world = World::new();
    world.store(1..=4);
    assert_eq!(is_counted(&world.count().await.unwrap(), [NONE, NONE]), (4, true, 0));
    world.store(5..=80);
    let counted = world.count().await.unwrap();
    assert_eq!(is_counted(&counted, [5..=20, 21..=80]), (80, true, 0));
}

#[tokio::test(start_paused = true)]
async fn server_that_learns_of_the_last_events_later_makes_none_count_twice() {
    let world = World::new();
    world.store(1..=100);
    world.count().await.unwrap();
    world.store_only(1..=60);
    let streams = Arc::clone(&world.streams);
    let learns = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let late = World { streams, ..World::new() };
        late.store(61..=120);
    });
    let counted = world.count().await.unwrap();
    assert_eq!(is_counted(&counted, [11..=100, 101..=120]), (120, false, 0));
    learns.await.unwrap();
}
