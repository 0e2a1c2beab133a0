//! What the records of the delivery log say about one delivery, in whatever order they are stored. Pure.
//!
//! Positions in the log say little: the record of an event may be stored after that of its parked
//! delivery, and an erasure copies records to the end. What counts is when the work of a record began.

use super::decide::Fate;
use crate::delivery::StoredDelivery;
use crate::domain::ModuleKey;

/// A parked record that begins no later than this after the end of its delivery does not follow it, in
/// milliseconds: the times are those of two replicas, and a delivery that is handed over is due at once.
const CLOCK_TOLERANCE_MS: i64 = 1_000;

/// What a record says of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LoggedOutcome {
    Delivered,
    Parked,
    /// Dead-lettered, dropped or removed.
    Ended(Ended),
}

/// How a delivery ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ended {
    /// Delivered, to the subscriptions that it was for then.
    Delivered,
    /// Dropped by a policy, or removed by an operator.
    Dropped,
    Dead,
}

impl LoggedOutcome {
    /// Reads the outcome of a record; none if a later release wrote it.
    pub(super) fn parse(outcome: &str) -> Option<Self> {
        Some(match outcome {
            "delivered" => Self::Delivered,
            "parked" => Self::Parked,
            "dead" => Self::Ended(Ended::Dead),
            "dropped" | "removed" => Self::Ended(Ended::Dropped),
            _ => return None,
        })
    }
}

/// All that records say about a delivery.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliveryFacts {
    /// Whether it was delivered, by its event, a redrive or a replay.
    delivered: bool,
    /// For which modules, if its id may be that of other modules, too; empty for its only one.
    delivered_for: Vec<ModuleKey>,
    /// By its event, and by jobs that continued it.
    own: History,
    /// By each replay that made it once more.
    replays: Vec<(Box<str>, History)>,
}

/// What was parked and ended last.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    /// When the work began that parked it last, milliseconds since the epoch.
    parked_ms: Option<i64>,
    /// When the work began that ended it last, and how.
    ended: Option<(i64, Ended)>,
}

impl History {
    fn fate(self) -> Fate {
        match (self.parked_ms, self.ended) {
            (Some(parked_ms), Some((ended_ms, _)))
                if parked_ms > ended_ms.saturating_add(CLOCK_TOLERANCE_MS) =>
            {
                Fate::Pending
            }
            (_, Some((_, Ended::Dead))) => Fate::Dead,
            (_, Some((_, Ended::Dropped))) => Fate::Dropped,
            (Some(_), None) => Fate::Pending,
            (_, Some((_, Ended::Delivered))) | (None, None) => Fate::Unknown,
        }
    }
}

impl DeliveryFacts {
    /// Adds what a record says whose work began at `started_ms`.
    pub(super) fn add(&mut self, one: &StoredDelivery, started_ms: i64, outcome: LoggedOutcome) {
        let history = match one.replay.as_deref() {
            Some(job) => self.history_of(job),
            // Its event made it, not a replay.
            None => Some(&mut self.own),
        };
        let ended = match outcome {
            LoggedOutcome::Parked => None,
            LoggedOutcome::Ended(how) => Some((started_ms, how)),
            LoggedOutcome::Delivered => Some((started_ms, Ended::Delivered)),
        };
        match (ended, history) {
            (Some(_), Some(history)) => history.ended = history.ended.max(ended),
            (None, Some(history)) => history.parked_ms = history.parked_ms.max(Some(started_ms)),
            (_, None) => {}
        }
        if outcome == LoggedOutcome::Delivered {
            self.delivered = true;
            // Otherwise the id is derived from the key: it is that of no other module.
            if one.id.is_some() {
                let keys = std::iter::once(&one.key).chain(&one.also);
                let new = keys.filter(|key| !self.delivered_for.contains(key)).cloned();
                let new: Vec<ModuleKey> = new.collect();
                self.delivered_for.extend(new);
            }
        }
    }

    fn history_of(&mut self, job: &str) -> Option<&mut History> {
        let place = self.replays.iter().position(|(of, _)| **of == *job);
        let place = place.unwrap_or_else(|| {
            self.replays.push((job.into(), History::default()));
            self.replays.len() - 1
        });
        self.replays.get_mut(place).map(|(_, history)| history)
    }

