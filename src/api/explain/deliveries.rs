//! What became of the deliveries of an event, from the delivery log.

use serde_json::{Value, json};

use crate::api::json::{insert_some, rfc3339};
use crate::delivery::{EventHistory, LoggedDelivery, StoredDelivery};
use crate::domain::SubscriptionId;

/// What became of one delivery.
#[derive(Clone, Debug)]
pub(super) struct DeliveryFate {
    /// `delivered`, `waiting` or `not delivered`.
    pub(super) decision: &'static str,
    /// What decided; none if it was delivered.
    pub(super) stage: Option<&'static str>,
    /// One sentence.
    pub(super) because: String,
    /// The delivery.
    pub(super) view: Value,
    /// Revision of the registry by which it was routed.
    pub(super) revision: Option<u64>,
}

/// Returns what became of the delivery of an event to a subscription; none if the log has none.
pub(super) fn fate(history: &EventHistory, id: &SubscriptionId) -> Option<DeliveryFate> {
    let is_for = |one: &StoredDelivery| {
        one.installation == id.installation && (one.key == id.key || one.also.contains(&id.key))
    };
    let records = history.items.iter().filter_map(|item| Some((item, item.delivery()?)));
    let records: Vec<_> = records.filter(|(_, one)| is_for(one)).collect();
    // A delivery that was delivered once is delivered, whatever a replay of it does. Else the record counts
    // whose work began last.
    let delivered = records.iter().find(|(_, one)| one.outcome == "delivered");
    let last = records.iter().max_by_key(|(item, _)| item.record.started_ms);
    let (item, one) = delivered.or(last)?;
    let attempts = records.iter().filter(|(_, one)| one.class.is_some()).count();
    let (decision, stage) = match &*one.outcome {
        "delivered" => ("delivered", None),
        "parked" if one.why.as_deref() == Some("paused") => ("waiting", Some("paused")),
        "parked" => ("waiting", Some("endpoint")),
        "dropped" => ("not delivered", Some("dropped")),
        "removed" => ("not delivered", Some("removed")),
        _ => ("not delivered", Some("endpoint")),
    };
    let revision = records.iter().find_map(|(_, one)| one.revision);
    let view = view(item, one, attempts);
    Some(DeliveryFate { decision, stage, because: because(one), view, revision })
}

/// Says what became of it, with the result of the last attempt.
fn because(one: &StoredDelivery) -> String {
    let answer = match (one.status, one.class.as_deref(), &one.detail) {
        (Some(status), ..) => format!("attempt {} answered {status}", one.attempt),
        (None, Some(_), Some(detail)) => format!("attempt {}: {detail}", one.attempt),
        (None, Some(class), None) => format!("attempt {}: {class}", one.attempt),
        (None, None, Some(detail)) => detail.clone(),
        (None, None, None) => String::new(),
    };
    let took = one.took_ms.filter(|_| one.class.is_some());
    let took = took.map(|ms| format!(" in {ms:.0} ms")).unwrap_or_default();
    let why = one.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    let next = one.next_ms.and_then(rfc3339).map(|at| format!(", next attempt at {at}"));
    let ended = match &*one.outcome {
        "delivered" => String::new(),
        "parked" => format!("it waits{why}{}", next.unwrap_or_default()),
        "dead" => format!("it is dead-lettered{why}"),
        outcome => format!("it is {outcome}{why}"),
    };
    match (answer.is_empty(), ended.is_empty()) {
        (false, false) => format!("{answer}{took}; {ended}"),
        (false, true) => format!("{answer}{took}"),
        (true, false) => ended,
        (true, true) => "it is delivered".to_owned(),
    }
}

