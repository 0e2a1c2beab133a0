//! From a dead letter back to a parked record, with fresh attempts under the same delivery id.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    MalformedRecord, ParkedDelivery, ParkedRecord, RecordParts, SubscriptionDirectory, owner_of,
    stored_ms,
};
use crate::delivery::model::{JobOrigin, ParkReason, Progress};
use crate::delivery::shares::ShareOwner;
use crate::domain::{AppId, DeliveryId, InstallationId, ModuleKey, SubscriptionId};
use crate::event::codec::names::{self, dead_letter, parked};
use crate::event::codec::{EnvelopeFormat, HeaderLookup, InvalidHeader, decoded, parsed, required};

impl ParkedDelivery {
    /// Reads the dead letter of a delivery, or of an event that is not matched yet. The subject of the
    /// letter names the tokens of its `app` and `installation`, which letters of earlier releases
    /// have no header for. The delivery is seen for the first time at `now`, for `origin`.
    ///
    /// # Errors
    /// A header is missing or invalid.
    pub fn of_dead_letter(
        headers: &impl HeaderLookup,
        body: Bytes,
        (app, installation): (&AppId, &InstallationId),
        origin: JobOrigin,
        now: Timestamp,
    ) -> Result<Self, MalformedRecord> {
        let subscriptions = subscriptions(headers)?;
        let unmatched_app = match decoded(headers, parked::UNMATCHED_APP)? {
            Some(app) => Some(AppId::from(&*app)),
            None => subscriptions.is_empty().then(|| app.clone()),
        };
        let named = decoded(headers, parked::INSTALLATION)?;
        let installation = match (subscriptions.first(), named) {
            (Some(id), _) => id.installation.clone(),
            (None, Some(named)) => InstallationId::from(&*named),
            (None, None) => installation.clone(),
        };
        let filter_error = match decoded(headers, parked::FILTER_ERROR)? {
            Some(json) => {
                Some(serde_json::from_str(&json).map_err(|_| InvalidHeader(parked::FILTER_ERROR))?)
            }
            None => None,
        };
        let sequence = parsed(headers, names::SEQUENCE)?;
        // It continues the delivery that was dead-lettered.
        let repeated_by = decoded(headers, names::REPEATED_BY)?.map(|job| (&*job).into());
        let origin = JobOrigin { repeated_by, ..origin };
        Ok(Self {
            id: DeliveryId::from_record(&required(headers, names::DELIVERY_ID)?),
            installation,
            subscriptions,
            unmatched_app,
            event: EnvelopeFormat::CLOUD_EVENTS.read(headers, body, sequence)?,
            self_generated: headers.get(parked::SELF_GENERATED) == Some("true"),
            filter_error,
            progress: Progress {
                job: Some(Arc::new(origin)),
                stored_ms: stored_ms(headers),
                ..Progress::new(now)
            },
        })
    }

    /// Returns the record that is due at `due`; none if no subscription of the delivery exists any
    /// more. `due_app` is the app that the subject of the letter names. The message id of the record
    /// is that of the letter and the job, so that a repeated step of the job stores it once.
    #[must_use]
    pub fn redriven(
        &self,
        directory: &dyn SubscriptionDirectory,
        due_app: &AppId,
        due: Timestamp,
    ) -> Option<ParkedRecord> {
        let progress = Progress { parks: 1, ..self.progress.clone() };
        let live = self.subscriptions.iter().find_map(|id| directory.find(id));
        let (app, owner) = match &live {
            Some(subscription) => (subscription.owner.app.clone(), owner_of(subscription)),
            None if self.waits_in(directory) => {
                let app = self.app_or(due_app);
                let owner = ShareOwner::installation(&app, &self.installation);
                (app, owner)
            }
            None => return None,
        };
        let parts = RecordParts {
            id: &self.id,
            app: &app,
            owner,
            installation: &self.installation,
            keys: self.subscriptions.iter().map(|id| &id.key).collect(),
            event: &self.event,
            self_generated: self.self_generated,
            filter_error: self.filter_error.as_ref(),
            progress: &progress,
        };
        let mut record = parts.record(due, ParkReason::Redrive);
        if let Some(origin) = &self.progress.job {
            let letters = origin.dead_letters.iter().map(|letter| format!("/{letter}"));
            record.message_id = format!("redrive/{}{}", origin.job, letters.collect::<String>());
        }
        Some(record)
    }

    /// Whether it can be resumed although none of its subscriptions is live now: its installation
    /// waits for a document, or its event is to be matched for the modules of the installation.
    fn waits_in(&self, directory: &dyn SubscriptionDirectory) -> bool {
        let installation = &self.installation;
        directory.is_waiting(installation)
            || self.subscriptions.is_empty() && !directory.subscriptions_of(installation).is_empty()
    }
}

