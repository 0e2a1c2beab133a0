//! The door for publishers without a broker: events into the event stream, one or a file of them.
//!
//! | `Content-Type` | body |
//! |---|---|
//! | `application/x-ndjson` | one `{"headers", "data"}` a line, any number of lines |
//! | `application/cloudevents+json` | one CloudEvents document with the event as `data` |
//! | any other | one event; site and type in the query, its id in `ce-id` or `Nats-Msg-Id` |
//!
//! A file is read line by line while earlier lines are being stored, in bounded memory. A bad line is
//! reported under its number and never stops the rest.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use serde::{Deserialize, Serialize};

use self::lines::{Line, Lines};
use super::ApiError;
use super::error::{self, publish_code};
use super::ingest::read;
use crate::event::members::Members;
use crate::event::{
    DecodeError, Decoder, Event, HeaderLookup, PublishError, Published, Publisher, identity,
};

mod lines;
#[cfg(test)]
mod tests;

/// Longest line of a file, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Events of one file being stored at once.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes of one file being stored at once.
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rejected lines listed in an answer; more are only counted.
const REJECTED_LISTED_MAX: usize = 1000;

/// Request headers that say something about a single event.
const EVENT_HEADERS: &[&str] = &[
    "content-type",
    "ce-id",
    "ce-time",
    "ce-subject",
    "ce-originapp",
    "nats-msg-id",
    "traceparent",
];

/// What the door needs.
#[derive(Clone)]
pub struct EventsState {
    /// Takes the events.
    pub publisher: Arc<dyn Publisher>,
    /// Largest body of a single event, envelope included, in bytes.
    pub body_bytes_max: usize,
    /// Largest event, in bytes.
    pub event_bytes_max: usize,
}

/// `POST /admin/v1/events`; whoever mounts it asks for the operator's token.
pub fn routes(state: EventsState) -> Router {
    Router::new()
        .route("/admin/v1/events", post(take))
        .route("/admin/v1/events/", post(take))
        .with_state(state)
}

/// Site and type of a single event.
#[derive(Debug, Deserialize)]
struct About {
    #[serde(rename = "cloudId")]
    cloud_id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
}

async fn take(
    State(state): State<EventsState>,
    Query(about): Query<About>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if let Some(retry_after_s) = state.publisher.refuse_for_s() {
        return Err(ApiError::Backlog { retry_after_s });
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_file = content_type
        .is_some_and(|name| name.to_ascii_lowercase().starts_with("application/x-ndjson"));
    let report = if is_file {
        take_file(&state, body).await?
    } else {
        let body = read(body, state.body_bytes_max).await?;
        take_one(&state, &about, &headers, body).await?
    };
    Ok((StatusCode::ACCEPTED, Json(report)).into_response())
}

async fn take_one(
    state: &EventsState,
    about: &About,
    request: &HeaderMap,
    body: Bytes,
) -> Result<Report, ApiError> {
    let mut headers = EventHeaders::default();
    for name in EVENT_HEADERS {
        if let Some(value) = request.get(*name).and_then(|value| value.to_str().ok()) {
            headers.push(name, value.to_owned());
        }
    }
    let query = [("ce-cloudid", &about.cloud_id), ("ce-type", &about.event_type)];
    for (name, value) in query {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            headers.push(name, percent_encoded(value));
        }
    }
    let mut decoder = Decoder::new(state.event_bytes_max, false);
    let event = decode(&mut decoder, &headers, body).map_err(ApiError::NoEvent)?;
    let published = state.publisher.publish(event.envelope, event.body).await;
    let published = published.map_err(ApiError::Unpublished)?;
    let mut report = Report::default();
    report.count(published);
    Ok(report)
}

/// Stores the lines of a file, several at once, and reports on them in their order.
async fn take_file(state: &EventsState, body: Body) -> Result<Report, ApiError> {
    let mut lines = Lines::new(body.into_data_stream(), LINE_BYTES_MAX);
    let mut decoder = Decoder::new(state.event_bytes_max, false);
    let mut report = Report::default();
    let mut in_flight = VecDeque::new();
    let mut in_flight_bytes = 0;
    let mut ended = false;
    loop {
        let room = in_flight.len() < IN_FLIGHT_MAX && in_flight_bytes < IN_FLIGHT_BYTES_MAX;
        tokio::select! {
            Some(stored) = oldest(&mut in_flight), if !in_flight.is_empty() => {
                let Stored { line, bytes, outcome } = stored;
                in_flight_bytes -= bytes;
                report.record(line, outcome);
            }
            next = lines.next(), if !ended && room => match next {
                Ok(Some((number, line))) => {
                    let (bytes, store) =
                        store_line(&*state.publisher, &mut decoder, number, line);
                    in_flight_bytes += bytes;
                    in_flight.push_back(started(store).await);
                }
                Ok(None) => ended = true,
                Err(error) => {
                    let message = format!("the body ended early: {error}");
                    return Err(ApiError::BadEvents { code: "SY-1024", message });
                }
            },
            else => return Ok(report),
        }
    }
}

/// A line on its way into the stream.
type Storing<'p> = MaybeDone<BoxFuture<'p, Stored>>;

