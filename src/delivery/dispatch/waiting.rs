//! Deliveries and events that wait for their installation: for its document, which cannot be read, or
//! for its share of evaluation.
//!
//! They are parked within the share of the installation. The wait uses up no attempt; it ends as
//! that of any delivery, after `delivery.backlog_max_h`.
//!
//! Design: `docs/design/unreadable-documents.md`, `docs/design/evaluation-share.md`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{DeadLetter, DeadLetterCause, DeadLetterStored, Dispatcher, Settled};
use crate::clock;
use crate::delivery::log::DeliveryReport;
use crate::delivery::metrics;
use crate::delivery::model::{DeadLetterReason, DeliveryOutcome, DropPolicy, ParkReason};
use crate::delivery::parking::ParkedDelivery;
use crate::domain::{AppId, RetryProfile};

/// Shortest time until the document is looked at again.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest such time. It is the age of the record: what waited for long may wait as long again.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);

impl Dispatcher {
    /// Parks a delivery, or an event that is not matched yet, until the document of its
    /// installation is looked at again. `due_app` is the app that its record came due for.
    pub async fn wait_for_document(
        &self,
        mut parked: ParkedDelivery,
        due_app: &AppId,
    ) -> DeliveryReport {
        let due = due_after(parked.progress().first_seen, self.random.unit());
        let settled = self.wait(&mut parked, due_app, due, ParkReason::Unreadable).await;
        DeliveryReport::of_parked(&parked, settled.outcome, settled.due)
    }

    /// Parks an event that is not matched yet for `delay`: its installation used more than its share
    /// of evaluation. `due_app` is the app that its record came due for.
    pub async fn wait_for_share(
        &self,
        mut parked: ParkedDelivery,
        due_app: &AppId,
        delay: Duration,
    ) -> DeliveryOutcome {
        let now = clock::broker_now();
        let due = SignedDuration::try_from(delay).ok().and_then(|d| now.checked_add(d).ok());
        let due = due.unwrap_or(now);
        self.wait(&mut parked, due_app, due, ParkReason::Evaluation).await.outcome
    }

    async fn wait(
        &self,
        parked: &mut ParkedDelivery,
        due_app: &AppId,
        due: Timestamp,
        reason: ParkReason,
    ) -> Settled {
        let app = parked.app_or(due_app);
        let schedule = self.schedules.of(RetryProfile::Router);
        if schedule.is_expired(parked.progress(), reason, clock::broker_now(), self.backlog_age_max)
        {
            let error =
                format!("waited {} for longer than delivery.backlog_max_h", waits_for(reason));
            let reason = DeadLetterReason::Expired;
            return self.dead_letter_waiting(parked, app, reason, &error).await.into();
        }
        let record = parked.wait(&app, due, reason);
        match self.ports.parking.park(record).await {
            Ok(()) => {
                metrics::parked(reason);
                Settled { outcome: DeliveryOutcome::Parked(reason), due: Some(due) }
            }
            Err(error) => {
                let text = format!("waits {}: {error}", waits_for(reason));
                self.dead_letter_waiting(parked, app, error.reason(), &text).await.into()
            }
        }
    }

    async fn dead_letter_waiting(
        &self,
        parked: &ParkedDelivery,
        app: AppId,
        reason: DeadLetterReason,
        error: &str,
    ) -> DeliveryOutcome {
        let lane = if parked.progress().parks > 1 { "retry" } else { "live" };
        // That of the target of a replay has no dead letter, see `drop_of_target`.
        if parked.progress().job.as_deref().is_some_and(|origin| origin.target.is_some()) {
            let policy = DropPolicy::TargetFailed;
            metrics::dropped("replay", policy.label());
            return DeliveryOutcome::Dropped(policy);
        }
        let cause = DeadLetterCause { reason: &reason, stage: "parking", error };
        let letter = DeadLetter::of_waiting(parked, app, &cause);
        if self.ports.dead_letters.put(letter).await == DeadLetterStored::ShareExceeded {
            let policy = DropPolicy::ShareExceeded;
            metrics::dropped(lane, policy.label());
            return DeliveryOutcome::Dropped(policy);
        }
        metrics::dead(lane, &reason);
        DeliveryOutcome::DeadLettered(reason)
    }
}

fn waits_for(reason: ParkReason) -> &'static str {
    match reason {
        ParkReason::Evaluation => "for the share of evaluation (limits.evaluation_share)",
        _ => "for a registry document",
    }
}

/// Returns when a record first seen at `first_seen` is looked at again; earlier by a random share of
/// up to a quarter, so that records do not come due together.
fn due_after(first_seen: Timestamp, random: f64) -> Timestamp {
    let now = clock::broker_now();
    let age = now.duration_since(first_seen).max(SignedDuration::ZERO).unsigned_abs();
    let delay = age.clamp(DELAY_MIN, DELAY_MAX).mul_f64(1.0 - random / 4.0);
    SignedDuration::try_from(delay).ok().and_then(|d| now.checked_add(d).ok()).unwrap_or(now)
}
