//! What the delivery log knows of the deliveries of a range of events, within a bound of memory.
//!
//! The log is read once, forward from the time of the first event, and then followed. If it knows more
//! deliveries than fit, the view ends at an earlier event, and the next view begins there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use bytes::Bytes;

use super::decide::Fate;
use super::streams::{ReplayStreams, StartAt};
use crate::clock;
use crate::delivery::{StoredDelivery, StoredRecord, StreamPosition};
use crate::domain::{CloudId, DeliveryId, InstallationId};
use crate::event::codec::names;
use crate::recovery::redrive::{DeadLetters, LetterRange, LetterScope, ReadError, StoredLetter};

/// Deliveries of one view, at most: about ten megabytes.
const KNOWN_MAX: usize = 100_000;
/// How much earlier than its event a record may seem to be stored, in milliseconds: the times are those
/// of the servers that lead the two streams.
const SKEW_MS: i64 = 5_000;
/// How long one call reads.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Letters of one read.
const LETTERS_MAX: usize = 2_000;

/// What the log knows of the deliveries of some events of a site.
#[derive(Debug)]
pub struct LogView {
    site: CloudId,
    /// The only installation whose deliveries are known; none for all.
    installation: Option<InstallationId>,
    needle: Option<AhoCorasick>,
    /// The first event that the view is about.
    from: u64,
    /// The first event after those that the view is about.
    end: u64,
    /// Where the log is read on.
    next: StartAt,
    known: HashMap<DeliveryId, Known>,
    known_max: usize,
    /// First dead letter that is not read yet.
    next_letter: u64,
}

/// What is known of one delivery.
#[derive(Debug, Default)]
struct Known {
    /// Sequence of its event.
    sequence: u64,
    /// Whether it was delivered, by its event, a redrive or a replay.
    delivered: bool,
    /// What became of it last, apart from replays.
    own: Option<Last>,
    /// What became of it last in each replay.
    replays: Vec<(Box<str>, Last)>,
    /// Its dead letters.
    letters: Vec<Letter>,
}

/// A dead letter of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) position: StreamPosition,
    /// Replay that made the delivery once more; none if its event made it.
    pub(super) repeated_by: Option<Arc<str>>,
}

/// What a record says of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    Delivered,
    Parked,
    Dead,
    Dropped,
}

impl Last {
    fn of(outcome: &str) -> Option<Self> {
        Some(match outcome {
            "delivered" => Self::Delivered,
            "parked" => Self::Parked,
            "dead" => Self::Dead,
            "dropped" => Self::Dropped,
            _ => return None,
        })
    }

    fn fate(self) -> Fate {
        match self {
            Self::Delivered => Fate::Delivered,
            Self::Parked => Fate::Pending,
            Self::Dead => Fate::Dead,
            Self::Dropped => Fate::Dropped,
        }
    }
}

impl Known {
    fn add(&mut self, replay: Option<&str>, last: Last) {
        self.delivered |= last == Last::Delivered;
        let Some(job) = replay else {
            self.own = Some(last);
            return;
        };
        match self.replays.iter_mut().find(|(of, _)| **of == *job) {
            // The record that a replay handed it over may be stored after the one of its end.
            Some((_, known)) if last != Last::Parked || *known == Last::Parked => *known = last,
            Some(_) => {}
            None => self.replays.push((job.into(), last)),
        }
    }

    /// Returns the fate of the delivery: the strongest one.
    fn fate(&self) -> Fate {
        if self.delivered {
            return Fate::Delivered;
        }
        let lasts = self.own.into_iter().chain(self.replays.iter().map(|(_, last)| *last));
        lasts.map(Last::fate).max().unwrap_or(Fate::Unknown)
    }
}

