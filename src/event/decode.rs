//! The event decoder: checks size, encoding, depth and shape of a message body before matching.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use switchyard_expr::{Tape, TapeError, TapeLimits};

use super::codec::{AttributeMode, Attributes};
use super::decode_error::DecodeError;
use super::envelope::{self, BorrowedEnvelope, Event, RoutingKey};
use super::members::MemberSpans;
use super::projection::{
    FieldId, JsonValue, ProjectedValues, Projection, ProjectionBuffer, ProjectionBuilder, extract,
};
use super::scan::Scan;
use super::surrogates;
use super::view::{AppValues, EventView};
use crate::domain::{AppId, TraceContext};

#[cfg(test)]
mod tests;

/// Maximum nesting depth of an event body.
pub const DEPTH_MAX: u32 = 512;
/// Maximum number of JSON values in an event body.
pub const NODES_MAX: u32 = 200_000;

/// Decodes messages one after the other and reuses its buffers.
///
/// Decoding scans the body, which validates all of it. The tape, which filter evaluation needs, is
/// built on first use: few events need it.
#[derive(Debug)]
pub struct Decoder {
    body: Bytes,
    scan: Scan,
    head: Head,
    /// The body as a tape, built on first use.
    tape: OnceCell<Tape>,
    /// The previous tape; its memory is reused.
    spare: RefCell<Tape>,
    size_max: usize,
    trust_body_self: bool,
    body_self: bool,
}

/// The members of a body that describe the event itself.
#[derive(Debug)]
struct Head {
    projection: Arc<Projection>,
    event_type: FieldId,
    account: FieldId,
    user_account: FieldId,
    self_generated: FieldId,
    buffer: ProjectionBuffer,
}

impl Head {
    fn new() -> Self {
        let mut projection = ProjectionBuilder::default();
        let mut member = |name: &str| projection.member(FieldId::ROOT, name);
        let event_type = member("eventType");
        let account = member("atlassianId");
        let self_generated = member("selfGenerated");
        let user = member("user");
        let user_account = projection.member(user, "accountId");
        Self {
            projection: projection.finish(),
            event_type,
            account,
            user_account,
            self_generated,
            buffer: ProjectionBuffer::default(),
        }
    }
}

/// A decoded message that still borrows from its message.
#[derive(Debug)]
pub struct DecodedMessage<'m> {
    envelope: BorrowedEnvelope<'m>,
    body: Bytes,
    /// The body as it was sent.
    sent: Bytes,
    sequence: u64,
    is_body_decoded: bool,
}

impl DecodedMessage<'_> {
    /// Returns the attributes that matching needs.
    #[must_use]
    pub fn routing_key(&self) -> RoutingKey<'_> {
        self.envelope.routing_key()
    }

    /// Returns the trace context of the publisher.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.envelope.trace_context()
    }

    /// Whether the body was decoded; false if the event has no subscriptions.
    #[must_use]
    pub fn is_body_decoded(&self) -> bool {
        self.is_body_decoded
    }

    /// Converts it to an owned [`Event`].
    #[must_use]
    pub fn into_event(self) -> Event {
        let envelope = self.envelope.into_envelope(&self.sent);
        Event { envelope, body: self.body, sequence: self.sequence }
    }
}

/// Limits of an event body.
const LIMITS: TapeLimits = TapeLimits { depth: DEPTH_MAX, nodes: NODES_MAX };

impl Decoder {
    /// Returns a decoder for bodies of up to `size_max` bytes. With `trust_body_self`,
    /// `selfGenerated: true` in the body counts for every app (for buses that serve a single app).
    #[must_use]
    pub fn new(size_max: usize, trust_body_self: bool) -> Self {
        Self {
            body: Bytes::new(),
            scan: Scan::default(),
            head: Head::new(),
            tape: OnceCell::new(),
            spare: RefCell::default(),
            size_max,
            trust_body_self,
            body_self: false,
        }
    }

