//! The dead letters of a range of events and of their deliveries, within a bound of memory.
//!
//! They are read once they are asked for, oldest first, and then followed. If there are more than fit, the
//! view ends at an earlier event, and the next view begins there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::delivery::StreamPosition;
use crate::domain::{CloudId, DeliveryId, InstallationId, ModuleKey, SubscriptionId};
use crate::event::codec::names::{self, parked};
use crate::recovery::redrive::{
    DeadLetters, LetterKind, LetterRange, LetterScope, ReadError, StoredLetter,
};

/// Letters of one view, at most: about ten megabytes.
const LETTERS_MAX: usize = 50_000;
/// Letters of one read.
const READ_MAX: usize = 2_000;

/// The dead letters of some events of a site and of their deliveries.
#[derive(Debug)]
pub(super) struct LetterView {
    site: CloudId,
    /// The only installation whose letters are read; none for all.
    installation: Option<InstallationId>,
    /// The first event that the view is about.
    from: u64,
    /// The first event after those that the view is about.
    end: u64,
    /// First letter that is not read yet.
    next: u64,
    /// Whether what is stored now was read.
    is_current: bool,
    letters: HashMap<DeliveryId, Letters>,
    /// Sequences of the events that were dead-lettered as a whole, before they were matched for anyone.
    events: BTreeSet<u64>,
    /// Number of the letters.
    count: usize,
    max: usize,
}

/// The letters of one delivery.
#[derive(Debug)]
struct Letters {
    /// Last sequence of its event that a letter names; 0 if none names one.
    sequence: u64,
    all: Vec<Letter>,
}

/// A dead letter of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) position: StreamPosition,
    /// Replay that made the delivery once more; none if its event made it.
    pub(super) repeated_by: Option<Arc<str>>,
    /// The modules that the delivery is for; none for an event that was not matched.
    pub(super) keys: Box<[ModuleKey]>,
}

impl LetterView {
    pub(super) fn new(site: CloudId, installation: Option<InstallationId>, from: u64) -> Self {
        Self {
            site,
            installation,
            from,
            end: u64::MAX,
            next: 1,
            is_current: false,
            letters: HashMap::new(),
            events: BTreeSet::new(),
            count: 0,
            max: LETTERS_MAX,
        }
    }

    /// Says that letters may have been stored since they were read.
    pub(super) fn expire(&mut self) {
        self.is_current = false;
    }

    /// Says that no event before `sequence` is asked about any more.
    pub(super) fn forget_before(&mut self, sequence: u64) {
        self.from = self.from.max(sequence);
    }

    /// Reads the letters that are stored now; begins another view if this one is not about the event
    /// `sequence`.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn read_for(
        &mut self,
        sequence: u64,
        letters: &dyn DeadLetters,
    ) -> Result<(), ReadError> {
        if !(self.from..self.end).contains(&sequence) {
            let (site, installation) = (self.site.clone(), self.installation.clone());
            *self = Self { max: self.max, ..Self::new(site, installation, sequence) };
        }
        if self.is_current {
            return Ok(());
        }
        let bounds = letters.bounds().await?;
        let installation = self.installation.as_ref().map(|id| id.token().into_owned());
        let scope = LetterScope { site: Some(self.site.token().into_owned()), installation };
        let mut next = Some(self.next.max(bounds.first));
        while let Some(from) = next.filter(|from| *from <= bounds.last) {
            let range = LetterRange { from, to: bounds.last };
            let batch = letters.read(range, &scope, READ_MAX).await?;
            batch.letters.iter().for_each(|letter| self.take(letter));
            next = batch.next;
            self.next = next.unwrap_or(bounds.last.saturating_add(1));
            tokio::task::yield_now().await;
        }
        self.is_current = true;
        Ok(())
    }

    /// Returns the letters of a delivery, oldest first, or those of an event that was not matched.
    pub(super) fn of(&self, id: &DeliveryId) -> &[Letter] {
        self.letters.get(id).map_or(&[], |letters| &letters.all)
    }

    /// Whether the event was dead-lettered as a whole: nothing was matched then.
    pub(super) fn has_event(&self, sequence: u64) -> bool {
        self.events.contains(&sequence)
    }

    fn take(&mut self, letter: &StoredLetter) {
        if let LetterKind::Event { .. } = letter.kind {
            return self.take_event(letter);
        }
        let Some(id) = letter.text(names::DELIVERY_ID) else { return };
        // Letters of earlier releases have no site. The id of a delivery is that of an event of one site.
        if letter.text(names::EVENT_SITE).is_some_and(|site| site != self.site.as_str()) {
            return;
        }
        let sequence = event_sequence(letter).unwrap_or(0);
        if sequence >= self.end {
            return;
        }
        let first = letter.subscription().and_then(|id| SubscriptionId::parse(&id));
        let others = letter.text(parked::COALESCED_WITH).unwrap_or_default();
        let others = others.split(' ').filter(|key| !key.is_empty()).map(ModuleKey::from);
        let keys = first.map(|id| id.key).into_iter().chain(others).collect();
        let repeated_by = letter.text(names::REPEATED_BY).map(|job| (&*job).into());
        let none = || Letters { sequence, all: Vec::new() };
        let known = self.letters.entry(DeliveryId::from_record(&id)).or_insert_with(none);
        known.sequence = known.sequence.max(sequence);
        known.all.push(Letter { position: letter.id.0, repeated_by, keys });
        self.count_one();
    }

    /// Takes the letter of an event. The subjects that are read are those of the site.
    fn take_event(&mut self, letter: &StoredLetter) {
        let of_view = |sequence: &u64| (self.from..self.end).contains(sequence);
        let Some(sequence) = event_sequence(letter).filter(of_view) else { return };
        if self.events.insert(sequence) {
            self.count_one();
        }
    }

    fn count_one(&mut self) {
        self.count += 1;
        if self.count > self.max {
            self.shorten();
        }
    }

    /// Forgets what is not asked about any more. If that is not enough, ends the view at an earlier event.
    fn shorten(&mut self) {
        self.forget(self.from, self.end);
        if self.count <= self.max / 2 {
            return;
        }
        let of_letters = self.letters.values().map(|one| one.sequence);
        let mut sequences: Vec<u64> = of_letters.chain(self.events.iter().copied()).collect();
        let middle = sequences.len() / 2;
        let (_, median, _) = sequences.select_nth_unstable(middle);
        // At least one event is left, whatever the number of its letters.
        self.end = (*median).max(self.from.saturating_add(1));
        self.forget(self.from, self.end);
    }

    fn forget(&mut self, from: u64, end: u64) {
        self.letters.retain(|_, one| one.sequence >= from && one.sequence < end);
        self.events.retain(|sequence| (from..end).contains(sequence));
        let of_deliveries: usize = self.letters.values().map(|one| one.all.len()).sum();
        self.count = of_deliveries + self.events.len();
    }

    /// Bounds the number of letters.
    #[cfg(test)]
    fn with_max(self, max: usize) -> Self {
        Self { max, ..self }
    }
}