/// Reads the subscriptions of a dead letter; none if its event was not matched.
fn subscriptions(headers: &impl HeaderLookup) -> Result<Vec<SubscriptionId>, InvalidHeader> {
    let Some(first) = decoded(headers, dead_letter::SUBSCRIPTION)? else { return Ok(Vec::new()) };
    let first = SubscriptionId::parse(&first).ok_or(InvalidHeader(dead_letter::SUBSCRIPTION))?;
    let others = decoded(headers, parked::COALESCED_WITH)?.unwrap_or_default();
    let others = others.split(' ').filter(|key| !key.is_empty());
    let other = |key: &str| SubscriptionId {
        installation: first.installation.clone(),
        key: ModuleKey::from(key),
    };
    let others: Vec<_> = others.map(other).collect();
    Ok(std::iter::once(first).chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::model::{DeadLetterReason, Delivery, StreamPosition};
    use crate::delivery::testing::{delivery_to, function};
    use crate::delivery::{DeadLetter, DeadLetterCause};
    use crate::domain::FilterError;
    use crate::event::codec::HeaderList;
    use crate::matcher::Subscription;

    struct Map(HeaderList);

    impl HeaderLookup for Map {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
        }
    }

    /// The subscriptions that exist.
    #[derive(Default)]
    struct Known(Vec<Arc<Subscription>>);

    impl SubscriptionDirectory for Known {
        fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
            self.0.iter().find(|one| one.id() == *id).cloned()
        }

        fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
            self.0.iter().filter(|one| one.owner.id == *installation).cloned().collect()
        }
    }

    fn dead_delivery() -> Delivery {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        delivery.self_generated = true;
        delivery.filter_error = Some(FilterError {
            kind: "limit".into(),
            message: "too many steps".into(),
            offset: 1,
            line: 1,
            column: 2,
            part: String::new(),
        });
        delivery.progress = Progress {
            attempt: 9,
            parks: 12,
            last_class: "5xx".into(),
            retry_reason: "BUSY".into(),
            ..Progress::new("2026-11-21T08:00:00Z".parse().unwrap())
        };
        delivery
    }

    fn letter_of(delivery: &Delivery) -> DeadLetter {
        let reason = DeadLetterReason::Exhausted;
        let cause = DeadLetterCause { reason: &reason, stage: "delivery", error: "status 503" };
        DeadLetter::of_delivery(delivery, &cause)
    }

    fn origin() -> JobOrigin {
        let letter = StreamPosition { sequence: 7, stored_ms: 1_000 };
        JobOrigin::redrive("job_1", vec![letter])
    }

    fn read(letter: DeadLetter, now: Timestamp) -> ParkedDelivery {
        let tokens = (&AppId::from("app-1"), &InstallationId::from("inst-1"));
        let headers = Map(letter.headers);
        ParkedDelivery::of_dead_letter(&headers, letter.body, tokens, origin(), now).unwrap()
    }

    #[test]
    fn redriven_delivery_is_the_same_one_with_fresh_attempts() {
        let delivery = dead_delivery();
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        let directory = Known(vec![Arc::clone(&delivery.subscription)]);
        let read = read(letter_of(&delivery), now);
        let record = read.redriven(&directory, &"app-1".into(), now).unwrap();
        assert_eq!(record.message_id, "redrive/job_1/7/1000");
        assert!(!record.is_repark, "it needs a place of its own");
        let fired = ParkedDelivery::read(&Map(record.headers), record.body).unwrap();
        let resumed = fired.resume(Arc::clone(&delivery.subscription), Vec::new()).unwrap();
        assert_eq!(resumed.id, delivery.id);
        assert_eq!(resumed.prepared.event, delivery.prepared.event);
        assert_eq!(resumed.filter_error, delivery.filter_error);
        assert!(resumed.self_generated);
        let job = Some(Arc::new(origin()));
        assert_eq!(resumed.progress, Progress { parks: 1, job, ..Progress::new(now) });
    }

    #[test]
    fn delivery_without_a_subscription_is_not_redriven() {
        let now = Timestamp::UNIX_EPOCH;
        let read = read(letter_of(&dead_delivery()), now);
        assert!(read.redriven(&Known::default(), &"app-1".into(), now).is_none());
    }

    #[test]
    fn event_that_waited_for_its_installation_is_matched_again() {
        let delivery = dead_delivery();
        let (app, installation) = (AppId::from("app-1"), InstallationId::from("inst-1"));
        let waiting = crate::delivery::UnmatchedFor { app: app.clone(), installation };
        let now = Timestamp::UNIX_EPOCH;
        let event = delivery.prepared.event.clone();
        let parked = ParkedDelivery::unmatched(event, waiting, now);
        let reason = DeadLetterReason::Expired;
        let cause = DeadLetterCause { reason: &reason, stage: "parking", error: "waited" };
        let letter = DeadLetter::of_waiting(&parked, app.clone(), &cause);
        let directory = Known(vec![delivery.subscription]);
        let record = read(letter, now).redriven(&directory, &app, now).unwrap();
        let fired = ParkedDelivery::read(&Map(record.headers), record.body).unwrap();
        assert_eq!((fired.id, fired.subscriptions), (parked.id, Vec::new()));
    }
}