impl LogView {
    /// Begins a view of the deliveries of a site, or of one installation, for the events from sequence
    /// `from` on, which was stored at `from_ms`.
    #[must_use]
    pub fn new(
        site: CloudId,
        installation: Option<InstallationId>,
        (from, from_ms): (u64, i64),
    ) -> Self {
        let needle = installation.as_ref().and_then(|id| {
            let text = serde_json::Value::from(id.as_str());
            AhoCorasick::new([format!(r#""installation":{text}"#)]).ok()
        });
        Self {
            site,
            installation,
            needle,
            from,
            end: u64::MAX,
            next: StartAt::Time(from_ms.saturating_sub(SKEW_MS)),
            known: HashMap::new(),
            known_max: KNOWN_MAX,
            next_letter: 1,
        }
    }

    /// Whether the view is about an event.
    #[must_use]
    pub fn covers(&self, sequence: u64) -> bool {
        (self.from..self.end).contains(&sequence)
    }

    /// Says that no event before `sequence` is asked about any more.
    pub fn forget_before(&mut self, sequence: u64) {
        self.from = self.from.max(sequence);
    }

    /// Reads the log on, for two seconds at most; returns whether it is read to its end.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn follow(&mut self, streams: &dyn ReplayStreams) -> Result<bool, ReadError> {
        let started = clock::tick();
        loop {
            let batch = streams.read_log(&self.site, self.next).await?;
            batch.records.iter().for_each(|record| self.take(record));
            if let Some(last) = batch.last {
                self.next = StartAt::Sequence(last.saturating_add(1));
            }
            if !batch.has_more {
                return Ok(true);
            }
            if clock::since(started) >= TIME_MAX {
                return Ok(false);
            }
        }
    }

    /// Returns what the log knows of a delivery.
    #[must_use]
    pub fn fate(&self, id: &DeliveryId) -> Fate {
        self.known.get(id).map_or(Fate::Unknown, Known::fate)
    }

    /// Whether a replay handed a delivery over.
    #[must_use]
    pub fn is_handed_over(&self, id: &DeliveryId, job: &str) -> bool {
        let replays = self.known.get(id).map(|known| &known.replays);
        replays.is_some_and(|replays| replays.iter().any(|(of, _)| **of == *job))
    }

    /// Returns the dead letters of a delivery, oldest first, as far as [`LogView::find_letters`] found them.
    pub(super) fn letters(&self, id: &DeliveryId) -> Vec<Letter> {
        self.known.get(id).map(|known| known.letters.clone()).unwrap_or_default()
    }

    /// Finds the dead letters of the deliveries of the view, those stored since the last call; returns
    /// whether all were read, within two seconds.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn find_letters(&mut self, letters: &dyn DeadLetters) -> Result<bool, ReadError> {
        let (started, bounds) = (clock::tick(), letters.bounds().await?);
        let installation = self.installation.as_ref().map(|id| id.token().into_owned());
        let scope = LetterScope { installation, site: None };
        let mut next = Some(self.next_letter.max(bounds.first));
        while let Some(from) = next.filter(|from| *from <= bounds.last) {
            let range = LetterRange { from, to: bounds.last };
            let batch = letters.read(range, &scope, LETTERS_MAX).await?;
            batch.letters.iter().for_each(|letter| self.take_letter(letter));
            next = batch.next;
            self.next_letter = next.unwrap_or(bounds.last.saturating_add(1));
            if next.is_some() && clock::since(started) >= TIME_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_letter(&mut self, letter: &StoredLetter) {
        let Some(id) = letter.text(names::DELIVERY_ID) else { return };
        if let Some(known) = self.known.get_mut(&DeliveryId::from_record(&id)) {
            let repeated_by = letter.text(names::REPEATED_BY).map(|job| (&*job).into());
            known.letters.push(Letter { position: letter.id.0, repeated_by });
        }
    }

    /// Takes the deliveries of a record.
    fn take(&mut self, record: &Bytes) {
        if self.needle.as_ref().is_some_and(|needle| !needle.is_match(record)) {
            return;
        }
        // A record of a later release that this one cannot read says nothing.
        let Ok(record) = serde_json::from_slice::<StoredRecord>(record) else { return };
        let sequence = record.event.sequence;
        if !self.covers(sequence) || record.event.site != self.site {
            return;
        }
        let wanted = |one: &&StoredDelivery| {
            self.installation.as_ref().is_none_or(|id| one.installation == *id)
        };
        for one in record.deliveries.iter().filter(wanted) {
            if let Some(last) = Last::of(&one.outcome) {
                let known = self.known.entry(one.delivery_id(&record.event)).or_default();
                known.sequence = sequence;
                known.add(one.replay.as_deref(), last);
            }
        }
        if self.known.len() > self.known_max {
            self.shorten();
        }
    }

    /// Forgets what is not asked about any more. If that is not enough, ends the view at an earlier event,
    /// so that about half of the deliveries are left.
    fn shorten(&mut self) {
        self.known.retain(|_, known| known.sequence >= self.from);
        if self.known.len() <= self.known_max / 2 {
            return;
        }
        let mut sequences: Vec<u64> = self.known.values().map(|known| known.sequence).collect();
        let middle = sequences.len() / 2;
        let (_, median, _) = sequences.select_nth_unstable(middle);
        // At least one event is left, whatever the number of its deliveries.
        self.end = (*median).max(self.from.saturating_add(1));
        self.known.retain(|_, known| known.sequence < self.end);
    }

    /// Bounds the number of deliveries.
    #[cfg(test)]
    pub(super) fn with_known_max(self, known_max: usize) -> Self {
        Self { known_max, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "site-1";

    fn view() -> LogView {
        LogView::new(SITE.into(), Some("inst-1".into()), (1, 0))
    }

    fn record(sequence: u64, installation: &str, outcome: &str, replay: Option<&str>) -> Bytes {
        let replay = replay.map(|job| format!(r#""replay":"{job}","#)).unwrap_or_default();
        format!(
            r#"{{"v":1,"event":{{"id":"e{sequence}","site":"{SITE}","type":"t","sequence":{sequence}}},"router":"r","started_ms":1,"source":"event","deliveries":[{{"installation":"{installation}","key":"k",{replay}"from":"new","outcome":"{outcome}","attempt":1}}]}}"#
        )
        .into()
    }

    fn id(sequence: u64) -> DeliveryId {
        let subscription =
            crate::domain::SubscriptionId { installation: "inst-1".into(), key: "k".into() };
        DeliveryId::derive(&SITE.into(), &format!("e{sequence}").into(), &subscription)
    }

    fn fate_after(records: &[(&str, Option<&str>)]) -> Fate {
        let mut view = view();
        records.iter().for_each(|(outcome, replay)| {
            view.take(&record(1, "inst-1", outcome, *replay));
        });
        view.fate(&id(1))
    }

    #[test]
    fn fate_is_that_of_the_last_record_unless_it_was_delivered() {
        assert_eq!(fate_after(&[]), Fate::Unknown);
        assert_eq!(fate_after(&[("parked", None)]), Fate::Pending);
        assert_eq!(fate_after(&[("parked", None), ("dead", None)]), Fate::Dead);
        assert_eq!(fate_after(&[("delivered", None), ("dead", None)]), Fate::Delivered);
        assert_eq!(fate_after(&[("later", None)]), Fate::Unknown);
    }

    #[test]
    fn replayed_delivery_is_pending_until_its_replay_ends_it() {
        let dead = ("dead", None);
        let job = Some("job_1");
        assert_eq!(fate_after(&[dead, ("parked", job)]), Fate::Pending);
        assert_eq!(fate_after(&[dead, ("parked", job), ("delivered", job)]), Fate::Delivered);
        assert_eq!(fate_after(&[dead, ("parked", job), ("dropped", job)]), Fate::Dead);
        // The record of the end was stored before the one of the start.
        assert_eq!(fate_after(&[dead, ("dead", job), ("parked", job)]), Fate::Dead);
        // Another replay still has it.
        let other = ("parked", Some("job_2"));
        assert_eq!(fate_after(&[dead, other, ("parked", job), ("dead", job)]), Fate::Pending);
        let mut view = view();
        view.take(&record(1, "inst-1", "parked", job));
        assert!(view.is_handed_over(&id(1), "job_1") && !view.is_handed_over(&id(1), "job_2"));
    }

    #[test]
    fn records_of_others_are_not_taken() {
        let mut view = view();
        view.take(&record(1, "inst-2", "delivered", None));
        view.take(&Bytes::from_static(b"{\"installation\":\"inst-1\""));
        assert!(view.known.is_empty());
    }

    #[test]
    fn view_that_knows_too_much_ends_at_an_earlier_event() {
        let mut view = view().with_known_max(10);
        for sequence in 1..=11 {
            view.take(&record(sequence, "inst-1", "dead", None));
        }
        assert!(view.covers(5) && !view.covers(6), "{}", view.end);
        assert_eq!(view.known.len(), 5);
        view.take(&record(9, "inst-1", "dead", None));
        assert_eq!(view.fate(&id(9)), Fate::Unknown, "the next view is about it");
        for _ in 0..3 {
            view.take(&record(1, "inst-1", "delivered", None));
        }
        assert_eq!(view.fate(&id(1)), Fate::Delivered);
    }
}