fn view(item: &LoggedDelivery, one: &StoredDelivery, attempts: usize) -> Value {
    let mut view = json!({
        "id": one.delivery_id(&item.record.event).as_str(),
        "outcome": one.outcome,
        "attempts": attempts,
        "recordedAt": rfc3339(item.recorded_ms),
    });
    insert_some(&mut view, "reason", one.why.as_ref());
    insert_some(&mut view, "class", one.class.as_ref());
    insert_some(&mut view, "status", one.status);
    insert_some(&mut view, "detail", one.detail.as_ref());
    insert_some(&mut view, "tookMs", one.took_ms);
    insert_some(&mut view, "nextAttemptAt", one.next_ms.and_then(rfc3339));
    insert_some(&mut view, "replay", one.replay.as_ref());
    view
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::{LogPosition, StoredRecord};

    fn history(deliveries: &[(i64, Value)]) -> EventHistory {
        let item = |(started_ms, delivery): &(i64, Value)| {
            let record: StoredRecord = serde_json::from_value(json!({
                "v": 1, "event": {"id": "e", "site": "s", "type": "t", "sequence": 1},
                "router": "r", "started_ms": started_ms, "source": "event",
                "deliveries": [delivery],
            }))
            .unwrap();
            LoggedDelivery {
                position: LogPosition { sequence: 1, entry: 0 },
                recorded_ms: *started_ms,
                record: Arc::new(record),
            }
        };
        EventHistory { items: deliveries.iter().map(item).collect(), ..EventHistory::default() }
    }

    fn one(outcome: &str, more: &Value) -> Value {
        let mut one = json!({"installation": "i", "key": "k", "from": "new", "attempt": 1,
            "outcome": outcome});
        if let (Value::Object(one), Value::Object(more)) = (&mut one, more.clone()) {
            one.extend(more);
        }
        one
    }

    fn id() -> SubscriptionId {
        SubscriptionId { installation: "i".into(), key: "k".into() }
    }

    #[test]
    fn last_work_decides_unless_it_was_delivered() {
        let failed = one("parked", &json!({"class": "5xx", "status": 503, "why": "backoff"}));
        let dead = one("dead", &json!({"class": "5xx", "status": 503, "attempt": 2}));
        // The record of the parked delivery is stored first.
        let found = fate(&history(&[(9, dead.clone()), (1, failed.clone())]), &id()).unwrap();
        assert_eq!((found.decision, found.stage), ("not delivered", Some("endpoint")));
        assert!(found.because.starts_with("attempt 2 answered 503"), "{}", found.because);
        assert_eq!(found.view["attempts"], 2);
        let found = fate(&history(&[(1, failed.clone())]), &id()).unwrap();
        assert_eq!((found.decision, found.stage), ("waiting", Some("endpoint")));
        let delivered = one("delivered", &json!({"class": "2xx", "status": 204, "took_ms": 83.2}));
        let found = fate(&history(&[(1, delivered), (5, failed)]), &id()).unwrap();
        assert_eq!((found.decision, found.stage), ("delivered", None));
        assert_eq!(found.because, "attempt 1 answered 204 in 83 ms");
    }

    #[test]
    fn every_stage_of_a_delivery_is_documented() {
        let pages = ["docs/why.md", "docs/design/explain.md"];
        let read = |page: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            std::fs::read_to_string(path).expect("the page")
        };
        let stages = pages.map(|page| {
            let text = read(page);
            let from = text.find("All stages").or_else(|| text.find("**Stages**")).expect("stages");
            text[from..].to_owned()
        });
        let ends = [
            ("parked", "paused", "paused"),
            ("parked", "backoff", "endpoint"),
            ("dead", "exhausted", "endpoint"),
            ("dropped", "share_exceeded", "dropped"),
            ("removed", "rm", "removed"),
        ];
        for (outcome, why, stage) in ends {
            let found = fate(&history(&[(1, one(outcome, &json!({"why": why})))]), &id()).unwrap();
            assert_eq!(found.stage, Some(stage), "{outcome}");
            assert!(stages.iter().all(|text| text.contains(&format!("`{stage}`"))), "{stage}");
        }
    }

    #[test]
    fn paused_and_coalesced_deliveries_are_found() {
        let paused = one("parked", &json!({"why": "paused", "key": "first", "also": ["k"]}));
        let found = fate(&history(&[(1, paused)]), &id()).unwrap();
        assert_eq!((found.decision, found.stage), ("waiting", Some("paused")));
        assert!(
            fate(&history(&[(1, one("delivered", &json!({"key": "other"})))]), &id()).is_none()
        );
    }
}
