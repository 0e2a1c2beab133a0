//! What the delivery log knows of the deliveries of a range of events, within a bound of memory.
//!
//! The log is read once, forward from the time of the first event, and then followed. If it knows more
//! deliveries than fit, the view ends at an earlier event, and the next view begins there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;
use bytes::Bytes;

use super::decide::Fate;
use super::examine::rest_after;
use super::fates::{DeliveryFacts, LoggedOutcome};
use super::handed_over::HandedOver;
use super::streams::{LogBounds, ReplayStreams, StartAt};
use crate::clock;
use crate::delivery::{StoredDelivery, StoredRecord};
use crate::domain::{CloudId, DeliveryId, InstallationId, ModuleKey};
use crate::recovery::redrive::ReadError;

/// Deliveries of one view, at most: about ten megabytes.
const KNOWN_MAX: usize = 100_000;
/// How much earlier than its event a record may seem to be stored, in milliseconds: the times are those
/// of the servers that lead the two streams.
const SKEW_MS: i64 = 5_000;
/// How long one call reads.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Records that are taken before other work has its turn.
const RECORDS_AT_ONCE: usize = 100;
/// Interval at which a view looks for records that the log deleted.
const COVERAGE_INTERVAL: Duration = Duration::from_secs(1);

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
    known: HashMap<DeliveryId, KnownDelivery>,
    known_max: usize,
    coverage: LogCoverage,
}

/// Of which events the view has every record.
#[derive(Debug, Default)]
struct LogCoverage {
    /// Those that were stored from then on, milliseconds since the epoch; none before the log was read to
    /// its end.
    from_ms: Option<i64>,
    /// Up to this sequence of the log, every record was seen that was there.
    seen: Option<u64>,
    looked: Option<Instant>,
}

impl LogCoverage {
    fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| clock::since(looked) >= COVERAGE_INTERVAL)
    }

    /// Ends the coverage of all events: there is a record that this release cannot read, so it knows what
    /// this one does not.
    fn end(&mut self) {
        self.from_ms = Some(i64::MAX);
    }

    /// Takes what the log had before it was read to its end, and after. Records that were deleted before
    /// they were seen are those of older events.
    fn take(&mut self, before: &LogBounds, after: &LogBounds) {
        self.looked = Some(clock::tick());
        let has_lost = self.seen.is_none_or(|seen| after.first > seen.saturating_add(1));
        let kept_from_ms = has_lost.then_some(after.kept_from_ms);
        self.from_ms = self.from_ms.max(kept_from_ms).max(after.off_until_ms);
        self.seen = Some(before.last);
    }
}

/// What is known of one delivery.
#[derive(Debug, Default)]
struct KnownDelivery {
    /// First and last sequence of its event, which may be stored twice.
    sequences: Option<(u64, u64)>,
    facts: DeliveryFacts,
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
            coverage: LogCoverage::default(),
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

    /// Reads the log on, for two seconds at most; returns whether it is read to its end. What the job handed
    /// over is noted in `handed_over`, of whatever event it is.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn follow(
        &mut self,
        streams: &dyn ReplayStreams,
        handed_over: &mut HandedOver,
    ) -> Result<bool, ReadError> {
        let started = clock::tick();
        let before = match self.coverage.is_due() {
            true => Some(log_bounds(streams).await?),
            false => None,
        };
        loop {
            let batch = streams.read_log(&self.site, self.next).await?;
            for records in batch.records.chunks(RECORDS_AT_ONCE) {
                let taking = clock::tick();
                records.iter().for_each(|record| self.take(record, handed_over));
                // Live events go first.
                rest_after(taking).await;
            }
            if let Some(last) = batch.last {
                self.next = StartAt::Sequence(last.saturating_add(1));
            }
            if !batch.has_more {
                break;
            }
            if clock::since(started) >= TIME_MAX {
                return Ok(false);
            }
        }
        if let Some(before) = before {
            self.coverage.take(&before, &log_bounds(streams).await?);
        }
        Ok(true)
    }

    /// Whether every record of the deliveries of an event is known that was stored at `stored_ms`.
    pub(super) fn is_complete_for(&self, stored_ms: i64) -> bool {
        self.coverage.from_ms.is_some_and(|from_ms| stored_ms >= from_ms)
    }

    /// Returns what the log knows of a delivery for one of its modules.
    #[must_use]
    pub fn fate(&self, id: &DeliveryId, key: &ModuleKey) -> Fate {
        self.known.get(id).map_or(Fate::Unknown, |known| known.facts.fate_for(key))
    }

    /// Takes the deliveries of a record.
    fn take(&mut self, record: &Bytes, handed_over: &mut HandedOver) {
        if self.needle.as_ref().is_some_and(|needle| !needle.is_match(record)) {
            return;
        }
        let Ok(record) = serde_json::from_slice::<StoredRecord>(record) else {
            return self.coverage.end();
        };
        let sequence = record.event.sequence;
        if record.event.site != self.site {
            return;
        }
        handed_over.note_record(&record);
        if !self.covers(sequence) {
            return;
        }
        let wanted = |one: &&StoredDelivery| {
            self.installation.as_ref().is_none_or(|id| one.installation == *id)
        };
        for one in record.deliveries.iter().filter(wanted) {
            let Some(outcome) = LoggedOutcome::parse(&one.outcome) else {
                self.coverage.end();
                continue;
            };
            let known = self.known.entry(one.delivery_id(&record.event)).or_default();
            let (first, last) = known.sequences.unwrap_or((sequence, sequence));
            known.sequences = Some((first.min(sequence), last.max(sequence)));
            known.facts.add(one, record.started_ms, outcome);
        }
        if self.known.len() > self.known_max {
            self.shorten();
        }
    }

    /// Forgets what is not asked about any more. If that is not enough, ends the view at an earlier event,
    /// so that about half of the deliveries are left.
    fn shorten(&mut self) {
        let from = self.from;
        self.known.retain(|_, known| known.sequences.is_some_and(|(_, last)| last >= from));
        if self.known.len() <= self.known_max / 2 {
            return;
        }
        let firsts = self.known.values().filter_map(|known| Some(known.sequences?.0));
        let mut sequences: Vec<u64> = firsts.collect();
        let middle = sequences.len() / 2;
        let (_, median, _) = sequences.select_nth_unstable(middle);
        // At least one event is left, whatever the number of its deliveries.
        self.end = (*median).max(self.from.saturating_add(1));
        let end = self.end;
        self.known.retain(|_, known| known.sequences.is_some_and(|(first, _)| first < end));
    }

    /// Bounds the number of deliveries.
    #[cfg(test)]
    pub(super) fn with_known_max(self, known_max: usize) -> Self {
        Self { known_max, ..self }
    }
}

