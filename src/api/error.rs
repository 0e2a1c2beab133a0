//! Why requests fail. `error_response` maps each error to an HTTP response.

use std::time::Duration;

use smol_str::SmolStr;

use super::broker_answers::BrokerSilent;
use super::token_kind::OperatorFault;
use crate::audit::AuditError;
use crate::delivery::LogReadError;
use crate::domain::Scope;
use crate::event::{DecodeError, PublishError};
use crate::listener::ShareLevel;
use crate::recovery::account::AccountError;
use crate::recovery::explain::TurnError;
use crate::recovery::jobs::JobsError;
use crate::recovery::redrive::{ReadError, RemoveError};
use crate::registry::{Problem, RegisterError, RevisionError};

/// `Retry-After` when the broker did not confirm an event.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);
/// `Retry-After` when the event stream is full.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// Code of an event rejected because the backlog is near its limit.
pub(super) const BACKLOG: &str = "SY-5013";

/// Returns the code of a failed publish.
pub(super) fn publish_code(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unconfirmed { .. } => "SY-5011",
        PublishError::Refused { .. } => "SY-5012",
        PublishError::Full { .. } => "SY-5014",
    }
}

/// Returns when to send an event again unchanged; none if the broker can never store it.
pub(super) fn publish_retry(error: &PublishError) -> Option<Duration> {
    match error {
        PublishError::Full { .. } => Some(FULL_RETRY),
        PublishError::Unconfirmed { .. } => Some(PUBLISH_RETRY),
        PublishError::Refused { .. } => None,
    }
}

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// Authentication failed; the reason is a metric label and is not shown to the caller.
    Unauthorized(&'static str),
    /// We issued the caller's token, and it has expired.
    TokenExpired {
        /// Seconds since it expired.
        ago_s: i64,
    },
    /// The token of a caller of the operator API is missing or wrong.
    NotAnOperator(OperatorFault),
    /// The caller may not send this request, or not now.
    Access(AccessRefusal),
    /// The request is not signed by a Connect app.
    NotConnect,
    /// The caller is not an app that may register webhooks.
    NotAnApp,
    /// The body cannot be read or is not JSON.
    Malformed(String),
    /// The body is too large.
    BodyTooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// The client may not send this request, or not now.
    Client(ClientRefusal),
    /// The request is well-formed but not valid.
    Invalid(Vec<Problem>),
    /// The body is declared as something else than JSON.
    NotJson,
    /// The record does not exist.
    NotFound,
    /// A name of the path or the query does not exist.
    NoSuchName(Box<Problem>),
    /// The record is not kept any more; one sentence.
    NotKept(String),
    /// The path does not exist.
    NoSuchPath,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// A request that submits events is malformed.
    BadEvents {
        /// Code of the problem.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The signature of a webhook is missing or wrong.
    BadSignature,
    /// A webhook is refused before its body is read.
    Webhook(WebhookRefusal),
    /// The body is not an event.
    NoEvent(DecodeError),
    /// The event stream is nearly full of unacknowledged events.
    Backlog {
        /// Seconds until a retry.
        retry_after_s: u64,
    },
    /// No line of a file was stored, and some can be sent again: the event stream is full, or the broker
    /// does not confirm.
    RefusedFile {
        /// Code of the first such line.
        code: &'static str,
        /// Why it was not stored.
        message: String,
        /// Seconds until a retry.
        retry_after_s: u64,
    },
    /// The broker did not confirm an event, or refused it.
    Unpublished(PublishError),
    /// The broker was silent while a request waited for it.
    BrokerSilent(BrokerSilent),
    /// The broker did not answer a read; the detail goes to the log.
    Unavailable(String),
    /// It was not done, or is not confirmed, for a reason that is shown. A client that repeats the request
    /// blindly may do it twice.
    NotConfirmed(String),
    /// A change is not made because it cannot be recorded; the detail goes to the log.
    NotRecorded(String),
    /// The delivery log is switched off.
    DeliveryLogOff,
    /// The registry rejected the request, or failed.
    Register(RegisterError),
    /// A job is not created or changed.
    Job(JobsError),
    /// A question about stored events gets no turn now.
    Explaining(TurnError),
    /// This router runs as many backtests as it may, or one of the same site.
    Backtesting,
    /// This router has as many live feeds as it may.
    TooManyFeeds,
    /// Endpoints are tested too often.
    TooManyPings {
        /// Time until the next test is accepted.
        retry_after: Duration,
    },
    /// There are as many listeners as may be.
    TooManyListeners {
        /// Their number.
        max: usize,
    },
    /// There is no account.
    Account(AccountError),
}

/// Marks the response to [`ApiError::NotFound`], for the middleware that says what was not found.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoSuchRecord;

/// Why a webhook is refused, whatever its body says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookRefusal {
    /// The site of a webhook has no installation.
    UnknownSite,
    /// Nothing says how the webhooks of a site are authenticated.
    IngestClosed,
    /// The token in the path of a webhook is missing or wrong.
    WrongPathToken,
    /// The body of a webhook is not declared as JSON.
    NotJson,
    /// The body of a webhook is compressed.
    Packed,
    /// The body of a webhook is larger than `limits.body`.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The broker stores no message as large as a webhook.
    Unstorable {
        /// Size of the webhook.
        bytes: usize,
        /// Largest message of the broker, in bytes.
        max: usize,
    },
}