/// Hands an event to the broker without waiting for its answer. Started one after the other, events
/// reach the stream in the order of the file; a pool of futures would start them in any order.
async fn started(store: BoxFuture<'_, Stored>) -> Storing<'_> {
    let mut storing = maybe_done(store);
    poll_fn(|context| {
        let _ = storing.poll_unpin(context);
        Poll::Ready(())
    })
    .await;
    storing
}

/// Waits for the line that was started first and takes it out.
async fn oldest(in_flight: &mut VecDeque<Storing<'_>>) -> Option<Stored> {
    in_flight.front_mut()?.await;
    let mut storing = in_flight.pop_front()?;
    Pin::new(&mut storing).take_output()
}

/// What became of a line.
struct Stored {
    line: u64,
    bytes: usize,
    outcome: Result<Published, Rejection>,
}

struct Rejection {
    code: &'static str,
    message: String,
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

impl From<PublishError> for Rejection {
    fn from(error: PublishError) -> Self {
        Self { code: publish_code(&error), message: error.to_string() }
    }
}

/// How to store a line, and how many bytes of it wait meanwhile. A rejected line takes its turn like
/// any other, so that the report keeps the order of the file.
fn store_line<'p>(
    publisher: &'p dyn Publisher,
    decoder: &mut Decoder,
    number: u64,
    line: Line,
) -> (usize, BoxFuture<'p, Stored>) {
    let decoded = match line {
        Line::TooLong => Err(Rejection {
            code: "SY-1025",
            message: format!("the line has more than {LINE_BYTES_MAX} bytes"),
        }),
        Line::Whole(bytes) => decode_line(decoder, &bytes).map_err(Rejection::from),
    };
    let decoded = decoded.and_then(|event| match publisher.refuse_for_s() {
        None => Ok(event),
        Some(seconds) => Err(Rejection {
            code: error::BACKLOG,
            message: format!("the event stream is nearly full; send it again in {seconds} s"),
        }),
    });
    let bytes = decoded.as_ref().map_or(0, |event| event.body.len());
    let store = async move {
        let outcome = match decoded {
            Ok(event) => {
                publisher.publish(event.envelope, event.body).await.map_err(Rejection::from)
            }
            Err(rejection) => Err(rejection),
        };
        Stored { line: number, bytes, outcome }
    };
    (bytes, Box::pin(store))
}

/// Reads `{"headers": {..}, "data": {..}}`; other members are ignored.
fn decode_line(decoder: &mut Decoder, line: &Bytes) -> Result<Event, DecodeError> {
    let schema = |reason: &str| DecodeError::Schema { reason: reason.into() };
    let text = std::str::from_utf8(line)
        .map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
    let entry =
        Members::parse(text).map_err(|error| DecodeError::Json { reason: error.to_string() })?;
    let data = entry.json("data").ok_or_else(|| schema("the line has no member `data`"))?;
    let named =
        entry.object("headers").ok_or_else(|| schema("the line has no object `headers`"))?;
    let mut headers = EventHeaders::default();
    for (name, _) in named.iter() {
        if let Some(value) = named.string(name) {
            headers.push(name, value);
        }
    }
    // A copy: a slice would keep the whole chunk of the upload in memory while it is stored.
    decode(decoder, &headers, Bytes::copy_from_slice(data.as_bytes()))
}

fn decode(
    decoder: &mut Decoder,
    headers: &EventHeaders,
    body: Bytes,
) -> Result<Event, DecodeError> {
    let mut event = decoder.decode("", headers, body, 0)?;
    if event.envelope.entity.is_none() {
        let members = std::str::from_utf8(&event.body).ok().and_then(|t| Members::parse(t).ok());
        event.envelope.entity = members.and_then(|members| identity::entity_key(&members));
    }
    Ok(event)
}

/// Headers of one event, names in any case.
#[derive(Default)]
struct EventHeaders(Vec<(String, String)>);

impl EventHeaders {
    fn push(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }
}

impl HeaderLookup for EventHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Text as a header value.
///
/// **Source:** CloudEvents NATS protocol binding: space, `"`, `%` and all outside U+0021..U+007E
/// are percent-encoded UTF-8.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What became of a request's events.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Events stored now.
    accepted: u64,
    /// Events that the stream held already under their id.
    duplicates: u64,
    /// Position of each event that the stream holds, duplicates included, in the order sent.
    sequences: Vec<u64>,
    /// The first 1,000 lines that were not stored.
    rejected: Vec<RejectedLine>,
    /// All lines that were not stored.
    rejected_total: u64,
}

#[derive(Debug, Serialize)]
struct RejectedLine {
    line: u64,
    code: &'static str,
    message: String,
}

impl Report {
    fn record(&mut self, line: u64, outcome: Result<Published, Rejection>) {
        match outcome {
            Ok(published) => self.count(published),
            Err(Rejection { code, message }) => {
                self.rejected_total += 1;
                if self.rejected.len() < REJECTED_LISTED_MAX {
                    self.rejected.push(RejectedLine { line, code, message });
                }
            }
        }
    }

    fn count(&mut self, published: Published) {
        self.sequences.push(published.sequence);
        if published.duplicate {
            self.duplicates += 1;
        } else {
            self.accepted += 1;
        }
    }
}
