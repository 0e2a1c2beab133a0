//! Publishes events over HTTP to the event stream: one event, or a file of them.
//!
//! | `Content-Type` | body |
//! |---|---|
//! | `application/x-ndjson` | one `{"headers", "data"}` a line, any number of lines |
//! | `application/cloudevents+json` | one CloudEvents document with the event as `data` |
//! | any other | one event; site and type in the query, its id in `ce-id` or `Nats-Msg-Id` |
//!
//! A file is read line by line, in bounded memory, while earlier lines are being stored. An invalid
//! line is reported by its number and does not stop the rest.
//!
//! A single event that the full event stream refuses, or that the broker does not confirm, is answered
//! with 503 and `Retry-After`. A file is answered likewise if none of its lines was stored. If some
//! were, the answer is 202 with `Retry-After`, `retryAfterS` and the other lines; the file can be sent
//! again as a whole, because stored lines are recognised by their ids. While the broker is silent, the first
//! line that it does not confirm ends the file, see [`BrokerAnswers`]: `unreadFromLine` says where.
//!
//! An event that no app can receive is stored, and the answer has [`hints`].

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::hints::EventHints;
use self::line_reader::{Line, LineReader};
use self::report::{LineError, UploadReport};
use super::body::{is_packed, read_body};
use super::parsing;
use super::refusals::IngestRefusals;
use super::repeats::repeat_routes;
use super::sites::SiteDirectory;
use crate::api::admit::{client_of, discard};
use crate::api::broker_answers::{BrokerAnswers, BrokerUse};
use crate::api::content_type::is_json;
use crate::api::error::{self, ApiError, WebhookRefusal, publish_code};
use crate::api::openapi::route;
use crate::api::query_params::QueryParams;
use crate::api::schema::UploadReport as UploadReportSchema;
use crate::domain::CloudId;
use crate::event::codec::{decoded, encoded, names};
use crate::event::members::Members;
use crate::event::{
    Attributes, DecodeError, Decoder, Event, HeaderLookup, PublishError, Published, Publisher,
    identity,
};
use crate::listener::BodyIntake;

mod hints;
mod line_reader;
mod report;
#[cfg(test)]
mod tests;

/// Longest line of a file, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Events of one file that are stored concurrently.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes of one file that are stored concurrently.
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the rest of a file is read that is answered before its end.
const DISCARD_MAX: Duration = Duration::from_millis(500);
/// Longest site id whose refused events are counted, in bytes.
const CLOUD_ID_BYTES_MAX: usize = 128;
/// Headers of one event in a file.
const HEADERS_MAX: usize = 256;

/// Request headers that belong to a single event.
const EVENT_HEADERS: &[&str] = &[
    "content-type",
    "ce-id",
    "ce-time",
    "ce-subject",
    "ce-originapp",
    "nats-msg-id",
    "traceparent",
];

/// State of the publish endpoint.
#[derive(Clone)]
pub struct EventsState {
    /// Stores the events.
    pub publisher: Arc<dyn Publisher>,
    /// Largest body of a single event, envelope included, in bytes.
    pub body_bytes_max: usize,
    /// Largest event, in bytes.
    pub event_bytes_max: usize,
    /// Reads bodies of single events.
    pub bodies: Arc<BodyIntake>,
    /// Counts refused events.
    pub refusals: Arc<IngestRefusals>,
    /// When the broker last answered.
    pub broker: Arc<BrokerAnswers>,
    /// Knows which sites have installations.
    pub directory: Arc<dyn SiteDirectory>,
    /// Whether triggers may name event types that are not in the catalogue.
    pub allows_unknown_types: bool,
}

impl EventsState {
    /// Counts a refused event of a site, if that is known.
    fn count_refused(&self, site: Option<&CloudId>, code: &'static str) {
        if let Some(site) = site.filter(|site| site.as_str().len() <= CLOUD_ID_BYTES_MAX) {
            self.refusals.count_event(site, code);
        }
    }

    fn hints(&self) -> EventHints<'_> {
        EventHints::new(&*self.directory, self.allows_unknown_types)
    }

    /// Publishes an event, but waits for no broker that is silent: its sender can send it again.
    async fn publish(&self, event: Event) -> Result<Published, PublishError> {
        let publish = self.publisher.publish(event.envelope, event.body);
        let published = self.broker.wait(BrokerUse::StoresEvents, publish).await;
        published.unwrap_or_else(|silent| {
            let waited_ms = u64::try_from(silent.waited.as_millis()).unwrap_or(u64::MAX);
            Err(PublishError::Unconfirmed { waited_ms })
        })
    }
}

