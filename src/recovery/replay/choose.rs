//! Chooses the deliveries of examined events that a replay hands over.

use std::collections::HashSet;
use std::sync::Arc;

use url::Url;

use super::decide::{Fate, Known, Skipped, skip};
use super::examine::{Examined, Found};
use super::letter_view::Letter;
use super::request::ReplayRequest;
use super::streams::{self, ReplayStreams};
use super::walk::Walk;
use crate::clock;
use crate::delivery::{
    Delivery, JobOrigin, ParkedDelivery, PlannedDelivery, PreparedEvent, SubscriptionDirectory,
};
use crate::domain::{DeliveryId, ModuleKey, SubscriptionId};
use crate::event::Envelope;
use crate::recovery::jobs::JobCounts;
use crate::recovery::redrive::{DeadLetters, ReadError};

/// Count of the events that were read.
pub(super) const EVENTS: &str = "events";
/// Count of the deliveries that match again.
pub(super) const MATCHED: &str = "matched";
/// Count of the deliveries that were handed over.
pub(super) const PARKED: &str = "parked";
/// Count of the events that cannot be read.
const UNREADABLE: &str = "skipped_unreadable";
/// Count of the matches for which the further filter ended in an error.
const CONDITION_ERRORS: &str = "skipped_filter_error";
/// Count of the sequences that were deleted before they were read.
const EXPIRED: &str = "sequences_expired";

/// What decides on deliveries in addition to their events.
pub(super) struct Chooser<'a> {
    pub(super) streams: &'a dyn ReplayStreams,
    pub(super) letters: &'a dyn DeadLetters,
    pub(super) directory: &'a dyn SubscriptionDirectory,
    pub(super) request: &'a ReplayRequest,
    /// Endpoint that deliveries are sent to in place of their handler.
    pub(super) target: Option<Url>,
    /// The job; none for a dry run.
    pub(super) job: Option<&'a str>,
}

/// An event with the deliveries that are handed over.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) sequence: u64,
    pub(super) stored_ms: i64,
    /// None if it has no delivery.
    pub(super) prepared: Option<Arc<PreparedEvent>>,
    pub(super) deliveries: Vec<Delivery>,
    /// Deliveries that this job parked in a step that was not saved, and that the log may not know.
    pub(super) repeated: Vec<Delivery>,
    /// What is counted once the event is done, [`PARKED`] of its deliveries excluded.
    pub(super) counts: JobCounts,
}

/// What is chosen among the deliveries of several events.
struct Choice {
    origin: Arc<JobOrigin>,
    ids: HashSet<DeliveryId>,
}

/// What is known of a delivery that is decided on.
struct Facts<'a> {
    /// Its fate for each of its modules.
    fates: Vec<(ModuleKey, Fate)>,
    /// Its dead letters, oldest first.
    letters: &'a [Letter],
    /// Whether the log has every record of the event.
    is_logged: bool,
    /// Whether a dead letter holds the event, not matched yet.
    is_unmatched: bool,
}

impl Facts<'_> {
    fn fate_for(&self, key: &ModuleKey) -> Fate {
        let found = self.fates.iter().find(|(of, _)| of == key);
        let fate = found.map_or(Fate::Unknown, |(_, fate)| *fate);
        // Its letter is stored before the record that says so.
        let has_letter = || self.letters.iter().any(|letter| letter.keys.contains(key));
        if fate == Fate::Unknown && has_letter() { Fate::Dead } else { fate }
    }
}

impl Chosen {
    fn new(examined: &Examined) -> Self {
        let mut chosen = Self {
            sequence: examined.sequence,
            stored_ms: examined.stored_ms,
            prepared: None,
            deliveries: Vec::new(),
            repeated: Vec::new(),
            counts: JobCounts::new(),
        };
        add(&mut chosen.counts, EVENTS, 1);
        add(&mut chosen.counts, CONDITION_ERRORS, examined.condition_errors as u64);
        chosen
    }

    pub(super) fn skip(&mut self, why: Skipped) {
        add(&mut self.counts, why.count_name(), 1);
    }
}