async fn log_bounds(streams: &dyn ReplayStreams) -> Result<LogBounds, ReadError> {
    let bounds = streams.log_bounds().await?;
    bounds.ok_or_else(|| ReadError("the delivery log is off".to_owned()))
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

    fn take(view: &mut LogView, record: &Bytes) {
        view.take(record, &mut HandedOver::new(None));
    }

    #[test]
    fn what_the_job_handed_over_is_noted_of_whatever_event() {
        let mut view = LogView::new(SITE.into(), Some("inst-1".into()), (5, 0));
        let mut handed_over = HandedOver::new(Some("job_1"));
        view.take(&record(1, "inst-1", "parked", Some("job_1")), &mut handed_over);
        view.take(&record(2, "inst-1", "parked", Some("job_2")), &mut handed_over);
        assert_eq!(handed_over.sequence_of(&id(1)), Some(1));
        assert_eq!(handed_over.sequence_of(&id(2)), None);
        assert!(view.known.is_empty(), "they are of earlier events");
    }

    #[test]
    fn records_that_were_deleted_unseen_end_the_coverage_of_older_events() {
        let log =
            |first, last, kept_from_ms| LogBounds { first, last, kept_from_ms, off_until_ms: None };
        let mut coverage = LogCoverage::default();
        assert!(coverage.is_due() && coverage.from_ms.is_none());
        coverage.take(&log(1, 10, 100), &log(1, 12, 100));
        assert_eq!(coverage.from_ms, Some(100));
        // Records up to 10 were seen, so their deletion takes nothing away.
        coverage.take(&log(5, 20, 500), &log(11, 20, 700));
        assert_eq!(coverage.from_ms, Some(100));
        coverage.take(&log(22, 40, 900), &log(22, 40, 900));
        assert_eq!(coverage.from_ms, Some(900), "21 was deleted before it was seen");
        let off = LogBounds { off_until_ms: Some(5_000), ..log(22, 40, 900) };
        coverage.take(&off, &off);
        assert_eq!(coverage.from_ms, Some(5_000), "a replica wrote no records until then");
    }

    #[test]
    fn records_of_others_are_not_taken() {
        let mut view = view();
        take(&mut view, &record(1, "inst-2", "delivered", None));
        take(&mut view, &Bytes::from_static(b"{\"installation\":\"inst-1\""));
        assert!(view.known.is_empty());
    }

    #[test]
    fn record_that_cannot_be_read_proves_nothing() {
        for unreadable in [
            Bytes::from_static(b"{\"installation\":\"inst-1\""),
            record(1, "inst-1", "teleported", None),
        ] {
            let mut view = view();
            let bounds = LogBounds { first: 1, last: 1, kept_from_ms: 0, off_until_ms: None };
            view.coverage.take(&bounds, &bounds);
            assert!(view.is_complete_for(7));
            take(&mut view, &unreadable);
            view.coverage.take(&bounds, &bounds);
            assert!(!view.is_complete_for(7), "{unreadable:?}");
            assert!(view.known.is_empty());
        }
    }

    #[test]
    fn delivery_of_an_event_that_is_stored_twice_is_known_for_the_first_one() {
        let mut view = view().with_known_max(4);
        let twice = record(9, "inst-1", "dead", None);
        let text = String::from_utf8(twice.to_vec()).unwrap().replace("e9", "e1");
        for sequence in 1..=4 {
            take(&mut view, &record(sequence, "inst-1", "dead", None));
        }
        take(&mut view, &text.into());
        take(&mut view, &record(5, "inst-1", "dead", None));
        assert!(view.covers(1) && !view.covers(9), "{}", view.end);
        assert_eq!(view.fate(&id(1), &"k".into()), Fate::Dead);
    }

    #[test]
    fn view_that_knows_too_much_ends_at_an_earlier_event() {
        let mut view = view().with_known_max(10);
        for sequence in 1..=11 {
            take(&mut view, &record(sequence, "inst-1", "dead", None));
        }
        assert!(view.covers(5) && !view.covers(6), "{}", view.end);
        assert_eq!(view.known.len(), 5);
        take(&mut view, &record(9, "inst-1", "dead", None));
        assert_eq!(view.fate(&id(9), &"k".into()), Fate::Unknown, "the next view is about it");
        for _ in 0..3 {
            take(&mut view, &record(1, "inst-1", "delivered", None));
        }
        assert_eq!(view.fate(&id(1), &"k".into()), Fate::Delivered);
    }
}
