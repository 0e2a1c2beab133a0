//! Chooses the deliveries of examined events that a replay hands over.

use std::collections::HashSet;
use std::sync::Arc;

use url::Url;

use super::decide::{Fate, Known, Skipped, skip};
use super::examine::{Examined, Found};
use super::log_view::LogView;
use super::request::ReplayRequest;
use super::streams::{self, ReplayStreams};
use super::walk::Walk;
use crate::clock;
use crate::delivery::{Delivery, JobOrigin, ParkedDelivery, PlannedDelivery, PreparedEvent};
use crate::domain::DeliveryId;
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
    /// Those that were dead-lettered.
    dead: Vec<DeliveryId>,
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
        let mut choice = Choice { origin: Arc::new(origin), ids: HashSet::new(), dead: Vec::new() };
        let mut all = Vec::with_capacity(examined.len());
        for one in examined {
            let mut chosen = Chosen::new(&one);
            match one.found {
                Found::Nothing => {}
                Found::Unreadable => add(&mut chosen.counts, UNREADABLE, 1),
                Found::Matched(prepared, planned) => {
                    add(&mut chosen.counts, MATCHED, planned.len() as u64);
                    for planned in planned {
                        self.decide(&mut chosen, &mut choice, walk, planned, &prepared);
                    }
                    chosen.prepared = Some(prepared);
                }
            }
            all.push(chosen);
        }
        if let Some(view) = walk.view().filter(|_| !choice.dead.is_empty()) {
            self.link_letters(&mut all, view, &choice.dead).await?;
        }
        self.leave_out_parked(&mut all).await?;
        Ok(all)
    }

    /// Decides on a delivery.
    fn decide(
        &self,
        chosen: &mut Chosen,
        choice: &mut Choice,
        walk: &mut Walk,
        planned: PlannedDelivery,
        prepared: &Arc<PreparedEvent>,
    ) {
        let id = planned.id(&prepared.event.envelope);
        let mut delivery = planned.into_replayed(prepared, &choice.origin, clock::broker_now());
        delivery.progress.stored_ms = Some(chosen.stored_ms);
        match walk.handed_over().sequence_of(&delivery.id) {
            // By a step that was not saved.
            Some(sequence) if sequence == chosen.sequence => {
                return add(&mut chosen.counts, PARKED, 1);
            }
            Some(_) => return chosen.skip(Skipped::Repeated),
            None if choice.ids.contains(&delivery.id) => return chosen.skip(Skipped::Repeated),
            None => {}
        }
        let log_from_ms = self.request.coverage.log_from_ms;
        let is_in_log = log_from_ms.is_some_and(|from_ms| chosen.stored_ms >= from_ms);
        let view = walk.view();
        let known = Known {
            fate: view.as_ref().map_or(Fate::Unknown, |view| view.fate(&id)),
            is_logged: is_in_log && view.is_some_and(|v| v.is_complete_for(chosen.stored_ms)),
            has_target: self.target.is_some(),
        };
        match skip(self.request.mode, known) {
            Some(why) => chosen.skip(why),
            None => {
                if known.fate == Fate::Dead {
                    choice.dead.push(delivery.id.clone());
                }
                choice.ids.insert(delivery.id.clone());
                chosen.deliveries.push(delivery);
            }
        }
    }

    /// Adds their dead letters to deliveries that were dead-lettered. Such a delivery is continued, as by a
    /// redrive, not made once more; its letters are deleted once it ends.
    async fn link_letters(
        &self,
        all: &mut [Chosen],
        view: &mut LogView,
        dead: &[DeliveryId],
    ) -> Result<(), ReadError> {
        // What is sent to a target leaves the letters of the module.
        if self.target.is_some() || self.job.is_none() {
            return Ok(());
        }
        while !view.find_letters(self.letters).await? {}
        for delivery in all.iter_mut().flat_map(|chosen| &mut chosen.deliveries) {
            let letters = match dead.contains(&delivery.id) {
                true => view.letters(&delivery.id),
                false => continue,
            };
            if let (Some(origin), Some(newest)) = (delivery.progress.job.as_deref(), letters.last())
            {
                let repeated_by = newest.repeated_by.clone();
                let dead_letters = letters.iter().map(|letter| letter.position).collect();
                let origin = JobOrigin { dead_letters, repeated_by, ..origin.clone() };
                delivery.progress.job = Some(Arc::new(origin));
            }
        }
        Ok(())
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