/// Returns the sequence of the event of a letter.
fn event_sequence(letter: &StoredLetter) -> Option<u64> {
    letter.text(names::SEQUENCE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::redrive::testing::{MemoryLetters, letter};

    fn letter_of(position: u64, event: u64, site: &str) -> StoredLetter {
        let kind = LetterKind::Delivery { app: "app".into(), installation: "inst-1".into() };
        let (id, event) = (format!("dlv_{event}"), event.to_string());
        let headers = [
            (names::DELIVERY_ID, &*id),
            (names::SEQUENCE, &*event),
            (names::EVENT_SITE, site),
            (names::dead_letter::SUBSCRIPTION, "inst-1/w1"),
            (parked::COALESCED_WITH, "w2 w3"),
        ];
        letter(position, kind, &headers)
    }

    fn view(from: u64) -> LetterView {
        LetterView::new("site-1".into(), Some("inst-1".into()), from)
    }

    fn count_of(view: &LetterView, event: u64) -> usize {
        view.of(&DeliveryId::from_record(&format!("dlv_{event}"))).len()
    }

    #[tokio::test]
    async fn letters_are_found_whenever_they_were_stored_and_those_of_other_sites_are_not() {
        let store = MemoryLetters::of([letter_of(1, 5, "site-1"), letter_of(2, 6, "site-2")]);
        let mut view = view(5);
        view.read_for(5, &*store).await.unwrap();
        assert_eq!((count_of(&view, 5), count_of(&view, 6)), (1, 0));
        let found = view.of(&DeliveryId::from_record("dlv_5"));
        assert_eq!(*found[0].keys, ["w1".into(), "w2".into(), "w3".into()]);
        store.letters.lock().unwrap().insert(3, letter_of(3, 5, "site-1"));
        view.read_for(5, &*store).await.unwrap();
        assert_eq!(count_of(&view, 5), 1, "read already");
        view.expire();
        view.read_for(5, &*store).await.unwrap();
        assert_eq!(count_of(&view, 5), 2);
    }

    #[tokio::test]
    async fn letters_of_events_are_known_by_sequence_and_bounded_as_others() {
        let of_event = |position: u64| {
            let sequence = position.to_string();
            let kind = LetterKind::Event { site: "site-1".into() };
            letter(position, kind, &[(names::SEQUENCE, &*sequence)])
        };
        let store = MemoryLetters::of((1..=30).map(of_event));
        let mut view = view(3).with_max(8);
        for event in 3..=30 {
            view.read_for(event, &*store).await.unwrap();
            assert!(view.has_event(event), "{event}");
            assert!(view.count <= 8, "{}", view.count);
        }
        assert!(!view.has_event(1));
    }

    #[tokio::test]
    async fn view_of_too_many_letters_ends_at_an_earlier_event_and_the_next_begins_there() {
        let store = MemoryLetters::of((1..=30).map(|event| letter_of(event, event, "site-1")));
        let mut view = view(1).with_max(8);
        for event in 1..=30 {
            view.read_for(event, &*store).await.unwrap();
            assert_eq!(count_of(&view, event), 1, "{event}");
            assert!(view.count <= 8, "{}", view.count);
        }
        // Many letters of one event are no reason to leave it out.
        let store = MemoryLetters::of((1..=20).map(|number| letter_of(number, 7, "site-1")));
        let mut view = self::view(7).with_max(8);
        view.read_for(7, &*store).await.unwrap();
        assert_eq!(count_of(&view, 7), 20);
    }
}
