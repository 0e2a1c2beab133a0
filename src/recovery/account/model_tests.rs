//! The fold against the model, with and without losses, and the numbers of records against processes
//! that are killed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::{RecordedOutcome, State};
use super::fold::{Fold, Scope};
use super::model::{Dice, Id, Key, Record, World};
use super::numbers::{RecordNumber, RecordNumbers};
use super::presence::Presence;
use super::record::{AccountRecord, RecordedDelivery, RecordedEvent};
use super::sheet::DeliveryCounts;

const STORED_MS: i64 = 1_000;

fn id_text(id: Id) -> String {
    format!("dlv_{}_{}", id.0, id.1)
}

fn read(record: &Record) -> AccountRecord<'static> {
    let delivery = |(key, outcome): &(Key, RecordedOutcome)| RecordedDelivery {
        installation: format!("i{}", key.0.1).into(),
        key: "k".into(),
        also: Vec::new(),
        id: Some(id_text(key.0)),
        replay: key.1.map(|job| format!("job_{job}")),
        from: record.from.into(),
        outcome: *outcome,
    };
    AccountRecord {
        event: RecordedEvent {
            id: format!("e{}", record.event).into(),
            site: Cow::Borrowed("s"),
            sequence: record.event,
            stored_ms: Some(STORED_MS),
        },
        router: Cow::Borrowed("r"),
        started_ms: record.started_ms,
        delivery_count: 1,
        erased: Vec::new(),
        deliveries: record.entries.iter().map(delivery).collect(),
        copied_by: None,
    }
}

fn fold(world: &World) -> (Fold, Presence) {
    let scope = Scope { from_ms: 0, until_ms: 2_000, site: None, installation: None, key: None };
    let mut fold = Fold::new(scope);
    let take_all = |fold: &mut Fold| {
        for (at, record) in world.log.iter().enumerate() {
            fold.take(at as u64, &read(record)).unwrap();
        }
    };
    take_all(&mut fold);
    if fold.needs_second() {
        fold = fold.second();
        take_all(&mut fold);
    }
    let presence = Presence {
        parked: world.parked.iter().map(|one| fold.id_hash(&id_text(one.key.0))).collect(),
        letters: world.letters.values().map(|id| fold.id_hash(&id_text(*id))).collect(),
        expired_before_ms: 0,
    };
    (fold, presence)
}

fn folded_counts(world: &World) -> (BTreeMap<String, DeliveryCounts>, u64) {
    let (fold, presence) = fold(world);
    let suspects = fold.suspects(&presence, 0);
    let counts = fold.counts(&presence, &suspects.undetermined);
    let suspects = suspects.number;
    (counts.into_iter().map(|row| (row.subscription.into(), row.counts)).collect(), suspects)
}

/// Lets a world run, and then all work on events end.
fn played(seed: u64) -> (World, Dice) {
    let mut dice = Dice(seed);
    let mut world = World::new(12);
    let steps = 50 + dice.roll(400);
    for _ in 0..steps {
        world.step(&mut dice);
    }
    while !world.open.is_empty() || !world.unacknowledged.is_empty() {
        world.begin(&mut dice);
        world.end(&mut dice);
    }
    (world, dice)
}

#[test]
fn fold_equals_the_model_over_crashes_and_repetitions() {
    let (mut repeated, mut pending) = (0, 0);
    for seed in 0..2_000 {
        let (world, _) = played(seed);
        let (counts, suspects) = folded_counts(&world);
        assert_eq!(counts, world.counts(), "seed {seed}");
        assert_eq!(suspects, 0, "seed {seed}: nothing is lost");
        repeated += u64::from(world.log.iter().any(|one| one.started_ms > 40));
        pending += counts.values().map(|row| row.pending).sum::<u64>();
        let total = counts.values().fold(DeliveryCounts::default(), |mut sum, row| {
            sum += *row;
            sum
        });
        let DeliveryCounts { matched, replayed, delivered, dead, dropped, removed, pending, gap } =
            total;
        assert_eq!(matched + replayed, delivered + dead + dropped + removed + pending + gap);
    }
    assert!(repeated > 1_000 && pending > 1_000, "the schedules are not trivial");
}

