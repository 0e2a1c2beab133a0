//! Questions about the delivery log, and which deliveries of a record answer them. Pure.

use std::sync::Arc;

use super::record::{LogResult, bucket};
use super::stored::{StoredDelivery, StoredEventHead, StoredRecord};
use crate::domain::{CloudId, DeliveryId, EventId, InstallationId, SubscriptionId};

/// Outcomes that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeFilter {
    /// Delivered.
    Delivered,
    /// Parked.
    Parked,
    /// Dead-lettered.
    Dead,
    /// Dropped by a policy.
    Dropped,
    /// Its dead letter is deleted.
    Removed,
    /// Anything but delivered.
    Failed,
}

impl OutcomeFilter {
    /// All filters.
    pub const ALL: [Self; 6] =
        [Self::Delivered, Self::Parked, Self::Dead, Self::Dropped, Self::Removed, Self::Failed];

    /// Returns its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
            Self::Removed => "removed",
            Self::Failed => "failed",
        }
    }

    fn accepts(self, outcome: &str) -> bool {
        match self {
            Self::Failed => outcome != Self::Delivered.label(),
            only => outcome == only.label(),
        }
    }
}

/// Which deliveries are asked for: those that fit every part that is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogQuery {
    /// Of a site.
    pub site: Option<CloudId>,
    /// About an entity.
    pub entity: Option<Box<str>>,
    /// Of an event, by its id.
    pub event: Option<EventId>,
    /// To an installation.
    pub installation: Option<InstallationId>,
    /// To a subscription.
    pub subscription: Option<SubscriptionId>,
    /// With an id.
    pub delivery: Option<DeliveryId>,
    /// With an outcome.
    pub outcome: Option<OutcomeFilter>,
    /// With a class of attempt, see [`crate::delivery::AttemptClass::label`].
    pub class: Option<Box<str>>,
    /// Recorded at this time or later, milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Recorded before this time, milliseconds since the epoch.
    pub until_ms: Option<i64>,
}

/// Position of a delivery in the log: the page after it has what comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogPosition {
    /// Sequence of its record.
    pub sequence: u64,
    /// Its place in the record, from 0.
    pub entry: usize,
}

/// A delivery with its record.
#[derive(Clone, PartialEq, Debug)]
pub struct LoggedDelivery {
    /// Its position.
    pub position: LogPosition,
    /// When the broker stored the record, milliseconds since the epoch.
    pub recorded_ms: i64,
    /// The record, shared by its deliveries.
    pub record: Arc<StoredRecord>,
}

impl LoggedDelivery {
    /// Returns the delivery.
    #[must_use]
    pub fn delivery(&self) -> Option<&StoredDelivery> {
        self.record.deliveries.get(self.position.entry)
    }
}

/// Deliveries of one page, newest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogPage {
    /// The deliveries.
    pub items: Vec<LoggedDelivery>,
    /// Where the next page begins; none if there is nothing more.
    pub next: Option<LogPosition>,
    /// Records that were read.
    pub scanned: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Up to which time of the past all records were examined, milliseconds since the epoch.
    pub examined_until_ms: Option<i64>,
}

impl LogQuery {
    /// Returns the result that all answers have; none if both are possible.
    #[must_use]
    pub fn result(&self) -> Option<LogResult> {
        match (self.outcome, self.class.as_deref()) {
            (Some(OutcomeFilter::Delivered), _) => Some(LogResult::Ok),
            (Some(_), _) => Some(LogResult::Failed),
            // A success that asks for a retry is parked.
            (None, Some("2xx") | None) => None,
            (None, Some(_)) => Some(LogResult::Failed),
        }
    }

    /// Returns the bucket that all answers have, if there is one.
    #[must_use]
    pub fn bucket(&self) -> Option<u8> {
        self.entity.as_deref().map(|entity| bucket(Some(entity), ""))
    }

    /// Returns texts that a record has if it answers: to skip others without parsing them.
    #[must_use]
    pub fn needles(&self) -> Vec<String> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (installation, key) = match (&self.subscription, &self.installation) {
            (Some(id), _) => (Some(&id.installation), Some(&id.key)),
            (None, installation) => (installation.as_ref(), None),
        };
        let member = |name: &str, text: &str| format!(r#""{name}":{}"#, quoted(text));
        [
            self.event.as_ref().map(|event| member("id", event.as_str())),
            self.entity.as_ref().map(|entity| member("entity", entity)),
            installation.map(|id| member("installation", id.as_str())),
            key.map(|key| quoted(key.as_str())),
            self.class.as_ref().map(|class| member("class", class)),
            self.outcome
                .filter(|outcome| *outcome != OutcomeFilter::Failed)
                .map(|outcome| member("outcome", outcome.label())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether a delivery of an event answers.
    #[must_use]
    pub fn accepts(&self, event: &StoredEventHead, delivery: &StoredDelivery) -> bool {
        let is = |wanted: &Option<Box<str>>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.site.as_ref().is_none_or(|site| *site == event.site)
            && self.event.as_ref().is_none_or(|id| *id == event.id)
            && is(&self.entity, event.entity.as_deref())
            && self.installation.as_ref().is_none_or(|id| *id == delivery.installation)
            && self.subscription.as_ref().is_none_or(|id| is_for(delivery, id))
            && self.outcome.is_none_or(|outcome| outcome.accepts(&delivery.outcome))
            && is(&self.class, delivery.class.as_deref())
            && self.delivery.as_ref().is_none_or(|id| delivery.delivery_id(event) == *id)
    }
}

fn is_for(delivery: &StoredDelivery, id: &SubscriptionId) -> bool {
    let mut keys = std::iter::once(&delivery.key).chain(&delivery.also);
    delivery.installation == id.installation && keys.any(|key| *key == id.key)
}
