//! What a redrive would do with each letter, without doing it.

use std::time::Duration;

use jiff::Timestamp;

use super::letter::{LetterKind, StoredLetter};
use super::request::{RedriveRequest, Selection};
use super::store::{DeadLetters, LetterRange, ReadError};
use crate::clock;
use crate::delivery::{JobOrigin, ParkedDelivery, ParkedRecord, SubscriptionDirectory};
use crate::domain::{AppId, InstallationId};
use crate::recovery::jobs::JobCounts;

/// Letters of one read.
const BATCH: usize = 1_000;
/// Letters that a dry run reads at most.
const SCANNED_MAX: u64 = 200_000;
/// How long a dry run reads at most.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Count of the letters that were selected.
pub(super) const MATCHED: &str = "matched";
/// Count of the deliveries that were handed over.
pub(super) const PARKED: &str = "parked";
/// Count of the events that were published again.
pub(super) const PUBLISHED: &str = "published";

/// What a dry run counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Letters by what a redrive would do with them, by the names of the counts of a job.
    pub counts: JobCounts,
    /// Whether all letters were counted; otherwise the counts are those of the oldest ones.
    pub is_complete: bool,
}

/// The delivery of a letter that is handed over.
#[derive(Debug)]
pub(super) struct Redriven {
    pub(super) delivery: ParkedDelivery,
    pub(super) record: ParkedRecord,
}

/// What is to be done with a letter.
#[derive(Debug)]
pub(super) enum Action {
    /// Its delivery is parked.
    Park(Box<Redriven>),
    /// Its event is published again.
    Publish,
    /// It stays.
    Skip(Skipped),
}

/// Why a letter is not redriven; it stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skipped {
    /// There is no letter with this id.
    NotFound,
    /// None of the subscriptions of the delivery exists any more.
    SubscriptionRemoved,
    /// It was stored without its body.
    BodyOmitted,
    /// Its headers are not those of a delivery; or it is a parked record that could not be read.
    Unreadable,
    /// The broker stores no message as large.
    TooLarge,
    /// More than half of a share of its owner in the parking stream is used.
    ShareUsed,
    /// Its delivery waits already: a second record of it would replace the first one.
    Pending,
}

impl Skipped {
    /// Returns the name of its count.
    pub(super) fn count_name(self) -> &'static str {
        match self {
            Self::NotFound => "skipped_not_found",
            Self::SubscriptionRemoved => "skipped_subscription_removed",
            Self::BodyOmitted => "skipped_body_omitted",
            Self::Unreadable => "skipped_unreadable",
            Self::TooLarge => "skipped_too_large",
            Self::ShareUsed => "skipped_share_used",
            Self::Pending => "skipped_pending",
        }
    }
}

/// Decides what job `job` does with a letter at `now`.
pub(super) fn decide(
    letter: &StoredLetter,
    directory: &dyn SubscriptionDirectory,
    job: &str,
    now: Timestamp,
) -> Action {
    if letter.is_body_omitted() {
        return Action::Skip(Skipped::BodyOmitted);
    }
    let (app, installation) = match &letter.kind {
        LetterKind::Event { .. } => return Action::Publish,
        LetterKind::Record => return Action::Skip(Skipped::Unreadable),
        LetterKind::Delivery { app, installation } => {
            (AppId::from(&**app), InstallationId::from(&**installation))
        }
    };
    let origin = JobOrigin::redrive(job, vec![letter.id.0]);
    let tokens = (&app, &installation);
    let body = letter.body.clone();
    let parked = match ParkedDelivery::of_dead_letter(letter, body, tokens, origin, now) {
        Ok(parked) => parked,
        Err(error) => {
            tracing::debug!(id = %letter.id, %error, "dead letter cannot be redriven");
            return Action::Skip(Skipped::Unreadable);
        }
    };
    match parked.redriven(directory, &app, now) {
        Some(record) => Action::Park(Box::new(Redriven { delivery: parked, record })),
        None => Action::Skip(Skipped::SubscriptionRemoved),
    }
}

/// Counts what a redrive of `request` would do if nothing of it waits already, and if there is room for all.
///
/// # Errors
/// The broker does not answer.
pub async fn plan(
    letters: &dyn DeadLetters,
    directory: &dyn SubscriptionDirectory,
    request: &RedriveRequest,
) -> Result<Plan, ReadError> {
    let mut plan = Plan { counts: JobCounts::new(), is_complete: true };
    match &request.selection {
        Selection::Ids(ids) => {
            for id in ids {
                let found = letters.get(*id).await?;
                plan.count(found.as_ref(), directory);
            }
        }
        Selection::Query(query) => {
            let (started, mut scanned) = (clock::tick(), 0_u64);
            let mut next = Some(request.first.max(1));
            while let Some(from) = next.filter(|from| *from <= request.last) {
                if scanned >= SCANNED_MAX || clock::since(started) >= TIME_MAX {
                    plan.is_complete = false;
                    break;
                }
                let range = LetterRange { from, to: request.last };
                let batch = letters.read(range, &query.scope(), BATCH).await?;
                scanned = scanned.saturating_add(batch.letters.len() as u64);
                for letter in batch.letters.iter().filter(|letter| query.selects(letter)) {
                    plan.count(Some(letter), directory);
                }
                next = batch.next;
            }
        }
    }
    Ok(plan)
}

impl Plan {
    fn count(&mut self, letter: Option<&StoredLetter>, directory: &dyn SubscriptionDirectory) {
        let now = clock::broker_now();
        let action = letter.map(|letter| decide(letter, directory, "", now));
        let name = match action {
            Some(Action::Park(_)) => PARKED,
            Some(Action::Publish) => PUBLISHED,
            Some(Action::Skip(why)) => why.count_name(),
            None => Skipped::NotFound.count_name(),
        };
        for name in [MATCHED, name] {
            *self.counts.entry(name.to_owned()).or_default() += 1;
        }
    }
}
