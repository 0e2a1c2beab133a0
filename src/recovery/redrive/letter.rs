//! One stored dead letter: its id, its headers and its body.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::delivery::StreamPosition;
use crate::domain::token;
use crate::event::codec::names::{self, dead_letter, parked};
use crate::event::codec::{HeaderLookup, decoded};

/// Id of a dead letter: `<sequence>-<milliseconds>`. The time at which it was stored distinguishes it
/// from the letter of a stream that was created again, which counts from 1 again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LetterId(pub StreamPosition);

impl LetterId {
    /// Parses an id; none if no letter can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, stored_ms) = text.split_once('-')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(sequence) || !is_number(stored_ms) {
            return None;
        }
        let position =
            StreamPosition { sequence: sequence.parse().ok()?, stored_ms: stored_ms.parse().ok()? };
        (position.sequence > 0).then_some(Self(position))
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.sequence, self.0.stored_ms)
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = || serde::de::Error::custom("this is not the id of a dead letter");
        Self::parse(&text).ok_or_else(invalid)
    }
}

/// What a letter holds, as its subject says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LetterKind {
    /// A delivery, or an event that was not matched yet for an installation.
    Delivery {
        /// Token of the app.
        app: Box<str>,
        /// Token of the installation.
        installation: Box<str>,
    },
    /// A message of the event stream.
    Event {
        /// Token of the site.
        site: Box<str>,
    },
    /// A parked record that cannot be read.
    Record,
}

impl LetterKind {
    /// Returns its name in answers.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivery { .. } => "delivery",
            Self::Event { .. } => "event",
            Self::Record => "record",
        }
    }
}

/// A dead letter as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLetter {
    /// Its id.
    pub id: LetterId,
    /// What it holds.
    pub kind: LetterKind,
    /// Its headers, values not decoded.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Its body; empty if only headers were read.
    pub body: Bytes,
    /// Size of its body.
    pub body_bytes: usize,
}

impl HeaderLookup for StoredLetter {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(at, _)| at.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }
}

impl StoredLetter {
    /// Returns a decoded header; none if it is missing or is no text.
    #[must_use]
    pub fn text(&self, name: &'static str) -> Option<Cow<'_, str>> {
        decoded(self, name).ok().flatten()
    }

    /// Returns why it was dead-lettered, as stored: a label, or `rejected_<status>`.
    #[must_use]
    pub fn reason(&self) -> Cow<'_, str> {
        self.text(dead_letter::REASON).unwrap_or_default()
    }

    /// Returns the site: its id, or the token of its id if only that is known.
    #[must_use]
    pub fn site(&self) -> Option<Cow<'_, str>> {
        let from_subject = match &self.kind {
            LetterKind::Event { site } => Some(Cow::Borrowed(&**site)),
            LetterKind::Delivery { .. } | LetterKind::Record => None,
        };
        self.text(names::EVENT_SITE).or(from_subject)
    }

    /// Whether the event is of the site `id`. The token of the subject decides only if the letter has no id: an id
    /// may be the token of another one.
    #[must_use]
    pub fn is_of_site(&self, id: &str) -> bool {
        match (self.text(names::EVENT_SITE), &self.kind) {
            (Some(site), _) => site == id,
            (None, LetterKind::Event { site }) => **site == *token(id),
            (None, LetterKind::Delivery { .. } | LetterKind::Record) => false,
        }
    }

    /// Returns the installation: its id, or the token of its id if only that is known.
    #[must_use]
    pub fn installation(&self) -> Option<Cow<'_, str>> {
        let LetterKind::Delivery { installation, .. } = &self.kind else { return None };
        Some(self.installation_id().unwrap_or(Cow::Borrowed(installation)))
    }

    /// Returns the id of the installation; none if the letter has only the token of it.
    #[must_use]
    pub fn installation_id(&self) -> Option<Cow<'_, str>> {
        let from_subscription = self.subscription().and_then(|id| {
            let (installation, _) = id.rsplit_once('/')?;
            Some(Cow::Owned(installation.to_owned()))
        });
        from_subscription.or_else(|| self.text(parked::INSTALLATION))
    }

    /// Whether the delivery is of the installation `id`; see [`StoredLetter::is_of_site`].
    #[must_use]
    pub fn is_of_installation(&self, id: &str) -> bool {
        match (&self.kind, self.installation_id()) {
            (LetterKind::Delivery { .. }, Some(installation)) => installation == id,
            (LetterKind::Delivery { installation, .. }, None) => **installation == *token(id),
            (LetterKind::Event { .. } | LetterKind::Record, _) => false,
        }
    }

    /// Returns the subscription of a delivery, `<installation>/<key>`.
    #[must_use]
    pub fn subscription(&self) -> Option<Cow<'_, str>> {
        self.text(dead_letter::SUBSCRIPTION)
    }

    /// Whether the delivery is for the subscription `id`: its first one, or one that shares the
    /// request with it.
    #[must_use]
    pub fn is_for(&self, id: &str) -> bool {
        let Some(first) = self.subscription() else { return false };
        let same_installation = |(installation, key): (&str, &str)| {
            let others = self.text(parked::COALESCED_WITH).unwrap_or_default();
            first.rsplit_once('/').is_some_and(|(of_first, _)| of_first == installation)
                && others.split(' ').any(|other| other == key)
        };
        first == id || id.rsplit_once('/').is_some_and(same_installation)
    }

    /// Whether the letter was stored without its body, which was too large for the broker.
    #[must_use]
    pub fn is_body_omitted(&self) -> bool {
        self.get(dead_letter::BODY_OMITTED).is_some()
    }
}
