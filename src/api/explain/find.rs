//! Finds the events that a request asks about.

use std::sync::Arc;
use std::time::Duration;

use super::request::{Asked, Asker, EventsAsked};
use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::domain::{CloudId, EventId};
use crate::event::{ArchivedEvent, StoredEvent, UnreadableEvent};
use crate::recovery::explain::{Deadline, EventSearch, SearchReport, find_events};
use crate::recovery::replay::EventBounds;

/// How long events are searched for an operator.
const SEARCH_MAX: Duration = Duration::from_secs(20);
/// How long they are searched for an app.
const APP_SEARCH_MAX: Duration = Duration::from_secs(5);

/// What was found.
pub(super) struct Found {
    /// The events, oldest first.
    pub(super) events: Vec<Arc<StoredEvent>>,
    /// Events that are asked about and cannot be read.
    pub(super) unreadable: Vec<UnreadableEvent>,
    /// What the search read; none without one.
    pub(super) search: Option<SearchReport>,
    /// What the event stream had.
    pub(super) bounds: EventBounds,
}

impl Found {
    /// Adds an event, if it exists for who asks.
    fn add(&mut self, asked: &Asked, found: ArchivedEvent) {
        match found {
            ArchivedEvent::Readable(one) => {
                if asked.asker.sees(&one.event.envelope.cloud_id, one.stored_ms) {
                    self.events.push(Arc::new(one));
                }
            }
            ArchivedEvent::Unreadable(one) => {
                let is_seen = match &one.site {
                    Some(site) => asked.asker.sees(site, one.stored_ms),
                    None => asked.asker.is_operator(),
                };
                if is_seen {
                    self.unreadable.push(one);
                }
            }
        }
    }
}

/// Finds the events that exist for who asks.
pub(super) async fn find(
    state: &Shared,
    asked: &Asked,
    progress: &(dyn Fn(&SearchReport) + Send + Sync),
) -> Result<Found, ApiError> {
    let parts = &state.recovery.replay;
    let direct = match (&asked.events, &asked.site) {
        (EventsAsked::Sequence(sequence), _) => Some(by_sequence(state, *sequence).await?),
        (EventsAsked::Id(id), Some(site)) => by_id(state, site, id).await?.map(Some),
        _ => None,
    };
    let mut found = Found {
        events: Vec::new(),
        unreadable: Vec::new(),
        search: None,
        bounds: EventBounds::default(),
    };
    if let Some(event) = direct {
        found.bounds = parts.streams.event_bounds().await?;
        event.into_iter().for_each(|event| found.add(asked, event));
        return Ok(found);
    }
    let (entity, event) = match &asked.events {
        EventsAsked::Id(id) => (None, Some(id.clone())),
        EventsAsked::Entity(entity) => (entity.clone(), None),
        EventsAsked::Sequence(_) => (None, None),
    };
    let (site, keep, from_ms) = (asked.site.clone(), asked.limit, asked.since_ms);
    let (rests, search_max) = match asked.asker {
        Asker::Operator => (false, SEARCH_MAX),
        Asker::App { .. } => (true, APP_SEARCH_MAX),
    };
    let search = EventSearch { site, entity, event, from_ms, keep, rests };
    let source = (&*parts.streams, &parts.reader);
    let report = find_events(source, search, Deadline::after(search_max), progress).await?;
    for one in &report.found {
        // It may have been deleted since.
        let event = by_sequence(state, one.sequence).await?;
        event.into_iter().for_each(|event| found.add(asked, event));
    }
    found.bounds = report.bounds;
    found.search = Some(report);
    Ok(found)
}

async fn by_sequence(state: &Shared, sequence: u64) -> Result<Option<ArchivedEvent>, ApiError> {
    state.events.by_sequence(sequence).await.map_err(ApiError::Unavailable)
}

/// Returns the event with an id if that is remembered.
async fn by_id(
    state: &Shared,
    site: &CloudId,
    id: &EventId,
) -> Result<Option<ArchivedEvent>, ApiError> {
    let Some(sequence) = state.events.sequence_of(site, id) else { return Ok(None) };
    let found = by_sequence(state, sequence).await?;
    // A stream that was created again has another event with this sequence.
    Ok(found.filter(|found| match found {
        ArchivedEvent::Readable(one) => {
            let envelope = &one.event.envelope;
            envelope.cloud_id == *site && envelope.event_id == *id
        }
        ArchivedEvent::Unreadable(one) => {
            one.site.as_ref() == Some(site) && one.id.as_ref() == Some(id)
        }
    }))
}
