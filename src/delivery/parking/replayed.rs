//! From a match of a stored event to the parked record by which a replay hands its delivery over.

use std::sync::Arc;

use jiff::Timestamp;

use super::ParkedRecord;
use crate::delivery::model::{Delivery, JobOrigin, ParkReason, PreparedEvent};
use crate::delivery::plan::{PlannedDelivery, delivery_key};
use crate::domain::{DeliveryId, SubscriptionId};
use crate::event::Envelope;

impl PlannedDelivery {
    /// Returns the id that its delivery for `origin` has.
    #[must_use]
    pub fn replayed_id(&self, envelope: &Envelope, origin: &JobOrigin) -> DeliveryId {
        if origin.target.is_none() {
            return self.id(envelope);
        }
        let subscription = &self.matched.subscription;
        // No module key has a `/`.
        let key = format!("{}/{}", delivery_key(subscription), origin.job).as_str().into();
        let identity = SubscriptionId { installation: subscription.owner.id.clone(), key };
        DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &identity)
    }

    /// Creates the delivery of `prepared` as a replay hands it over: parked once, not attempted yet. It
    /// has the id of the delivery that the event had. With a target it is another delivery, with an id
    /// of its own: it neither replaces the other one where that waits, nor counts as it in the log.
    #[must_use]
    pub fn into_replayed(
        self,
        prepared: &Arc<PreparedEvent>,
        origin: &Arc<JobOrigin>,
        now: Timestamp,
    ) -> Delivery {
        let id = self.replayed_id(&prepared.event.envelope, origin);
        let mut delivery = Delivery { id, ..self.into_delivery(prepared, now) };
        delivery.progress.parks = 1;
        delivery.progress.job = Some(Arc::clone(origin));
        if origin.target.is_some() {
            delivery.target = delivery.progress.target(&delivery.subscription);
        }
        delivery
    }
}

impl ParkedRecord {
    /// Creates the record of a delivery of [`PlannedDelivery::into_replayed`], due now, which is `due`. Its message
    /// id is that of the job and the delivery, so that a repeated step of the job stores it once.
    #[must_use]
    pub fn replayed(delivery: &Delivery, due: Timestamp) -> Self {
        let record = Self::of(delivery, due, ParkReason::Replay);
        let mut record = Self { is_due: true, ..record };
        if let Some(job) = delivery.progress.replay_job() {
            record.message_id = format!("replay/{job}/{}", delivery.id);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::parking::{ParkedDelivery, job_origin};
    use crate::delivery::testing::{delivery_to, function};
    use crate::domain::{Handler, Secret};
    use crate::event::codec::names::{self, parked};
    use crate::event::codec::{HeaderList, HeaderLookup};
    use crate::matcher::Match;

    struct Map(HeaderList);

    impl HeaderLookup for Map {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
        }
    }

    fn replayed(original: &Delivery, target: Option<&str>) -> Delivery {
        let origin = JobOrigin::replay("job_1", target.map(|url| url.parse().unwrap()));
        let matched = Match {
            subscription: Arc::clone(&original.subscription),
            self_generated: false,
            filter_error: None,
        };
        let planned = PlannedDelivery { matched, coalesced_with: Vec::new() };
        planned.into_replayed(&original.prepared, &Arc::new(origin), Timestamp::UNIX_EPOCH)
    }

    fn resumed(delivery: &Delivery) -> Delivery {
        let record = ParkedRecord::replayed(delivery, Timestamp::UNIX_EPOCH);
        let fired = ParkedDelivery::read(&Map(record.headers), record.body).unwrap();
        fired.resume(Arc::clone(&delivery.subscription), Vec::new()).unwrap()
    }

    #[test]
    fn replayed_delivery_is_the_one_that_the_event_had_with_fresh_attempts() {
        let original = delivery_to("inst-1", function("f"), "e1");
        let delivery = replayed(&original, None);
        assert_eq!(delivery.id, original.id);
        let record = ParkedRecord::replayed(&delivery, Timestamp::UNIX_EPOCH);
        assert_eq!(record.message_id, format!("replay/job_1/{}", original.id));
        assert!(!record.is_repark, "it needs a place of its own");
        assert!(record.is_due);
        let headers = Map(record.headers);
        assert_eq!(headers.get(names::REPLAY), Some("job_1"));
        assert_eq!(headers.get(parked::PARK_REASON), Some("replay"));
        assert_eq!(job_origin(&headers).unwrap().as_ref(), delivery.progress.job.as_deref());
        let resumed = resumed(&delivery);
        assert_eq!((resumed.id, resumed.target), (original.id, None));
        assert_eq!((resumed.progress.attempt, resumed.progress.parks), (1, 1));
    }

    #[test]
    fn delivery_to_a_target_has_an_id_of_its_own_and_no_token() {
        let secret = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
        let signed = Handler::http("https://app.example.com/".parse().unwrap(), secret);
        for (handler, is_signed) in [(signed, true), (function("f"), false)] {
            let original = delivery_to("inst-1", handler, "e1");
            let delivery = replayed(&original, Some("https://other.example.com/x"));
            assert_ne!(delivery.id, original.id);
            assert_eq!(delivery.id, replayed(&original, Some("https://elsewhere.example/")).id);
            let resumed = resumed(&delivery);
            let Handler::Http(target) = resumed.handler() else { panic!("a plain endpoint") };
            assert_eq!(target.url.as_str(), "https://other.example.com/x");
            assert_eq!(target.secrets.is_some(), is_signed);
            assert_eq!(resumed.id, delivery.id);
        }
    }
}
