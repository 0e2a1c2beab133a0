//! Bytes to [`Event`]: size, text, depth and shape are checked before anything is matched.

use std::cell::{OnceCell, RefCell};

use bytes::Bytes;
use switchyard_expr::view::Read;
use switchyard_expr::{Tape, TapeError, TapeLimits, View};
use thiserror::Error;

use super::envelope::{Draft, Source};
use super::members::Outline;
use super::scan::{Scan, ScanView};
use super::view::{self, EventView};
use super::{Envelope, Event, Headers};
use crate::domain::AppId;

/// Deepest nesting of an event body.
pub const DEPTH_MAX: u32 = 512;
/// Most JSON values in an event body.
pub const NODES_MAX: u32 = 200_000;

/// Why a message is no event. Each reason is one label value of the decode-error counter and one
/// dead-letter reason.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 text (byte {offset})")]
    Utf8 {
        /// First bad byte.
        offset: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {reason}")]
    Json {
        /// What the parser met, and where.
        reason: String,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {max} levels")]
    Depth {
        /// The bound.
        max: u32,
    },
    /// The body is too large.
    #[error("the body has {size}, the limit is {max}")]
    Size {
        /// Its size, with unit.
        size: String,
        /// The bound.
        max: usize,
    },
    /// The body is JSON, but envelope and body do not make an event.
    #[error("{reason}")]
    Schema {
        /// What is missing or contradicts.
        reason: String,
    },
}

impl DecodeError {
    /// The reason as metric label: `utf8`, `json`, `depth`, `size` or `schema`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf8",
            Self::Json { .. } => "json",
            Self::Depth { .. } => "depth",
            Self::Size { .. } => "size",
            Self::Schema { .. } => "schema",
        }
    }

    /// The stable code, as operators and doors show it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "SY-1001",
            Self::Json { .. } => "SY-1002",
            Self::Depth { .. } => "SY-1003",
            Self::Size { .. } => "SY-1004",
            Self::Schema { .. } => "SY-1005",
        }
    }

    pub(super) fn schema(reason: impl Into<String>) -> Self {
        Self::Schema { reason: reason.into() }
    }
}

/// Reads messages one after the other, reusing its buffers.
///
/// A body is scanned, which checks all of it; the tape that evaluation needs is made when it is
/// asked for, which few events do.
#[derive(Debug)]
pub struct Decoder {
    /// The body; a copy costs less than to check again that it is UTF-8.
    text: String,
    scan: Scan,
    /// The body as a tape, if anyone wanted it.
    tape: OnceCell<Tape>,
    /// The memory of the last tape.
    spare: RefCell<Tape>,
    size_max: usize,
    trust_body_self: bool,
    body_self: bool,
}

/// Bounds of an event body.
const LIMITS: TapeLimits = TapeLimits { depth: DEPTH_MAX, nodes: NODES_MAX };

impl Decoder {
    /// A decoder for bodies of up to `size_max` bytes. With `trust_body_self` a `selfGenerated:
    /// true` in the body counts for every app (buses that serve one app).
    #[must_use]
    pub fn new(size_max: usize, trust_body_self: bool) -> Self {
        Self {
            text: String::new(),
            scan: Scan::default(),
            tape: OnceCell::new(),
            spare: RefCell::default(),
            size_max,
            trust_body_self,
            body_self: false,
        }
    }

    /// Decodes one message of the event stream; afterwards the decoder holds the body in the form
    /// that the matcher reads, until the next call.
    ///
    /// Headers decide; what they lack is taken from the subject
    /// (`<prefix>.ev.<part>.<site>.<type>` or `<prefix>.in.<site>.<type>.<entity>`) and the body.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        &mut self,
        subject: &str,
        headers: &impl Headers,
        body: Bytes,
        sequence: u64,
    ) -> Result<Event, DecodeError> {
        let mut draft = Draft::read(subject, headers)?;
        let body = if draft.source == Source::Structured {
            self.parse(&body)?;
            let data = draft.open_structured(self.tape())?;
            self.parse(&data)?;
            data
        } else {
            self.parse(&body)?;
            body
        };
        self.body_self = self.trust_body_self && self.flag("selfGenerated");
        let envelope = draft.complete(self.text("eventType"), &body)?;
        Ok(Event { envelope, body, sequence })
    }

    /// The decoded body as filters see it: `event.selfGenerated` is what the router derived.
    #[must_use]
    pub fn view(&self, self_generated: bool) -> EventView<'_> {
        EventView::new(self.tape(), self_generated)
    }

    /// The decoded body as lookups see it; it may be stuck before the first.
    #[must_use]
    pub fn scanned(&self) -> ScanView<'_> {
        self.scan.view(&self.text)
    }

    /// Where the members of the decoded body stand; none if that is cheaper to read again.
    #[must_use]
    pub fn outline(&self) -> Option<Outline<'_>> {
        self.scanned().outline()
    }

    /// Whether the app, or the account it acts with, caused the event.
    ///
    /// **Source:** `selfGenerated` is a property of (event, app); the cause is the publisher's
    /// `ce-originapp`, else the acting account.
    #[must_use]
    pub fn is_self_generated(
        &self,
        envelope: &Envelope,
        app: &AppId,
        app_account_id: Option<&str>,
    ) -> bool {
        if self.body_self {
            return true;
        }
        match (&envelope.origin_app, app_account_id) {
            (Some(origin), _) => origin == app,
            (None, Some(account)) => self.text("atlassianId") == Some(account),
            (None, None) => false,
        }
    }

    /// Whether the body itself says that the app caused the event, and is believed.
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
        let text = std::str::from_utf8(body)
            .map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
        self.text.clear();
        self.text.push_str(text);
        if !self.scan.read(&self.text, &LIMITS) {
            let mut tape = self.spare.take();
            tape.parse(body, &LIMITS).map_err(|error| self.refusal(error))?;
            self.tape = OnceCell::from(tape);
        }
        if self.is_object() {
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
            TapeError::Syntax { .. } => DecodeError::Json { reason: error.to_string() },
        }
    }

    fn is_object(&self) -> bool {
        match self.tape.get() {
            Some(tape) => tape.is_object(),
            None => self.text.trim_ascii_start().starts_with('{'),
        }
    }

    /// The body as a tape.
    fn tape(&self) -> &Tape {
        self.tape.get_or_init(|| {
            let mut tape = self.spare.take();
            // Cannot fail on what the scan accepted; if it did, filters would see null and say so.
            let parsed = tape.parse(self.text.as_bytes(), &LIMITS);
            debug_assert!(parsed.is_ok(), "the scan accepted what is not JSON");
            tape
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        if self.tape.get().is_none() {
            let scanned = self.scanned();
            let text = scanned.text(name);
            if !scanned.is_stuck() {
                return text;
            }
        }
        view::text(self.tape(), name)
    }

    fn flag(&self, name: &str) -> bool {
        let tape = self.tape();
        let node = tape.variable("event").and_then(|root| tape.member(root, name));
        node.is_some_and(|node| matches!(tape.read(node), Read::Bool(true)))
    }
}
