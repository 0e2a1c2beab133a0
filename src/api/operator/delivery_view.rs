//! Deliveries of the log as JSON.

use serde_json::{Map, Value, json};

use crate::api::json::{insert_some, rfc3339};
use crate::delivery::{LoggedDelivery, StoredEventHead};

/// Returns a delivery of the log with its event.
pub(super) fn delivery_view(item: &LoggedDelivery) -> Value {
    let record = &item.record;
    let Some(one) = item.delivery() else { return Value::Null };
    let mut view = json!({
        "id": one.delivery_id(&record.event).as_str(),
        "installation": one.installation,
        "subscription": one.subscription().to_string(),
        "event": event_head_view(&record.event),
        "from": one.from,
        "outcome": one.outcome,
        "attempt": one.attempt,
        "recordedAt": rfc3339(item.recorded_ms),
        "startedAt": rfc3339(record.started_ms),
        "source": record.source,
        "router": record.router,
    });
    if !one.also.is_empty() {
        insert_some(&mut view, "also", Some(&one.also));
    }
    insert_some(&mut view, "revision", one.revision);
    insert_some(&mut view, "replay", one.replay.as_ref());
    insert_some(&mut view, "reason", one.why.as_ref());
    insert_some(&mut view, "class", one.class.as_ref());
    insert_some(&mut view, "status", one.status);
    insert_some(&mut view, "blame", one.blame.as_ref());
    insert_some(&mut view, "detail", one.detail.as_ref());
    insert_some(&mut view, "tookMs", one.took_ms);
    if !one.phases_ms.is_empty() {
        let phases: Map<String, Value> =
            one.phases_ms.iter().map(|(phase, ms)| (camel_case(phase), Value::from(*ms))).collect();
        insert_some(&mut view, "phasesMs", Some(phases));
    }
    insert_some(&mut view, "nextAttemptAt", one.next_ms.and_then(rfc3339));
    insert_some(&mut view, "response", one.response.as_ref());
    insert_some(&mut view, "job", one.job.as_ref());
    if record.delivery_count > 1 {
        insert_some(&mut view, "redelivered", Some(record.delivery_count.saturating_sub(1)));
    }
    view
}

/// Returns the event of a record.
pub(super) fn event_head_view(event: &StoredEventHead) -> Value {
    let mut view = json!({
        "id": event.id,
        "site": event.site,
        "type": event.event_type,
        "sequence": event.sequence,
    });
    insert_some(&mut view, "entity", event.entity.as_ref());
    insert_some(&mut view, "storedAt", event.stored_ms.and_then(rfc3339));
    view
}

/// Returns a name such as `first_byte` as `firstByte`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(part.len().min(1));
        text.push_str(&first.to_ascii_uppercase());
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_phases_are_camel_case() {
        assert_eq!(["queue", "first_byte"].map(camel_case), ["queue", "firstByte"]);
    }
}