#[test]
fn exactly_what_is_lost_is_a_gap() {
    let mut lost = 0;
    for seed in 0..2_000 {
        let (mut world, mut dice) = played(seed);
        let before = world.truths();
        for _ in 0..3 {
            if dice.chance(50) && !world.parked.is_empty() {
                let at = dice.roll(world.parked.len());
                let id = world.parked[at].key.0;
                world.parked.retain(|one| one.key.0 != id);
            } else if let Some((letter, _)) = world.letter(&mut dice) {
                world.letters.remove(&letter);
            }
        }
        let gaps: BTreeSet<Key> = world
            .truths()
            .into_iter()
            .filter(|(_, now)| *now == State::Gap)
            .map(|(key, _)| key)
            .collect();
        assert!(gaps.iter().all(|key| before[key] != State::Gap), "seed {seed}");
        lost += gaps.len();
        let (fold, presence) = fold(&world);
        let found: BTreeSet<Key> = fold
            .suspects(&presence, 0)
            .named
            .iter()
            .flat_map(|(id, at)| {
                let entries = &world.log[usize::try_from(*at).unwrap()].entries;
                let is_it = |key: &&(Key, RecordedOutcome)| fold.id_hash(&id_text(key.0.0)) == *id;
                entries.iter().filter(is_it).map(|(key, _)| *key).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, gaps, "seed {seed}");
        let (counts, _) = folded_counts(&world);
        assert_eq!(counts, world.counts(), "seed {seed}");
    }
    assert!(lost > 300, "{lost} losses are few");
}

/// A process that numbers its records: at most 8 are not confirmed.
#[derive(Default)]
struct Writer {
    next: u64,
    unconfirmed: Vec<RecordNumber>,
    confirmed: BTreeSet<u64>,
}

impl Writer {
    fn floor(&self) -> u64 {
        (0..self.next).find(|number| !self.confirmed.contains(number)).unwrap_or(self.next)
    }

    fn begin(&mut self, name: &str) {
        let (number, floor) = (self.next, self.floor());
        self.unconfirmed.push(RecordNumber { series: name.into(), number, floor });
        self.next += 1;
    }

    fn store(&mut self, at: usize) -> RecordNumber {
        let record = self.unconfirmed.swap_remove(at);
        self.confirmed.insert(record.number);
        record
    }
}

#[test]
fn lost_records_are_missing_and_no_others() {
    let (mut deleted, mut noticed) = (0, 0);
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let mut log: Vec<RecordNumber> = Vec::new();
        for process in 0..3 {
            let (mut writer, name) = (Writer::default(), format!("p{process}"));
            for _ in 0..300 {
                if writer.unconfirmed.len() < 8 && dice.chance(55) {
                    writer.begin(&name);
                } else if !writer.unconfirmed.is_empty() {
                    let at = dice.roll(writer.unconfirmed.len());
                    log.push(writer.store(at));
                }
            }
            // Killed: what is not confirmed is stored or not.
            while !writer.unconfirmed.is_empty() {
                let record = writer.store(0);
                if dice.chance(50) {
                    log.push(record);
                }
            }
        }
        let start = dice.roll(log.len() / 2);
        let mut lost = BTreeSet::new();
        for _ in 0..dice.roll(5) {
            let at = start + dice.roll(log.len() - start);
            lost.insert((log[at].series.clone(), log[at].number));
        }
        let is_lost = |one: &&RecordNumber| lost.contains(&(one.series.clone(), one.number));
        let mut numbers = RecordNumbers::default();
        for record in log[start..].iter().filter(|one| !is_lost(one)) {
            assert!(numbers.note(record).unwrap());
            assert!(!numbers.note(record).unwrap(), "a repetition is seen");
        }
        let found: BTreeSet<_> = numbers
            .missing()
            .unwrap()
            .iter()
            .flat_map(|one| (one.first..=one.last).map(|number| (one.series.clone(), number)))
            .collect();
        assert!(found.is_subset(&lost), "seed {seed}: {found:?} of {lost:?}");
        deleted += lost.len();
        noticed += found.len();
    }
    // Not those at the edges of what was read.
    assert!(noticed * 100 > deleted * 85, "{noticed} of {deleted}");
}