/// Adds to a count; a count of nothing is absent.
pub(super) fn add(counts: &mut JobCounts, name: &str, number: u64) {
    if number > 0 {
        let total = counts.entry(name.to_owned()).or_default();
        *total = total.saturating_add(number);
    }
}

/// Adds the sequences that a walk found deleted.
pub(super) fn add_expired(counts: &mut JobCounts, walk: &mut Walk) {
    add(counts, EXPIRED, walk.take_expired());
}

impl Chooser<'_> {
    /// Chooses among the deliveries of examined events.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn choose(
        &self,
        examined: Vec<Examined>,
        walk: &mut Walk,
    ) -> Result<Vec<Chosen>, ReadError> {
        let origin = JobOrigin::replay(self.job.unwrap_or_default(), self.target.clone());
        let mut choice = Choice { origin: Arc::new(origin), ids: HashSet::new() };
        let mut all = Vec::with_capacity(examined.len());
        for one in examined {
            let mut chosen = Chosen::new(&one);
            match one.found {
                Found::Nothing => {}
                Found::Unreadable => add(&mut chosen.counts, UNREADABLE, 1),
                Found::Matched(prepared, planned) => {
                    add(&mut chosen.counts, MATCHED, planned.len() as u64);
                    for planned in planned {
                        self.decide(&mut chosen, &mut choice, walk, planned, &prepared).await?;
                    }
                    chosen.prepared = Some(prepared);
                }
            }
            all.push(chosen);
        }
        self.leave_out_parked(&mut all).await?;
        Ok(all)
    }

    /// Decides on a delivery.
    async fn decide(
        &self,
        chosen: &mut Chosen,
        choice: &mut Choice,
        walk: &mut Walk,
        planned: PlannedDelivery,
        prepared: &Arc<PreparedEvent>,
    ) -> Result<(), ReadError> {
        let id = planned.replayed_id(&prepared.event.envelope, &choice.origin);
        match walk.handed_over().sequence_of(&id) {
            // By a step that was not saved.
            Some(sequence) if sequence == chosen.sequence => {
                add(&mut chosen.counts, PARKED, 1);
                return Ok(());
            }
            None if !choice.ids.contains(&id) => {}
            _ => {
                chosen.skip(Skipped::Repeated);
                return Ok(());
            }
        }
        let facts = self.facts(chosen, walk, &planned, &prepared.event.envelope).await?;
        let why_not = |key: &ModuleKey| self.why_not(&facts, key);
        // The module that is asked for decides; those that share its delivery come with it.
        let wanted = self.request.key.as_ref();
        let why = why_not(wanted.unwrap_or(&planned.matched.subscription.key));
        let narrowed = match (wanted, why) {
            (Some(_), Some(_)) => None,
            _ => planned.narrowed(|one| why_not(&one.key).is_none()),
        };
        let Some(planned) = narrowed else {
            why.into_iter().for_each(|why| chosen.skip(why));
            return Ok(());
        };
        let origin = self.with_letters(&choice.origin, &facts, &planned);
        let mut delivery = planned.into_replayed(prepared, &origin, clock::broker_now());
        delivery.progress.stored_ms = Some(chosen.stored_ms);
        choice.ids.insert(id);
        chosen.deliveries.push(delivery);
        Ok(())
    }

    fn why_not(&self, facts: &Facts<'_>, key: &ModuleKey) -> Option<Skipped> {
        let (fate, has_target) = (facts.fate_for(key), self.target.is_some());
        let Facts { is_logged, is_unmatched, .. } = *facts;
        skip(self.request.mode, Known { fate, is_logged, is_unmatched, has_target })
    }

    /// Returns what the log and the dead letters say about a delivery.
    async fn facts<'w>(
        &self,
        chosen: &Chosen,
        walk: &'w mut Walk,
        planned: &PlannedDelivery,
        envelope: &Envelope,
    ) -> Result<Facts<'w>, ReadError> {
        let id = planned.id(envelope);
        let log_from_ms = self.request.coverage.log_from_ms;
        let is_in_log = log_from_ms.is_some_and(|from_ms| chosen.stored_ms >= from_ms);
        let view = walk.view();
        let fate = |key: &ModuleKey| view.as_ref().map_or(Fate::Unknown, |v| v.fate(&id, key));
        let keys = planned.subscriptions().map(|one| &one.key);
        let fates: Vec<_> = keys.map(|key| (key.clone(), fate(key))).collect();
        let is_logged = is_in_log && view.is_some_and(|v| v.is_complete_for(chosen.stored_ms));
        let mut facts = Facts { fates, letters: &[], is_logged, is_unmatched: false };
        let is_open = |(_, fate): &(ModuleKey, Fate)| matches!(fate, Fate::Unknown | Fate::Dead);
        // What is sent to a target leaves the letters of the module.
        if self.target.is_none() && facts.fates.iter().any(is_open) {
            let letters = walk.letters(chosen.sequence, self.letters).await?;
            let unmatched = ParkedDelivery::unmatched_id(envelope, &self.request.installation);
            facts.is_unmatched =
                letters.has_event(chosen.sequence) || !letters.of(&unmatched).is_empty();
            facts.letters = letters.of(&id);
        }
        Ok(facts)
    }

    /// Returns the origin of a delivery, with its dead letters if it was dead-lettered. Such a delivery is
    /// continued, as by a redrive, not made once more; its letters are deleted once it ends. A letter that
    /// holds the delivery for a further module, which is not replayed, stays.
    fn with_letters(
        &self,
        origin: &Arc<JobOrigin>,
        facts: &Facts<'_>,
        planned: &PlannedDelivery,
    ) -> Arc<JobOrigin> {
        let is_dead = |key: &ModuleKey| facts.fate_for(key) == Fate::Dead;
        if self.job.is_none() || !planned.subscriptions().any(|one| is_dead(&one.key)) {
            return Arc::clone(origin);
        }
        let installation = &self.request.installation;
        let is_accounted_for = |key: &ModuleKey| {
            let id = || SubscriptionId { installation: installation.clone(), key: key.clone() };
            planned.subscriptions().any(|one| one.key == *key)
                || facts.fate_for(key) == Fate::Delivered
                || self.directory.find(&id()).is_none()
        };
        let linked = facts.letters.iter().filter(|one| one.keys.iter().all(is_accounted_for));
        let linked: Vec<&Letter> = linked.collect();
        let Some(newest) = linked.last() else { return Arc::clone(origin) };
        let repeated_by = newest.repeated_by.clone();
        let dead_letters = linked.iter().map(|letter| letter.position).collect();
        Arc::new(JobOrigin { dead_letters, repeated_by, ..JobOrigin::clone(origin) })
    }

    /// Leaves out deliveries that wait now: the record of one has the subject of the delivery, so
    /// another one would replace it. So does an event that waits to be matched for the installation.
    async fn leave_out_parked(&self, all: &mut [Chosen]) -> Result<(), ReadError> {
        let installation = &self.request.installation;
        let mut ids = Vec::new();
        for chosen in all.iter() {
            let Some(prepared) = chosen.prepared.as_ref().filter(|_| !chosen.deliveries.is_empty())
            else {
                continue;
            };
            ids.push(ParkedDelivery::unmatched_id(&prepared.event.envelope, installation));
            ids.extend(chosen.deliveries.iter().map(|delivery| delivery.id.clone()));
        }
        let mut parked = streams::parked(self.streams, &ids).await?.into_iter();
        for chosen in all.iter_mut().filter(|chosen| !chosen.deliveries.is_empty()) {
            let is_unmatched = parked.next().flatten().is_some();
            for delivery in std::mem::take(&mut chosen.deliveries) {
                match parked.next().flatten() {
                    Some(job) if self.job == Some(&*job) => chosen.repeated.push(delivery),
                    Some(_) => chosen.skip(Skipped::Pending),
                    None if is_unmatched && delivery.target.is_none() => {
                        chosen.skip(Skipped::Pending);
                    }
                    None => chosen.deliveries.push(delivery),
                }
            }
        }
        Ok(())
    }
}
