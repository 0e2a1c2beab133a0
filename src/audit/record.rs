//! The records, a stored format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{InstallationId, Scope};

/// Format version of records.
const FORMAT: u32 = 1;
/// Digits of the random part of an id.
const RANDOM_DIGITS: usize = 16;
/// Digits of an id that select its bucket.
const BUCKET_DIGITS: usize = 2;

/// Id of an entry: its time in milliseconds since the epoch, and a random part, such as
/// `1796142000123-5d2c81f0a94be637`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuditId {
    at_ms: i64,
    random: String,
}

impl AuditId {
    /// Returns a new id of a time.
    #[must_use]
    pub fn new(at_ms: i64) -> Self {
        let mut random = Uuid::new_v4().simple().to_string();
        random.drain(..random.len().saturating_sub(RANDOM_DIGITS));
        Self { at_ms, random }
    }

    /// Returns its time, milliseconds since the epoch.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// Returns the part by which its records are found without reading others: two digits.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.random.get(RANDOM_DIGITS - BUCKET_DIGITS..).unwrap_or_default()
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at_ms, self.random)
    }
}

impl FromStr for AuditId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an id of the audit log is `<milliseconds>-<16 digits>`";
        let (at_ms, random) = text.split_once('-').ok_or(WRONG)?;
        let at_ms = at_ms.parse().map_err(|_| WRONG)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match random.len() == RANDOM_DIGITS && random.bytes().all(is_hex) {
            true => Ok(Self { at_ms, random: random.to_owned() }),
            false => Err(WRONG),
        }
    }
}

impl TryFrom<String> for AuditId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AuditId> for String {
    fn from(id: AuditId) -> Self {
        id.to_string()
    }
}

/// By which way somebody acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The operator API.
    Api,
    /// The command line, which calls the operator API.
    Command,
    /// The console.
    Console,
}

impl Via {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Command => "command",
            Self::Console => "console",
        }
    }
}

/// What was shown of a resource, without secrets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// The answer of the operator API.
    Value(Value),
    /// Why it is not recorded; one sentence.
    Omitted(String),
}

/// Who does what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// Name of the token or of the person.
    pub caller: String,
    /// What the caller may do; none of a caller who is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The only installation that the caller sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
    /// By which way.
    pub via: Via,
    /// Address of the client, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Id of the operation in the OpenAPI document, or `logIn`, `logOut`, `logInFailed`.
    pub operation: String,
    /// Method of the request.
    pub method: String,
    /// Path of the request.
    pub path: String,
    /// `X-Request-Id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What there is to say in addition; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a record says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Step {
    /// A change is about to be made.
    Started {
        /// Who does what.
        action: Action,
        /// The resource before it; none if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Content>,
    },
    /// The change was made or refused.
    Done {
        /// Status of the answer.
        status: u16,
        /// The resource after it, or of a created one the answer; none if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Content>,
    },
    /// Something happened that has no further record, such as a login.
    Event {
        /// Who did what.
        action: Action,
        /// Status of the answer.
        status: u16,
    },
}

/// Which kind of record it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// [`Step::Started`]
    Started,
    /// [`Step::Done`]
    Done,
    /// [`Step::Event`]
    Event,
}

impl StepKind {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Event => "event",
        }
    }
}

/// A record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Format version.
    #[serde(rename = "v")]
    pub format: u32,
    /// Id of the entry that it belongs to.
    pub id: AuditId,
    /// Time of the record, milliseconds since the epoch.
    pub at_ms: i64,
    /// What it says.
    #[serde(flatten)]
    pub step: Step,
}

impl AuditRecord {
    /// Returns a record of an entry.
    #[must_use]
    pub fn new(id: AuditId, at_ms: i64, step: Step) -> Self {
        Self { format: FORMAT, id, at_ms, step }
    }

    /// Returns which kind of record it is.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self.step {
            Step::Started { .. } => StepKind::Started,
            Step::Done { .. } => StepKind::Done,
            Step::Event { .. } => StepKind::Event,
        }
    }

    /// Returns it without what was shown of the resource, for lists.
    #[must_use]
    pub fn without_content(mut self) -> Self {
        match &mut self.step {
            Step::Started { before: content, .. } | Step::Done { after: content, .. } => {
                *content = None
            }
            Step::Event { .. } => {}
        }
        self
    }

    /// Parses a stored record.
    ///
    /// # Errors
    /// It is of a later format, or not a record; one sentence.
    pub fn read(stored: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(format!("its format is {other}, known is {FORMAT}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is stored of each kind. Records stay readable: later releases add members and kinds only,
    /// and a record is never written again.
    #[test]
    fn stored_records_are_read_and_written_unchanged() {
        let id = "1796142000123-0d2c81f0a94be637";
        let action = json!({"caller": "ci", "scope": "operate", "installation": "inst-a", "via": "command",
            "address": "10.0.0.1", "operation": "pauseSubscription", "method": "POST",
            "path": "/admin/v1/subscriptions/inst-a%2Fk/pause", "requestId": "r-1", "detail": "a sentence"});
        let least = json!({"caller": "unknown", "via": "console", "operation": "logInFailed", "method": "POST",
            "path": "/login"});
        for (kind, record) in [
            (
                StepKind::Started,
                json!({"state": "started", "action": action, "before": {"value": {"a": 1}}}),
            ),
            (StepKind::Started, json!({"state": "started", "action": action})),
            (
                StepKind::Done,
                json!({"state": "done", "status": 200, "after": {"omitted": "it is long"}}),
            ),
            (StepKind::Done, json!({"state": "done", "status": 404})),
            (StepKind::Event, json!({"state": "event", "action": least, "status": 401})),
        ] {
            let mut stored = json!({"v": 1, "id": id, "atMs": 1_796_142_000_123_i64});
            stored.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
            let read = AuditRecord::read(stored.to_string().as_bytes()).unwrap();
            assert_eq!((read.kind(), read.id.bucket()), (kind, "37"));
            assert_eq!(serde_json::to_value(&read).unwrap(), stored);
        }
        let later =
            json!({"v": 2, "id": id, "atMs": 1, "state": "done", "status": 200}).to_string();
        let error = AuditRecord::read(later.as_bytes()).unwrap_err();
        assert_eq!(error, "its format is 2, known is 1");
    }

    #[test]
    fn id_is_its_time_and_sixteen_digits() {
        let id = AuditId::new(42);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!((id.at_ms(), id.bucket().len()), (42, 2));
        for wrong in
            ["", "1", "1-", "x-0d2c81f0a94be637", "1-0d2c81f0a94be63", "1-0D2c81f0a94be637"]
        {
            assert!(wrong.parse::<AuditId>().is_err(), "{wrong}");
        }
    }
}
