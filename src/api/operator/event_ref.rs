//! References to events: `<cloudId>/<event id>` as in [`identity::of_event`], or a sequence of the event stream.

use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::{EventKey, LogQuery, StoredEventHead};
use crate::domain::{CloudId, EventId};
use crate::event::{ArchivedEvent, EventListQuery, ListedMessage, StoredEvent, identity};

/// How long ago an event was stored whose id is not remembered yet, in milliseconds.
const NEW_MS: i64 = 60_000;

/// Returns the stored event that a reference names; none if the event stream does not have it
/// or it cannot be read.
pub(super) async fn stored(state: &Shared, text: &str) -> Result<Option<StoredEvent>, ApiError> {
    let sequence = match (sequence_of(text), parse(text)) {
        (Some(sequence), _) => Some(sequence),
        (None, Some((site, id))) => match state.events.sequence_of(&site, &id) {
            Some(known) => Some(known),
            None => sequence_of_new(state, site, id).await?,
        },
        (None, None) => None,
    };
    let Some(sequence) = sequence else { return Ok(None) };
    let found = state.events.by_sequence(sequence).await.map_err(ApiError::Unavailable)?;
    // An id that was remembered may have the sequence of another event, if the stream was created again.
    let is_it = |found: &StoredEvent| {
        let envelope = &found.event.envelope;
        parse(text).is_none_or(|(site, id)| {
            sequence_of(text).is_some() || (envelope.cloud_id == site && envelope.event_id == id)
        })
    };
    Ok(found.and_then(ArchivedEvent::readable).filter(is_it))
}

/// Searches an event among those that were stored lately: the ids of events that a bus published are remembered some
/// seconds later.
async fn sequence_of_new(
    state: &Shared,
    site: CloudId,
    id: EventId,
) -> Result<Option<u64>, ApiError> {
    let query = EventListQuery {
        site: Some(site),
        event: Some(id),
        since_ms: Some(clock::broker_now_ms().saturating_sub(NEW_MS)),
        ..EventListQuery::default()
    };
    let page = state.events.list(&query, None, 1).await.map_err(ApiError::Unavailable)?;
    Ok(page.items.first().map(ListedMessage::sequence))
}

/// Returns what the log knows an event by: from the event stream, or else from its newest record. `site`
/// is the site of a reference that has only the event id.
pub(super) async fn find(
    state: &Shared,
    text: &str,
    site: Option<&CloudId>,
) -> Result<Option<EventKey>, ApiError> {
    if let Some(found) = stored(state, text).await? {
        return Ok(Some(key_of(&found)));
    }
    if sequence_of(text).is_some() && site.is_none() {
        return Ok(None);
    }
    let (site, id) = match (parse(text), site) {
        (Some((site, id)), None) => (site, id),
        // The reference may name the site, too.
        (Some((of, id)), Some(site)) if of == *site => (of, id),
        (_, Some(site)) => (site.clone(), EventId::from(text)),
        (None, None) => return Ok(None),
    };
    if let Some(found) = stored(state, &identity::of_event(&site, &id)).await? {
        return Ok(Some(key_of(&found)));
    }
    let query = LogQuery { site: Some(site), event: Some(id), ..LogQuery::default() };
    let page = state.delivery_log.list(&query, None, 1).await?;
    match page.items.first() {
        Some(item) => of_record(state, &item.record.event).await.map(Some),
        None => Ok(None),
    }
}

/// Returns what the log knows the event of a record by.
pub(super) async fn of_record(
    state: &Shared,
    event: &StoredEventHead,
) -> Result<EventKey, ApiError> {
    let mut key = EventKey {
        site: event.site.clone(),
        id: event.id.clone(),
        entity: event.entity.as_deref().map(Into::into),
        stored_ms: event.stored_ms,
    };
    if key.stored_ms.is_none() {
        key.stored_ms = stored_of_record(state, event).await?.map(|found| found.stored_ms);
    }
    Ok(key)
}

/// Returns the stored event of a record; none if the event stream does not have it any more, or
/// it cannot be read.
pub(super) async fn stored_of_record(
    state: &Shared,
    event: &StoredEventHead,
) -> Result<Option<StoredEvent>, ApiError> {
    let found = state.events.by_sequence(event.sequence).await.map_err(ApiError::Unavailable)?;
    // A stream that was created again has another event with this sequence.
    Ok(found.and_then(ArchivedEvent::readable).filter(|found| {
        let envelope = &found.event.envelope;
        envelope.cloud_id == event.site && envelope.event_id == event.id
    }))
}

fn key_of(found: &StoredEvent) -> EventKey {
    let envelope = &found.event.envelope;
    EventKey {
        site: envelope.cloud_id.clone(),
        id: envelope.event_id.clone(),
        entity: envelope.entity.clone(),
        stored_ms: Some(found.stored_ms),
    }
}

fn sequence_of(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// Splits `<cloudId>/<event id>`; the event id may contain `/`.
fn parse(text: &str) -> Option<(CloudId, EventId)> {
    let (site, id) = identity::split(text)?;
    (!site.is_empty() && !id.is_empty()).then(|| (CloudId::from(&*site), EventId::from(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_the_event_of_one_site_whatever_the_ids_contain() {
        for (site, id) in [("s", "e"), ("a/b", "c"), ("a", "b/c"), ("50%", "x%2Fy"), ("%2F", "/")] {
            let (site, id) = (CloudId::from(site), EventId::from(id));
            assert_eq!(parse(&identity::of_event(&site, &id)), Some((site, id)));
        }
        for text in ["", "e", "/e", "s/"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
