//! Reads records of the delivery log. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{CloudId, DeliveryId, EventId, InstallationId, ModuleKey, SubscriptionId};

/// A record as it is stored; members that this release does not know are ignored.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct StoredRecord {
    /// Version of the format.
    pub v: u32,
    /// The event.
    pub event: StoredEventHead,
    /// Name of the replica that wrote it.
    pub router: String,
    /// When work on the event or the parked record began, milliseconds since the epoch.
    pub started_ms: i64,
    /// When the original was stored, milliseconds since the epoch, if this is a copy of a record from which
    /// something was removed.
    #[serde(default)]
    pub recorded_ms: Option<i64>,
    /// Where the deliveries come from: `event`, `parked` or `dead_letter`.
    pub source: String,
    /// How many times the broker delivered that message.
    #[serde(default = "once")]
    pub delivery_count: i64,
    /// The deliveries.
    pub deliveries: Vec<StoredDelivery>,
}

fn once() -> i64 {
    1
}

/// The event of a record.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct StoredEventHead {
    /// Its id, unique inside the site.
    pub id: EventId,
    /// Its site.
    pub site: CloudId,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Key of the entity that it is about.
    #[serde(default)]
    pub entity: Option<String>,
    /// Its sequence in the event stream.
    pub sequence: u64,
    /// When the broker stored it, milliseconds since the epoch; none if an earlier release parked it.
    #[serde(default)]
    pub stored_ms: Option<i64>,
}

/// One delivery of a record.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct StoredDelivery {
    /// Its installation.
    pub installation: InstallationId,
    /// Its module.
    pub key: ModuleKey,
    /// Further modules that it is for.
    #[serde(default)]
    pub also: Vec<ModuleKey>,
    /// Its id, if that is not derived from event, installation and key.
    #[serde(default)]
    pub id: Option<String>,
    /// Revision of the subscription.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Replay that made it once more; none if its event made it.
    #[serde(default)]
    pub replay: Option<String>,
    /// Job that handed it over, if the record says that it did.
    #[serde(default)]
    pub job: Option<String>,
    /// What it was before: `new`, `parked` or `dead`.
    pub from: String,
    /// What became of it: `delivered`, `parked`, `dead`, `dropped` or `removed`.
    pub outcome: String,
    /// Why it was parked, dead-lettered, dropped or removed.
    #[serde(default)]
    pub why: Option<String>,
    /// Number of the attempt that was made, or is next.
    pub attempt: u32,
    /// Class of the attempt; none if none was made.
    #[serde(default)]
    pub class: Option<String>,
    /// Status of the response.
    #[serde(default)]
    pub status: Option<u16>,
    /// Who caused a failure.
    #[serde(default)]
    pub blame: Option<String>,
    /// One sentence for operators.
    #[serde(default)]
    pub detail: Option<String>,
    /// Duration of the attempt in milliseconds.
    #[serde(default)]
    pub took_ms: Option<f64>,
    /// Durations of its phases in milliseconds.
    #[serde(default)]
    pub phases_ms: BTreeMap<String, f64>,
    /// When it is attempted again, milliseconds since the epoch.
    #[serde(default)]
    pub next_ms: Option<i64>,
    /// Excerpt of the response.
    #[serde(default)]
    pub response: Option<Value>,
}

impl StoredDelivery {
    /// Returns the id of the delivery of `event`.
    #[must_use]
    pub fn delivery_id(&self, event: &StoredEventHead) -> DeliveryId {
        match &self.id {
            Some(id) => DeliveryId::from_record(id),
            None => DeliveryId::derive(&event.site, &event.id, &self.subscription()),
        }
    }

    /// Returns the subscription.
    #[must_use]
    pub fn subscription(&self) -> SubscriptionId {
        SubscriptionId { installation: self.installation.clone(), key: self.key.clone() }
    }

    /// Whether no later record of it is expected: it is delivered, dropped or removed. A parked delivery is
    /// attempted again, and a dead letter may be redriven for as long as it is kept.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(&*self.outcome, "parked" | "dead")
    }
}
