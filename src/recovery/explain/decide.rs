//! Decisions on a stored event, with their reasons.

use std::sync::Arc;

use super::search::Deadline;
use crate::domain::AppId;
use crate::event::{Permissions, StoredEvent};
use crate::matcher::{EventSubscription, Subscriber, TriggerDecision};
use crate::recovery::redrive::ReadError;
use crate::recovery::replay::EventReader;

/// A subscription whose decision is asked for. It need not exist any more.
#[derive(Clone, Debug)]
pub struct DecisionQuery {
    /// The event types that it subscribes to, with their filters.
    pub events: Vec<EventSubscription>,
    /// Its installation.
    pub subscriber: Arc<OwnedSubscriber>,
}

/// What conditions and filters read of an installation, see [`Subscriber`].
#[derive(Clone, Debug)]
pub struct OwnedSubscriber {
    /// See [`Subscriber::app`].
    pub app: AppId,
    /// See [`Subscriber::app_account_id`].
    pub app_account_id: Option<String>,
    /// See [`Subscriber::is_licensed`].
    pub is_licensed: bool,
    /// See [`Subscriber::permissions`].
    pub permissions: Option<Arc<Permissions>>,
}

impl OwnedSubscriber {
    /// Returns what matching reads of it.
    #[must_use]
    pub fn borrowed(&self) -> Subscriber<'_> {
        Subscriber {
            app: &self.app,
            app_account_id: self.app_account_id.as_deref(),
            is_licensed: self.is_licensed,
            permissions: self.permissions.as_deref(),
        }
    }
}

/// Returns the decisions on an event, in order; those that were not made by the deadline are missing at
/// the end. Filters see the time at which the event was stored, as in a replay.
///
/// # Errors
/// The event cannot be read.
pub async fn decide(
    reader: &EventReader,
    stored: Arc<StoredEvent>,
    queries: Vec<DecisionQuery>,
    deadline: Deadline,
) -> Result<Vec<TriggerDecision>, ReadError> {
    let reader = reader.clone();
    let decided = tokio::task::spawn_blocking(move || {
        let mut decoder = reader.decoder();
        decoder.decode_body(&stored.event.body).map_err(|error| ReadError(error.to_string()))?;
        let event = (stored.event.envelope.routing_key(), &decoder);
        let in_time = queries.iter().take_while(|_| !deadline.is_over());
        let decisions = in_time.map(|query| {
            let subscriber = query.subscriber.borrowed();
            reader.matcher().dry_run(&query.events, subscriber, event, stored.stored_ms)
        });
        Ok(decisions.collect())
    });
    decided.await.map_err(|error| ReadError(error.to_string()))?
}
