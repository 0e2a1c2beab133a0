//! Finds stored events by their site, entity or id.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::{CloudId, EventId};
use crate::event::{Decoder, is_about};
use crate::recovery::redrive::ReadError;
use crate::recovery::replay::{
    EventBounds, EventMessage, EventReader, EventScan, ReplayStreams, StartAt, rest_after,
};

/// Events of one read.
const BATCH: usize = 1_000;
/// Entities of other events that are named.
const OTHERS_MAX: usize = 3;

/// A time by which work ends with what it has.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    max: Duration,
}

impl Deadline {
    /// Returns a deadline after `max` from now.
    #[must_use]
    pub fn after(max: Duration) -> Self {
        Self { started: clock::tick(), max }
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_over(self) -> bool {
        clock::since(self.started) >= self.max
    }
}

/// Which events are searched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventSearch {
    /// Of this site; none for all sites.
    pub site: Option<CloudId>,
    /// About this entity.
    pub entity: Option<Box<str>>,
    /// With this id.
    pub event: Option<EventId>,
    /// Stored from then on, milliseconds since the epoch.
    pub from_ms: i64,
    /// Most events that are kept: the newest ones.
    pub keep: usize,
    /// Whether the threads are left to live events after each read, as by a replay.
    pub rests: bool,
}

/// An event that a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundEvent {
    /// Its sequence.
    pub sequence: u64,
    /// When it was stored, milliseconds since the epoch.
    pub stored_ms: i64,
    /// Its site.
    pub site: CloudId,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchReport {
    /// The newest events that fit, oldest first.
    pub found: VecDeque<FoundEvent>,
    /// How many events fit.
    pub matched: u64,
    /// How many events were read.
    pub read: u64,
    /// Events that cannot be read, so that it is not known whether they fit.
    pub unreadable: u64,
    /// Some entities of other events, the newest ones.
    pub other_entities: VecDeque<Box<str>>,
    /// When the last event that was read was stored, milliseconds since the epoch, if the time was used
    /// up before all were read.
    pub cut_at_ms: Option<i64>,
    /// What the event stream had when the search began.
    pub bounds: EventBounds,
}

/// Searches the event stream, oldest events first, and calls `progress` after each read. Ends with the
/// last event that was stored when it began, or at the deadline.
///
/// # Errors
/// The broker does not answer.
pub async fn find_events(
    (streams, reader): (&dyn ReplayStreams, &EventReader),
    search: EventSearch,
    deadline: Deadline,
    progress: &(dyn Fn(&SearchReport) + Send + Sync),
) -> Result<SearchReport, ReadError> {
    let mut report = SearchReport { bounds: streams.event_bounds().await?, ..Default::default() };
    let search = Arc::new(search);
    let from = StartAt::Time(search.from_ms);
    let mut scan = EventScan::new(streams, search.site.as_ref(), from);
    let mut read_ahead = None;
    loop {
        let reading = clock::tick();
        // A question about few events is answered at once.
        let is_long = scan.is_long();
        let max = if is_long { reader.scan_batch() } else { BATCH };
        let batch = match read_ahead.take() {
            Some(batch) => batch,
            None => scan.next(max).await?,
        };
        let (last, has_more) = (report.bounds.last, batch.has_more);
        let Some(at) = batch.events.last().map(|one| (one.sequence, one.stored_ms)) else { break };
        let (examiner, wanted) = (reader.clone(), Arc::clone(&search));
        let events = batch.events.into_iter().take_while(move |one| one.sequence <= last);
        let started = clock::tick();
        let examined = tokio::task::spawn_blocking(move || {
            let mut decoder = examiner.decoder();
            events.map(|message| examine(message, &mut decoder, &wanted)).collect::<Vec<_>>()
        });
        let is_end = !has_more || at.0 >= last;
        // The broker reads while this process examines, unless both make way for live events.
        let can_read_ahead = !is_end && is_long && !search.rests && !reader.has_live_events();
        let ahead =
            async { if can_read_ahead { scan.next(max).await.map(Some) } else { Ok(None) } };
        let (examined, ahead) = tokio::join!(examined, ahead);
        for one in examined.map_err(|error| ReadError(error.to_string()))? {
            report.add(one, search.keep);
        }
        progress(&report);
        if is_end {
            break;
        }
        read_ahead = ahead?;
        if deadline.is_over() {
            report.cut_at_ms = Some(at.1);
            break;
        }
        match search.rests {
            true => rest_after(started).await,
            false if is_long => reader.rest_for_live_events(reading).await,
            false => {}
        }
    }
    Ok(report)
}

/// What a search finds of an event.
enum Examined {
    Fits(FoundEvent),
    /// Another event, with its entity if that was read.
    Other(Option<Box<str>>),
    Unreadable,
}

fn examine(message: EventMessage, decoder: &mut Decoder, search: &EventSearch) -> Examined {
    let (sequence, stored_ms, body) = (message.sequence, message.stored_ms, message.body.clone());
    // The attributes are enough, except of an event whose body has them.
    let event = message.attributes().and_then(|attributes| {
        let decoded = decoder.decode_if_subscribed(attributes, body, sequence, |_| false)?;
        Ok(decoded.into_event())
    });
    let Ok(event) = event else { return Examined::Unreadable };
    let is_site = search.site.as_ref().is_none_or(|site| event.envelope.cloud_id == *site);
    let is_event = search.event.as_ref().is_none_or(|id| event.envelope.event_id == *id);
    let is_entity = search.entity.as_deref().map(|entity| is_about(&event, entity));
    let Some(is_entity) = is_entity.unwrap_or(Some(true)) else { return Examined::Unreadable };
    if is_site && is_event && is_entity {
        let site = event.envelope.cloud_id;
        return Examined::Fits(FoundEvent { sequence, stored_ms, site });
    }
    Examined::Other(event.envelope.entity)
}

impl SearchReport {
    fn add(&mut self, one: Examined, keep: usize) {
        self.read += 1;
        match one {
            Examined::Fits(found) => {
                self.matched += 1;
                self.found.push_back(found);
                if self.found.len() > keep {
                    self.found.pop_front();
                }
            }
            Examined::Other(Some(entity)) if !self.other_entities.contains(&entity) => {
                self.other_entities.push_back(entity);
                if self.other_entities.len() > OTHERS_MAX {
                    self.other_entities.pop_front();
                }
            }
            Examined::Other(_) => {}
            Examined::Unreadable => self.unreadable += 1,
        }
    }
}
