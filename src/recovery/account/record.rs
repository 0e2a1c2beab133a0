//! Records of the delivery log as the account reads them: only what it counts, borrowed from the
//! message. Pure.

use std::borrow::Cow;

use serde::Deserialize;

use super::facts::RecordedOutcome;
use crate::domain::{CloudId, DeliveryId, EventId, SubscriptionId};

/// The deliveries of an event, as one record has them.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct AccountRecord<'a> {
    /// The event.
    #[serde(borrow)]
    pub event: RecordedEvent<'a>,
    /// Name of the replica that wrote it.
    #[serde(borrow)]
    pub router: Cow<'a, str>,
    /// When work on the event began, milliseconds since the epoch.
    pub started_ms: i64,
    /// How many times the broker delivered the event.
    #[serde(default = "once")]
    pub delivery_count: i64,
    /// Message ids of records that were deleted on purpose: they are not missing.
    #[serde(default)]
    pub erased: Vec<String>,
    /// The deliveries.
    #[serde(borrow)]
    pub deliveries: Vec<RecordedDelivery<'a>>,
    /// Series of the copies of which it is one, as its message id says; none if it is an original.
    #[serde(skip)]
    pub copied_by: Option<Box<str>>,
}

fn once() -> i64 {
    1
}

/// The event of a record.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct RecordedEvent<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its site.
    #[serde(borrow)]
    pub site: Cow<'a, str>,
    /// Its sequence in the event stream.
    pub sequence: u64,
    /// When the broker stored it, milliseconds since the epoch; none in records of parked deliveries
    /// that an earlier release wrote.
    #[serde(default)]
    pub stored_ms: Option<i64>,
}

/// One delivery of a record.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct RecordedDelivery<'a> {
    /// Its installation.
    #[serde(borrow)]
    pub installation: Cow<'a, str>,
    /// Its module.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Further modules that it is for.
    #[serde(default)]
    pub also: Vec<String>,
    /// Its id, if that is not derived from event, installation and key.
    #[serde(default)]
    pub id: Option<String>,
    /// Replay job that repeated it.
    #[serde(default)]
    pub replay: Option<String>,
    /// What it was before: `new`, `parked` or `dead`.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    /// What became of it.
    pub outcome: RecordedOutcome,
}

impl RecordedDelivery<'_> {
    /// Whether it comes straight from an event.
    pub(super) fn is_new(&self) -> bool {
        self.from == "new"
    }

    /// Whether it is about the dead letter of a delivery.
    pub(super) fn is_of_letter(&self) -> bool {
        self.from == "dead"
    }

    /// Returns its id.
    #[must_use]
    pub(super) fn delivery_id(&self, event: &RecordedEvent<'_>) -> DeliveryId {
        if let Some(id) = &self.id {
            return DeliveryId::from_record(id);
        }
        let (site, id) = (CloudId::from(&*event.site), EventId::from(&*event.id));
        let subscription =
            SubscriptionId { installation: (&*self.installation).into(), key: (&*self.key).into() };
        DeliveryId::derive(&site, &id, &subscription)
    }

    /// Iterates over the keys of its modules.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.key).chain(self.also.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_read_with_members_of_other_releases() {
        let text = r#"{"v":1,"event":{"id":"e\"1","site":"s","type":"t","sequence":7},"router":"r",
            "started_ms":5,"source":"parked","new":{"a":1},"deliveries":[
            {"installation":"i","key":"k","also":["l"],"from":"parked","outcome":"delivered","attempt":2,
             "class":"2xx","took_ms":1.5,"replay":"job_1"},
            {"installation":"i","key":"m","id":"dlv_x","from":"new","outcome":"teleported","attempt":1}]}"#;
        let record: AccountRecord<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((&*record.event.id, record.event.stored_ms), ("e\"1", None));
        assert_eq!((record.delivery_count, record.deliveries.len()), (1, 2));
        let [first, second] = &record.deliveries[..] else { panic!("two") };
        assert_eq!(first.keys().collect::<Vec<_>>(), ["k", "l"]);
        assert_eq!(
            (first.outcome, first.replay.as_deref()),
            (RecordedOutcome::Delivered, Some("job_1"))
        );
        assert_eq!((second.outcome, second.is_new()), (RecordedOutcome::Unknown, true));
        assert_eq!(second.delivery_id(&record.event).as_str(), "dlv_x");
        assert!(first.delivery_id(&record.event).as_str().starts_with("dlv_"));
        assert!(matches!(record.event.site, Cow::Borrowed(_)), "plain text is not copied");
    }
}
