//! The decision of the trimmer, on models of a stream.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Sequence and storage time of each event of a stream.
type Stored = BTreeMap<u64, i64>;

const SIZE: u64 = 100;

fn fill(stored: &Stored, last: u64) -> StreamFill {
    let messages = stored.len() as u64;
    let oldest = stored.first_key_value();
    StreamFill {
        first: oldest.map_or(last + 1, |(sequence, _)| *sequence),
        last,
        messages,
        bytes: messages * SIZE,
        oldest_ms: oldest.map_or(0, |(_, time)| *time),
    }
}

fn run(stored: &Stored, input: &TrimInput) -> TrimStep {
    let mut round = TrimRound::new(input);
    loop {
        match round.step() {
            TrimStep::Probe(from) => {
                let found = stored.range(from..).next();
                round.probed(found.map(|(s, t)| ProbedEvent { sequence: *s, stored_ms: *t }));
            }
            done => return done,
        }
    }
}

/// A stream of `count` events, one each second from time 0.
fn stream(count: u64) -> Stored {
    (1..=count).map(|sequence| (sequence, i64::try_from(sequence).unwrap() * 1000)).collect()
}

fn input(stored: &Stored, last: u64, floor: Option<u64>) -> TrimInput {
    TrimInput {
        fill: fill(stored, last),
        floor,
        limits: TrimLimits { bytes_max: 10_000, age_max_ms: Some(20_000) },
        needed: NeededSpace::default(),
        now_ms: i64::try_from(last).unwrap() * 1000,
    }
}

#[test]
fn acknowledged_events_above_the_age_are_purged() {
    let stored = stream(60);
    let purge = TrimStep::Purge { below: 40, reason: TrimReason::Age };
    assert_eq!(run(&stored, &input(&stored, 60, Some(60))), purge);
    let up_to_floor = TrimStep::Purge { below: 31, reason: TrimReason::Age };
    assert_eq!(run(&stored, &input(&stored, 60, Some(30))), up_to_floor);
    assert_eq!(run(&stored, &input(&stored, 60, Some(0))), TrimStep::Keep);
    assert_eq!(run(&stored, &input(&stored, 60, None)), TrimStep::Keep);
    assert_eq!(run(&stored, &input(&stored, 60, Some(61))), TrimStep::Keep, "writes were lost");
}

#[test]
fn deleted_sequences_do_not_stop_the_search() {
    let mut stored = stream(60);
    stored.retain(|sequence, _| *sequence < 5 || *sequence > 50);
    let purge = TrimStep::Purge { below: 5, reason: TrimReason::Age };
    match run(&stored, &input(&stored, 60, Some(60))) {
        TrimStep::Purge { below, .. } => assert!((5..=51).contains(&below), "{below}"),
        other => panic!("{other:?} instead of {purge:?}"),
    }
}

#[test]
fn bytes_above_the_share_are_purged_oldest_first() {
    let stored = stream(90);
    let mut input = input(&stored, 90, Some(90));
    input.limits.age_max_ms = None;
    let purge = TrimStep::Purge { below: 21, reason: TrimReason::Bytes };
    assert_eq!(run(&stored, &input), purge);
    input.floor = Some(10);
    let up_to_floor = TrimStep::Purge { below: 11, reason: TrimReason::Bytes };
    assert_eq!(run(&stored, &input), up_to_floor);
    input.limits.bytes_max = 20_000;
    assert_eq!(run(&stored, &input), TrimStep::Keep);
}

#[test]
fn refused_publisher_gets_its_space_even_below_the_share() {
    let stored = stream(60);
    let mut input = input(&stored, 60, Some(60));
    input.limits.age_max_ms = None;
    assert_eq!(run(&stored, &input), TrimStep::Keep);
    input.needed.bytes = 4_500;
    let purge = TrimStep::Purge { below: 51, reason: TrimReason::Bytes };
    assert_eq!(run(&stored, &input), purge, "two such events fit next to what is kept");
    input.needed = NeededSpace { bytes: 100, storage_full: true };
    let tenth = TrimStep::Purge { below: 7, reason: TrimReason::Bytes };
    assert_eq!(run(&stored, &input), tenth);
}

#[test]
fn next_round_comes_before_the_stream_can_fill() {
    let fill = fill(&stream(60), 60);
    assert_eq!(next_round(&fill, 10_000, 0), ROUND_INTERVAL_MAX);
    assert_eq!(next_round(&fill, 10_000, 1_000), Duration::from_secs(1));
    assert_eq!(next_round(&fill, 10_000, u64::MAX), ROUND_INTERVAL_MIN);
}

proptest! {
    #[test]
    fn nothing_beyond_the_floor_is_purged(
        count in 0_u64..200,
        deleted in proptest::collection::btree_set(0_u64..200, 0..40),
        floor in proptest::option::of(0_u64..300),
        bytes_max in 0_u64..30_000,
        age_max_ms in proptest::option::of(-5_i64..300_000),
        needed_bytes in prop_oneof![Just(0), 0_u64..40_000, Just(u64::MAX)],
        storage_full: bool,
        now_ms in prop_oneof![0_i64..400_000, Just(i64::MAX), Just(i64::MIN)],
        answers in proptest::collection::vec(
            proptest::option::of((any::<u64>(), any::<i64>())), 0..70),
    ) {
        let mut stored = stream(count);
        stored.retain(|sequence, _| !deleted.contains(sequence));
        let input = TrimInput {
            fill: fill(&stored, count),
            floor,
            limits: TrimLimits { bytes_max, age_max_ms },
            needed: NeededSpace { bytes: needed_bytes, storage_full },
            now_ms,
        };
        let end = floor.filter(|floor| *floor <= count).map_or(0, |floor| floor + 1);
        // With the answers of the stream, and with any answers at all.
        let mut wild = TrimRound::new(&input);
        let mut answers = answers.into_iter();
        let wild = loop {
            match wild.step() {
                TrimStep::Probe(_) => {
                    let found = answers.next().flatten();
                    wild.probed(found.map(|(sequence, stored_ms)| ProbedEvent { sequence, stored_ms }));
                }
                done => break done,
            }
        };
        for step in [run(&stored, &input), wild] {
            if let TrimStep::Purge { below, .. } = step {
                prop_assert!(below <= end, "{below} is beyond {floor:?} of {count}");
                prop_assert!(below > input.fill.first, "an empty purge");
            }
        }
    }

    #[test]
    fn age_alone_purges_exactly_the_old_acknowledged_events(
        count in 1_u64..200,
        deleted in proptest::collection::btree_set(0_u64..200, 0..40),
        floor in 0_u64..200,
        age_s in 0_i64..300,
    ) {
        let mut stored = stream(count);
        stored.retain(|sequence, _| !deleted.contains(sequence));
        let floor = floor.min(count);
        let mut input = input(&stored, count, Some(floor));
        input.limits = TrimLimits { bytes_max: u64::MAX, age_max_ms: Some(age_s * 1000) };
        let cutoff = input.now_ms - age_s * 1000;
        let below = match run(&stored, &input) {
            TrimStep::Purge { below, .. } => below,
            _ => 0,
        };
        for (sequence, time) in &stored {
            let is_purged = *sequence < below;
            prop_assert_eq!(is_purged, *time < cutoff && *sequence <= floor, "{}", sequence);
        }
    }
}