/// Why a caller of the operator API may not send a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessRefusal {
    /// It needs a higher scope.
    Scope {
        /// The lowest scope that may.
        needed: Scope,
        /// The scope of the caller.
        has: Scope,
        /// Its name.
        caller: SmolStr,
    },
    /// It is not for callers of one installation.
    NotOfInstallation {
        /// Name of the caller.
        caller: SmolStr,
    },
    /// The operation does not declare what it needs.
    Undeclared,
    /// The token sends more requests per second than it may.
    TooManyRequests {
        /// Name of the caller.
        caller: SmolStr,
        /// What it may send.
        per_second: u32,
        /// Time until the next one is accepted.
        retry_after: Duration,
    },
}

/// Why a client may not send a request, whatever it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientRefusal {
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The memory for bodies, or the part of the sender, is used up.
    NoBodyCapacity(ShareLevel),
    /// The client failed to authenticate too often.
    TooManyFailures {
        /// Seconds until it may fail again.
        retry_after_s: u64,
    },
    /// The request names another host than this router.
    UnknownHost,
    /// A page of another host sends the request.
    ForeignOrigin,
    /// Metrics are asked for from another machine, or with a wrong token.
    NoMetrics,
}

impl ApiError {
    /// Returns the error of a name that does not exist.
    pub(super) fn no_such_name(problem: Problem) -> Self {
        Self::NoSuchName(Box::new(problem))
    }
}

impl From<WebhookRefusal> for ApiError {
    fn from(refusal: WebhookRefusal) -> Self {
        Self::Webhook(refusal)
    }
}

impl From<AccessRefusal> for ApiError {
    fn from(refusal: AccessRefusal) -> Self {
        Self::Access(refusal)
    }
}

impl From<ClientRefusal> for ApiError {
    fn from(refusal: ClientRefusal) -> Self {
        Self::Client(refusal)
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<LogReadError> for ApiError {
    fn from(error: LogReadError) -> Self {
        match error {
            LogReadError::Off => Self::DeliveryLogOff,
            LogReadError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<JobsError> for ApiError {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::NotFound => Self::NotFound,
            JobsError::Unavailable(reason) => Self::Unavailable(reason),
            JobsError::InDoubt(reason) => Self::NotConfirmed(reason),
            error => Self::Job(error),
        }
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<RevisionError> for ApiError {
    fn from(error: RevisionError) -> Self {
        match error {
            RevisionError::Unavailable(reason) => Self::Unavailable(reason.to_string()),
            RevisionError::NotKept { .. } => Self::NotKept(error.to_string()),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::LogOff => Self::DeliveryLogOff,
            AccountError::Unavailable(reason) => Self::Unavailable(reason),
            error => Self::Account(error),
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        Self::Explaining(error)
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}