    /// Returns the fate of the delivery for one of its modules: the strongest one. It may have been delivered
    /// for others, and the module was registered or matches since.
    pub(super) fn fate_for(&self, key: &ModuleKey) -> Fate {
        if self.delivered && (self.delivered_for.is_empty() || self.delivered_for.contains(key)) {
            return Fate::Delivered;
        }
        let replays = self.replays.iter().map(|(_, history)| history.fate());
        replays.fold(self.own.fate(), Fate::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as (outcome, replay, begin of the work in seconds).
    type Records<'a> = [(&'a str, Option<&'a str>, i64)];

    fn stored(
        keys: &[&str],
        id: Option<&str>,
        replay: Option<&str>,
        outcome: &str,
    ) -> StoredDelivery {
        let (key, also) = keys.split_first().unwrap();
        let text = serde_json::json!({"installation": "inst-1", "key": key, "also": also, "id": id,
            "replay": replay, "from": "new", "outcome": outcome, "attempt": 1});
        serde_json::from_value(text).unwrap()
    }

    fn fate(records: &Records<'_>) -> Fate {
        let mut facts = DeliveryFacts::default();
        for (outcome, replay, started_s) in records {
            let one = stored(&["k"], None, *replay, outcome);
            if let Some(outcome) = LoggedOutcome::parse(outcome) {
                facts.add(&one, started_s * 1_000, outcome);
            }
        }
        facts.fate_for(&"k".into())
    }

    /// Returns the fate, which no order of the records changes.
    fn fate_in_any_order(records: &Records<'_>) -> Fate {
        let expected = fate(records);
        let mut turned = records.to_vec();
        for _ in 0..records.len() {
            turned.rotate_left(1);
            assert_eq!(fate(&turned), expected, "{turned:?}");
        }
        turned.reverse();
        assert_eq!(fate(&turned), expected, "{turned:?}");
        expected
    }

    #[test]
    fn fate_is_that_of_the_latest_work_wherever_its_record_is_stored() {
        for (records, expected) in [
            (&[][..], Fate::Unknown),
            (&[("later", None, 1)], Fate::Unknown),
            (&[("parked", None, 1)], Fate::Pending),
            (&[("dead", None, 1), ("delivered", None, 9)], Fate::Delivered),
            (&[("delivered", None, 1), ("dead", None, 9)], Fate::Delivered),
            (&[("parked", None, 1), ("parked", None, 5), ("dead", None, 9)], Fate::Dead),
            (&[("dead", None, 1), ("removed", None, 9)], Fate::Dropped),
            (&[("dropped", None, 1), ("dead", None, 9)], Fate::Dead),
            // A redrive has it.
            (&[("parked", None, 1), ("dead", None, 5), ("parked", None, 9)], Fate::Pending),
            (
                &[("dead", None, 1), ("parked", None, 5), ("parked", None, 7), ("dead", None, 9)],
                Fate::Dead,
            ),
        ] {
            assert_eq!(fate_in_any_order(records), expected, "{records:?}");
        }
    }

    #[test]
    fn replayed_delivery_is_pending_until_its_replay_ends_it() {
        let (dead, job) = (("dead", None, 1), Some("job_1"));
        assert_eq!(fate_in_any_order(&[dead, ("parked", job, 5)]), Fate::Pending);
        let delivered = [dead, ("parked", job, 5), ("delivered", job, 6)];
        assert_eq!(fate_in_any_order(&delivered), Fate::Delivered);
        let dropped = [dead, ("parked", job, 5), ("dropped", job, 6)];
        assert_eq!(fate_in_any_order(&dropped), Fate::Dead);
        let other = ("parked", Some("job_2"), 7);
        let both = [dead, other, ("parked", job, 5), ("dead", job, 6)];
        assert_eq!(fate_in_any_order(&both), Fate::Pending, "another replay still has it");
    }

    #[test]
    fn clock_of_another_replica_makes_no_ended_delivery_pending() {
        // It was due at once, and the replica that took it is half a second behind.
        let mut facts = DeliveryFacts::default();
        let one = stored(&["k"], None, None, "dead");
        facts.add(&one, 10_500, LoggedOutcome::Parked);
        facts.add(&one, 10_000, LoggedOutcome::Ended(Ended::Dead));
        assert_eq!(facts.fate_for(&"k".into()), Fate::Dead);
    }

    #[test]
    fn delivery_that_several_modules_share_is_delivered_only_for_those_that_it_was_for() {
        let fates = |records: &[(&[&str], &str, i64)]| {
            let mut facts = DeliveryFacts::default();
            for (keys, outcome, started_s) in records {
                let one = stored(keys, Some("dlv_1"), None, outcome);
                facts.add(&one, started_s * 1_000, LoggedOutcome::parse(outcome).unwrap());
            }
            ["w1", "w2"].map(|key| facts.fate_for(&key.into()))
        };
        use Fate::{Dead, Delivered, Pending, Unknown};
        assert_eq!(fates(&[(&["w1"], "delivered", 1)]), [Delivered, Unknown]);
        assert_eq!(fates(&[(&["w2", "w1"], "delivered", 1)]), [Delivered, Delivered]);
        assert_eq!(
            fates(&[(&["w1"], "parked", 1), (&["w1"], "delivered", 9)]),
            [Delivered, Unknown]
        );
        let both = [(&["w1"][..], "delivered", 1), (&["w1", "w2"], "dead", 9)];
        assert_eq!(fates(&both), [Delivered, Dead]);
        assert_eq!(fates(&[(&["w1", "w2"], "parked", 1)]), [Pending, Pending]);
    }
}