    /// Decodes one message of the event stream. Until the next call the decoder holds the body in
    /// the form that the matcher reads.
    ///
    /// Missing attributes are read from the body.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        &mut self,
        attributes: Attributes<'_>,
        body: Bytes,
        sequence: u64,
    ) -> Result<Event, DecodeError> {
        Ok(self.decode_if_subscribed(attributes, body, sequence, |_| true)?.into_event())
    }

    /// Decodes one message without building an [`Event`]. The body is not read if the envelope is
    /// enough to know that the event has no subscriptions; such a body stays unvalidated.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_if_subscribed<'m>(
        &mut self,
        mut attributes: Attributes<'m>,
        body: Bytes,
        sequence: u64,
        has_subscribers: impl FnOnce(RoutingKey<'_>) -> bool,
    ) -> Result<DecodedMessage<'m>, DecodeError> {
        let mut sent = attributes.split(body);
        if envelope::routing_key(&attributes).is_some_and(|key| !has_subscribers(key)) {
            let envelope = BorrowedEnvelope::complete(attributes, None)?;
            let body = sent.clone();
            return Ok(DecodedMessage { envelope, body, sent, sequence, is_body_decoded: false });
        }
        self.parse(&sent)?;
        if attributes.mode == AttributeMode::Structured {
            sent = attributes.read_structured(self.tape())?;
            self.parse(&sent)?;
        }
        self.extract_head();
        let envelope = BorrowedEnvelope::complete(attributes, self.text(self.head.event_type))?;
        let body = self.body.clone();
        Ok(DecodedMessage { envelope, body, sent, sequence, is_body_decoded: true })
    }

    /// Decodes the body of an event that was decoded, or passed without being read, before. Returns it
    /// as it is read: without half surrogate pairs.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_body(&mut self, body: &Bytes) -> Result<Bytes, DecodeError> {
        self.parse(body)?;
        self.extract_head();
        Ok(self.body.clone())
    }

    /// Extracts the members of the body that describe the event itself.
    fn extract_head(&mut self) {
        extract(&self.head.projection, self.scan.cursor(&self.body), &mut self.head.buffer);
        self.body_self = self.trust_body_self
            && matches!(self.at(self.head.self_generated), JsonValue::Bool(true));
    }

    /// Returns the decoded body as filters see it, with the derived `event.selfGenerated`.
    #[must_use]
    pub fn view(&self, self_generated: bool) -> EventView<'_> {
        self.view_of(AppValues { self_generated, permissions: None })
    }

    /// Returns the decoded body as the filters of an app see it.
    #[must_use]
    pub fn view_of<'a>(&'a self, values: AppValues<'a>) -> EventView<'a> {
        EventView::new(self.tape(), values)
    }

    /// Extracts the values of `projection` from the decoded body into `buffer`.
    pub fn project(&self, projection: &Projection, buffer: &mut ProjectionBuffer) {
        extract(projection, self.scan.cursor(&self.body), buffer);
    }

    /// Returns the values that [`Decoder::project`] extracted with the same projection.
    pub fn projected<'e>(
        &'e self,
        projection: &'e Projection,
        buffer: &'e ProjectionBuffer,
    ) -> ProjectedValues<'e> {
        buffer.view(projection, &self.body)
    }

    /// Returns the members of the decoded body with their byte ranges; `None` if a name has an
    /// escape, which makes parsing again cheaper.
    #[must_use]
    pub fn member_spans(&self) -> Option<MemberSpans<'_>> {
        self.scan.member_spans(&self.body)
    }

    /// Whether the app, or the account it acts with, caused the event.
    ///
    /// **Source:** `selfGenerated` is a property of (event, app); the cause is the publisher's
    /// `ce-originapp`, else the acting account.
    #[must_use]
    pub fn is_self_generated(
        &self,
        routing_key: RoutingKey<'_>,
        app: &AppId,
        app_account_id: Option<&str>,
    ) -> bool {
        if self.body_self {
            return true;
        }
        match (routing_key.origin_app, app_account_id) {
            (Some(origin), _) => origin == app.as_str(),
            (None, Some(account)) => self.acting_account(routing_key.event_type) == Some(account),
            (None, None) => false,
        }
    }

    /// Returns the account that caused the event: `atlassianId`, else the user of a webhook that is
    /// passed on as it was. The user of an event about users is not the one who acted.
    fn acting_account(&self, event_type: &str) -> Option<&str> {
        let is_about_users = event_type.ends_with(":user") || event_type.contains(":user_");
        let user = || self.text(self.head.user_account).filter(|_| !is_about_users);
        self.text(self.head.account).or_else(user)
    }

    /// Whether the body claims `selfGenerated` and the decoder trusts it.
    #[must_use]
    pub fn says_self_generated(&self) -> bool {
        self.body_self
    }

    fn parse(&mut self, body: &Bytes) -> Result<(), DecodeError> {
        if body.len() > self.size_max {
            let size = format!("{} bytes", body.len());
            return Err(DecodeError::Size { size, max: self.size_max });
        }
        if let Some(tape) = self.tape.take() {
            *self.spare.get_mut() = tape;
        }
        self.body = body.clone();
        if !self.scan.read(body, &LIMITS) {
            self.body = surrogates::repaired(body);
            let is_repaired = self.body.as_ptr() != body.as_ptr();
            if !is_repaired || !self.scan.read(&self.body, &LIMITS) {
                let refused = self.spare.get_mut().parse(&self.body, &LIMITS);
                debug_assert!(refused.is_err(), "the scan refused what is JSON");
                return Err(self.refusal(refused.err().unwrap_or(TapeError::Length)));
            }
        }
        if body.trim_ascii_start().starts_with(b"{") {
            Ok(())
        } else {
            Err(DecodeError::schema("the body is JSON but not an object"))
        }
    }

    fn refusal(&self, error: TapeError) -> DecodeError {
        match error {
            TapeError::Utf8 { offset } => DecodeError::Utf8 { offset },
            TapeError::Depth => DecodeError::Depth { max: DEPTH_MAX },
            TapeError::Nodes | TapeError::Length => {
                let size = format!("more than {NODES_MAX} JSON values");
                DecodeError::Size { size, max: self.size_max }
            }
            TapeError::Syntax { .. } | TapeError::Number { .. } => {
                DecodeError::Json { reason: error.to_string() }
            }
        }
    }

    /// Returns the body as a tape.
    fn tape(&self) -> &Tape {
        self.tape.get_or_init(|| {
            let mut tape = self.spare.take();
            // Cannot fail for a body that the scan accepted; if it did, filters would read null
            // values.
            let parsed = tape.parse(&self.body, &LIMITS);
            debug_assert!(parsed.is_ok(), "the scan accepted what is not JSON");
            tape
        })
    }

    fn at(&self, field: FieldId) -> JsonValue<'_> {
        self.head.buffer.view(&self.head.projection, &self.body).at(field)
    }

    fn text(&self, field: FieldId) -> Option<&str> {
        match self.at(field) {
            JsonValue::Text(text) => {
                let text = std::str::from_utf8(text);
                debug_assert!(text.is_ok(), "the scan accepted what is not UTF-8");
                text.ok()
            }
            _ => None,
        }
    }
}