/// Returns the routes `POST /admin/v1/events` and `GET /admin/v1/repeats`, without authentication:
/// the caller adds it.
pub fn event_routes(state: EventsState) -> OpenApiRouter {
    let repeats = repeat_routes(Arc::clone(&state.publisher));
    route(OpenApiRouter::default(), routes!(publish_events)).with_state(state).merge(repeats)
}

/// Stores one event, or a file of events.
///
/// `application/x-ndjson` has one `{"headers", "data"}` a line, `application/cloudevents+json` one CloudEvents document
/// with the event as `data`. Any other JSON is one event: the query has its site and type, the header `ce-id` or
/// `Nats-Msg-Id` its id.
///
/// A line that is not valid is reported by its number and does not stop the rest.
#[utoipa::path(
    post, path = "/admin/v1/events", operation_id = "publishEvents",
    security(("operatorToken" = ["operate"])),
    params(("cloudId" = Option<String>, Query, description = "Site of a single event."),
        ("type" = Option<String>, Query, description = "Type of a single event."),
        ("ce-id" = Option<String>, Header, description = "Id of a single event, unique inside the site."),
        ("ce-time" = Option<String>, Header, description = "Time of a single event, RFC 3339."),
        ("ce-subject" = Option<String>, Header, description = "Entity that a single event is about."),
        ("ce-originapp" = Option<String>, Header, description = "App that caused a single event."),
        ("Nats-Msg-Id" = Option<String>, Header, description = "`<site>/<id>` of a single event."),
        ("traceparent" = Option<String>, Header, description = "Trace context of a single event.")),
    request_body(content(
        (serde_json::Map<String, serde_json::Value> = "application/json"),
        (serde_json::Map<String, serde_json::Value> = "application/cloudevents+json"),
        (String = "application/x-ndjson",
            example = "{\"headers\":{\"ce-cloudid\":\"s\",\"ce-type\":\"t\",\"ce-id\":\"1\"},\"data\":{}}\n"))),
    responses((status = 202, description = "What was stored, and what was not.", body = UploadReportSchema,
        headers(("Retry-After" = Option<u64>, description = "Seconds, if lines that were not stored may be stored later."))))
)]
async fn publish_events(
    State(state): State<EventsState>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let (Parts { headers, extensions, .. }, body) = request.into_parts();
    if let Some(retry_after_s) = state.publisher.refuse_for_s() {
        let query = QueryParams::parse(query.as_deref());
        state.count_refused(query.get("cloudId").map(CloudId::from).as_ref(), error::BACKLOG);
        return Err(ApiError::Backlog { retry_after_s });
    }
    if is_packed(&headers) {
        discard(&headers, body).await;
        return Err(WebhookRefusal::Packed.into());
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_file = content_type
        .is_some_and(|name| name.to_ascii_lowercase().starts_with("application/x-ndjson"));
    if !is_file && !is_json(&headers) {
        return Err(ApiError::NotJson);
    }
    let report = if is_file {
        store_ndjson(&state, body).await?
    } else {
        let client = client_of(&extensions);
        let max = state.body_bytes_max;
        let received = read_body(&state.bodies, body, max, client, None).await?;
        let query = QueryParams::parse(query.as_deref());
        store_one(&state, &query, &headers, received.bytes.clone()).await?
    };
    Ok(report.respond())
}

/// Stores the event of a body; the query names its site and type.
async fn store_one(
    state: &EventsState,
    query: &QueryParams,
    request: &HeaderMap,
    body: Bytes,
) -> Result<UploadReport, ApiError> {
    let mut headers = EventHeaders::default();
    for name in EVENT_HEADERS {
        if let Some(value) = request.get(*name).and_then(|value| value.to_str().ok()) {
            headers.push(name, value.to_owned());
        }
    }
    for (name, parameter) in [("ce-cloudid", "cloudId"), ("ce-type", "type")] {
        if let Some(value) = query.get(parameter).filter(|value| !value.is_empty()) {
            headers.push(name, encoded(value));
        }
    }
    let site = headers.site();
    let refused = |code| state.count_refused(site.as_ref(), code);
    let (body_bytes, event_bytes_max) = (body.len(), state.event_bytes_max);
    let parse = move || decode(&mut Decoder::new(event_bytes_max, false), &headers, body);
    let event = parsing::run(body_bytes, parse).await?.map_err(|error| {
        refused(error.code());
        ApiError::NoEvent(error)
    })?;
    let mut hints = state.hints();
    hints.add(&event.envelope);
    let published = state.publish(event).await;
    let published = published.map_err(|error| {
        refused(publish_code(&error));
        ApiError::Unpublished(error)
    })?;
    let mut report = UploadReport::default();
    report.count(published);
    report.hints = hints.listed().await;
    Ok(report)
}

/// Stores the lines of a file concurrently and reports on them in order.
async fn store_ndjson(state: &EventsState, body: Body) -> Result<UploadReport, ApiError> {
    let mut lines = LineReader::new(body.into_data_stream(), LINE_BYTES_MAX);
    let mut decoder = Decoder::new(state.event_bytes_max, false);
    let (mut report, mut hints) = (UploadReport::default(), state.hints());
    let mut in_flight = VecDeque::new();
    let mut in_flight_bytes = 0;
    let mut ended = false;
    loop {
        let has_capacity = in_flight.len() < IN_FLIGHT_MAX && in_flight_bytes < IN_FLIGHT_BYTES_MAX;
        tokio::select! {
            Some(stored) = next_in_order(&mut in_flight), if !in_flight.is_empty() => {
                let LineOutcome { line, bytes, outcome } = stored;
                in_flight_bytes -= bytes;
                let is_confirmed = !matches!(&outcome, Err(error) if error.is_unconfirmed);
                record_line(state, &mut report, line, outcome);
                if !is_confirmed {
                    // The broker does not store the others either; their senders repeat the file.
                    abandon(state, &mut report, in_flight).await;
                    report.unread_from_line = (!ended).then(|| lines.number() + 1);
                    let rest = BodyIntake::discard(Body::from_stream(lines.into_chunks()));
                    // The response is sent all the same.
                    let _ = timeout(DISCARD_MAX, rest).await;
                    return report.unless_refused();
                }
            }
            next = lines.next(), if !ended && has_capacity => match next {
                Ok(Some((number, line))) => {
                    let event;
                    (decoder, event) = decode_line(decoder, line).await?;
                    if let Ok(event) = &event {
                        hints.add(&event.envelope);
                    }
                    let (bytes, store) = store_line(state, number, event);
                    in_flight_bytes += bytes;
                    in_flight.push_back((number, start_store(store).await));
                }
                Ok(None) => ended = true,
                Err(error) => {
                    let message = format!("the body ended early: {error}");
                    return Err(ApiError::BadEvents { code: "SY-1024", message });
                }
            },
            else => {
                report.hints = hints.listed().await;
                return report.unless_refused();
            }
        }
    }
}

fn record_line(
    state: &EventsState,
    report: &mut UploadReport,
    line: u64,
    outcome: Result<Published, LineError>,
) {
    if let Err(error) = &outcome {
        state.count_refused(error.site.as_ref(), error.code);
    }
    report.record(line, outcome);
}

/// Records the lines that are being stored: those that are confirmed by now, and the others as not confirmed.
async fn abandon(
    state: &EventsState,
    report: &mut UploadReport,
    in_flight: VecDeque<(u64, PendingLine<'_>)>,
) {
    for (line, mut storing) in in_flight {
        poll_once(&mut storing).await;
        let outcome = match Pin::new(&mut storing).take_output() {
            Some(stored) => stored.outcome,
            None => Err(LineError {
                message: "not confirmed by the broker, which confirmed no earlier line either"
                    .into(),
                ..PublishError::Unconfirmed { waited_ms: 0 }.into()
            }),
        };
        record_line(state, report, line, outcome);
    }
}

/// A line that is being stored.
type PendingLine<'p> = MaybeDone<BoxFuture<'p, LineOutcome>>;

/// Polls a publish once, so that it reaches the broker without waiting for the confirmation. Polled
/// one after the other, events enter the stream in file order; `FuturesUnordered` would start them
/// in any order.
async fn start_store(store: BoxFuture<'_, LineOutcome>) -> PendingLine<'_> {
    let mut storing = maybe_done(store);
    poll_once(&mut storing).await;
    storing
}

async fn poll_once(storing: &mut PendingLine<'_>) {
    poll_fn(|context| {
        let _ = storing.poll_unpin(context);
        Poll::Ready(())
    })
    .await;
}

/// Waits for the oldest pending line and removes it.
async fn next_in_order(in_flight: &mut VecDeque<(u64, PendingLine<'_>)>) -> Option<LineOutcome> {
    let (_, storing) = in_flight.front_mut()?;
    storing.await;
    let (_, mut storing) = in_flight.pop_front()?;
    Pin::new(&mut storing).take_output()
}

/// The result of storing a line.
struct LineOutcome {
    line: u64,
    bytes: usize,
    outcome: Result<Published, LineError>,
}

/// Returns the publish of a line, and the bytes it holds until it completes. A rejected line is
/// queued like any other, so that the report keeps the order of the file.
fn store_line(
    state: &EventsState,
    number: u64,
    decoded: Result<Event, LineError>,
) -> (usize, BoxFuture<'_, LineOutcome>) {
    let decoded = decoded.and_then(|event| match state.publisher.refuse_for_s() {
        None => Ok(event),
        Some(seconds) => Err(LineError {
            site: Some(event.envelope.cloud_id),
            code: error::BACKLOG,
            message: format!("the event stream is nearly full; send it again in {seconds} s"),
            retry_after_s: Some(seconds),
            is_unconfirmed: false,
        }),
    });
    let bytes = decoded.as_ref().map_or(0, |event| event.body.len());
    let store = async move {
        let outcome = match decoded {
            Ok(event) => {
                let site = event.envelope.cloud_id.clone();
                let published = state.publish(event).await;
                published.map_err(|error| LineError { site: Some(site), ..error.into() })
            }
            Err(rejection) => Err(rejection),
        };
        LineOutcome { line: number, bytes, outcome }
    };
    (bytes, Box::pin(store))
}

/// Decodes a line; large ones outside the async runtime, with `decoder`, which is returned.
async fn decode_line(
    mut decoder: Decoder,
    line: Line,
) -> Result<(Decoder, Result<Event, LineError>), ApiError> {
    let Line::Whole(bytes) = line else {
        let message = format!("the line has more than {LINE_BYTES_MAX} bytes");
        return Ok((decoder, Err(LineError::invalid("SY-1025", message))));
    };
    parsing::run(bytes.len(), move || {
        let event = decode_entry(&mut decoder, &bytes);
        (decoder, event)
    })
    .await
}

/// Reads `{"headers": {..}, "data": {..}}`; other members are ignored.
fn decode_entry(decoder: &mut Decoder, line: &Bytes) -> Result<Event, LineError> {
    let schema = |reason: &str| DecodeError::Schema { reason: reason.into() };
    let text = std::str::from_utf8(line)
        .map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
    let entry =
        Members::parse(text).map_err(|error| DecodeError::Json { reason: error.to_string() })?;
    let data = entry.json("data").ok_or_else(|| schema("the line has no member `data`"))?;
    let named =
        entry.object("headers").ok_or_else(|| schema("the line has no object `headers`"))?;
    let mut headers = EventHeaders::default();
    for (name, json) in named.iter() {
        if let Ok(value) = serde_json::from_str(json) {
            headers.push(name, value);
        }
    }
    if headers.0.len() > HEADERS_MAX {
        return Err(schema(&format!("the line has more than {HEADERS_MAX} headers")).into());
    }
    // Copied: a slice would keep the whole chunk of the upload in memory while the line is stored.
    let body = Bytes::copy_from_slice(data.as_bytes());
    decode(decoder, &headers, body)
        .map_err(|error| LineError { site: headers.site(), ..error.into() })
}

fn decode(
    decoder: &mut Decoder,
    headers: &EventHeaders,
    body: Bytes,
) -> Result<Event, DecodeError> {
    let mut event = decoder.decode(Attributes::from_headers(headers)?, body, 0)?;
    if event.envelope.entity.is_none() {
        let members = std::str::from_utf8(&event.body).ok().and_then(|t| Members::parse(t).ok());
        event.envelope.entity = members.and_then(|members| identity::entity_key(&members));
    }
    Ok(event)
}

/// Headers of one event by lower-case name; of repeated names the last counts, as in JSON.
#[derive(Default)]
struct EventHeaders(HashMap<String, String>);

impl EventHeaders {
    fn push(&mut self, name: &str, value: String) {
        self.0.insert(name.to_ascii_lowercase(), value);
    }

    /// The site that they name.
    fn site(&self) -> Option<CloudId> {
        decoded(self, names::EVENT_SITE).ok().flatten().as_deref().map(CloudId::from)
    }
}

impl HeaderLookup for EventHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
