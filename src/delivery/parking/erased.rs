//! Parked records whose body was erased: the router accounts for their deliveries and attempts nothing.

use crate::event::codec::HeaderLookup;
use crate::event::codec::names::{self, parked};

/// Headers that such a record keeps: those by which its delivery is accounted for.
const KEPT: [&str; 20] = [
    names::DELIVERY_ID,
    names::SEQUENCE,
    names::STORED_MS,
    names::JOB,
    names::REPLAY,
    names::REPEATED_BY,
    parked::DEAD_LETTERS,
    parked::INSTALLATION,
    parked::MODULE_KEY,
    parked::COALESCED_WITH,
    parked::SITE,
    parked::EVENT_ID,
    parked::EVENT_TYPE,
    parked::ENTITY,
    parked::ATTEMPT,
    parked::PARKS,
    parked::FIRST_SEEN,
    parked::PARK_REASON,
    parked::SELF_GENERATED,
    parked::UNMATCHED_APP,
];

/// Whether a parked record keeps a header when its body is erased.
#[must_use]
pub fn is_kept_when_erased(name: &str) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

/// Returns the size of the body that was erased from a parked record; none if it has its body.
#[must_use]
pub fn erased_bytes(headers: &impl HeaderLookup) -> Option<usize> {
    // A size that cannot be read changes a share, not what becomes of the record.
    headers.get(parked::ERASED).map(|bytes| bytes.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use jiff::Timestamp;

    use super::*;
    use crate::delivery::model::{JobOrigin, ParkReason, RemovalReason};
    use crate::delivery::parking::{ParkedDelivery, ParkedRecord};
    use crate::delivery::testing::{delivery_to, function};
    use crate::delivery::{
        DeliveryLog, DeliveryReport, LogCollector, LogMessage, Origin, RecordSource,
    };
    use crate::event::codec::HeaderList;

    struct Map(HeaderList);

    impl HeaderLookup for Map {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
        }
    }

    #[test]
    fn erased_record_is_accounted_for_as_the_whole_one_would_be() {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        let target = "https://elsewhere.example/".parse().ok();
        delivery.progress.job = Some(Arc::new(JobOrigin::replay("job_1", target)));
        delivery.progress.stored_ms = Some(1_700_000_000_123);
        delivery.progress.parks = 2;
        let whole = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Replay);
        let (kept, dropped): (HeaderList, HeaderList) =
            whole.headers.iter().cloned().partition(|(name, _)| is_kept_when_erased(name));
        // None of what is dropped says which delivery it is, or when and by whom it was made.
        let dropped: Vec<&str> = dropped.iter().map(|(name, _)| *name).collect();
        let expected =
            ["switchyard-target", "switchyard-event-time", "switchyard-origin-app", "traceparent"];
        assert_eq!(dropped, expected);
        let read = |headers, body| ParkedDelivery::read(&Map(headers), body).unwrap();
        let (erased, whole) = (read(kept, whole.body.slice(..0)), read(whole.headers, whole.body));
        assert_eq!(
            (erased.id.clone(), erased.progress().stored_ms),
            (whole.id.clone(), whole.progress().stored_ms)
        );
        let report = |parked| DeliveryReport::of_removal(parked, RemovalReason::Erased);
        assert_eq!(report(&erased), report(&whole));
        assert!(report(&erased).replay.is_some());
    }
    /// A log that keeps the body of its last record.
    #[derive(Default)]
    struct LastRecord(Mutex<Bytes>);

    impl DeliveryLog for LastRecord {
        fn router(&self) -> &str {
            "r1"
        }

        fn store(&self, message: LogMessage) -> BoxFuture<'_, ()> {
            *self.0.lock().unwrap() = message.body;
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn erased_record_is_logged_as_removed_from_the_parked_ones() {
        let delivery = delivery_to("inst-1", function("f"), "e1");
        let record = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Backoff);
        let kept = record.headers.into_iter().filter(|(name, _)| is_kept_when_erased(name));
        let parked = ParkedDelivery::read(&Map(kept.collect()), Bytes::new()).unwrap();
        let (log, source) = (LastRecord::default(), RecordSource::Parked);
        let origin = Origin { source, stored_ms: None, delivery_count: 1 };
        let collector = LogCollector::new(Some(&log), parked.event(), origin);
        collector.add(DeliveryReport::of_removal(&parked, RemovalReason::Erased)).await;
        collector.store().await;
        let stored: serde_json::Value = serde_json::from_slice(&log.0.lock().unwrap()).unwrap();
        let delivery = &stored["deliveries"][0];
        let said = ["installation", "from", "outcome", "why"].map(|name| delivery[name].clone());
        assert_eq!(said, ["inst-1", "parked", "removed", "erased"]);
    }
}
