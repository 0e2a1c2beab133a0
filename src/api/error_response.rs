//! Maps errors to HTTP responses, in the common error format. Connect and Jira have formats of their
//! own, built on this one.
//!
//! Only this module knows HTTP status codes of errors. Details of an internal failure go to the
//! log; the response says only that it is internal.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use super::broker_answers::BrokerSilent;
use super::error::{
    AccessRefusal, ApiError, BACKLOG, ClientRefusal, NoSuchRecord, WebhookRefusal, publish_code,
    publish_retry,
};
use super::metrics;
use super::token_kind::OperatorFault;
use crate::event::{DecodeError, PublishError};
use crate::listener::ShareLevel;
use crate::recovery::account::AccountError;
use crate::recovery::explain::TurnError;
use crate::recovery::jobs::JobsError;
use crate::registry::{Problem, RegisterError, StoreError, code, listed, summary};

/// **Source:** Forge dynamic modules API, the documented texts of 401 and 500.
const AUTHORIZATION_FAILED: &str = "Authorization failed";
/// **Source:** Jira Cloud platform, dynamic modules, the response 401.
const NOT_CONNECT: &str = "The request is not from a Connect app.";
/// **Source:** Jira Cloud platform, webhooks, the response 403.
const NOT_AN_APP: &str = "Only Connect and OAuth 2.0 apps can use this operation";
const NEARLY_FULL: &str =
    "the event stream is nearly full of events not yet handled; send it again";
const NO_SIGNATURE: &str = "X-Hub-Signature is missing or does not match the body and the secret";
const NO_SUCH_PATH: &str =
    "there is no such path; `switchyard explain-code SY-1106` says where the paths are listed";
const INTERNAL: &str = "An internal error occurred";
/// `Retry-After` when the store did not answer.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// `Retry-After` while the broker is silent.
const SILENCE_RETRY: Duration = Duration::from_secs(5);
/// `Retry-After` while another account is computed.
const ACCOUNT_RETRY: Duration = Duration::from_secs(5);
/// `Retry-After` when the memory for bodies is used up.
const BODY_RETRY: Duration = Duration::from_secs(1);

/// `Retry-After` when a stored record cannot be read, until an operator or another release acts.
const UNREADABLE_RETRY: Duration = Duration::from_secs(60);

/// An error as a response: its status, and the body `{message, errors}`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorResponse {
    #[serde(skip)]
    status: StatusCode,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl ErrorResponse {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), retry_after: None }
    }

    /// A response with a single problem, whose text is also the message.
    fn coded(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let errors = vec![Problem::new(code, "", message.clone())];
        Self { errors, ..Self::new(status, message) }
    }

    /// Shown only to holders of a token that we signed.
    fn expired(ago_s: i64) -> Self {
        let ago = if ago_s < 120 { format!("{ago_s} s") } else { format!("{} min", ago_s / 60) };
        let problem = Problem::new("SY-1109", "", format!("token refused: it expired {ago} ago"))
            .with_help("use the token that came with the latest event");
        let errors = vec![problem];
        Self { errors, ..Self::new(StatusCode::UNAUTHORIZED, AUTHORIZATION_FAILED) }
    }

    fn invalid(problems: Vec<Problem>) -> Self {
        let message = summary(&problems);
        Self { errors: listed(problems), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, message) }
    }

    fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }
}

impl From<ApiError> for ErrorResponse {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unauthorized(_) => Self::new(StatusCode::UNAUTHORIZED, AUTHORIZATION_FAILED),
            ApiError::TokenExpired { ago_s } => Self::expired(ago_s),
            ApiError::NotAnOperator(fault) => not_an_operator(&fault),
            ApiError::Access(refusal) => from_access_refusal(&refusal),
            ApiError::NotConnect => Self::new(StatusCode::UNAUTHORIZED, NOT_CONNECT),
            ApiError::NotAnApp => Self::new(StatusCode::FORBIDDEN, NOT_AN_APP),
            ApiError::Malformed(reason) => Self::coded(StatusCode::BAD_REQUEST, "SY-1101", reason),
            ApiError::BodyTooLarge { max } => Self::coded(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SY-1102",
                format!("the request body is larger than {max} bytes"),
            ),
            ApiError::NotJson => Self::coded(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "SY-1116",
                "the body has the Content-Type application/json",
            ),
            ApiError::Webhook(refusal) => from_webhook_refusal(refusal),
            ApiError::Client(refusal) => from_client_refusal(refusal),
            ApiError::Invalid(problems) => Self::invalid(problems),
            ApiError::NotFound => {
                Self::coded(StatusCode::NOT_FOUND, "SY-1103", "there is no such record")
            }
            ApiError::NoSuchName(problem) => {
                let message = problem.sentence();
                Self { errors: vec![*problem], ..Self::new(StatusCode::NOT_FOUND, message) }
            }
            ApiError::NotKept(reason) => Self::coded(StatusCode::GONE, "SY-1117", reason),
            ApiError::NoSuchPath => Self::coded(StatusCode::NOT_FOUND, "SY-1106", NO_SUCH_PATH),
            ApiError::MethodNotAllowed => Self::coded(
                StatusCode::METHOD_NOT_ALLOWED,
                "SY-1104",
                "this path does not take this method",
            ),
            ApiError::BadEvents { code, message } => {
                Self::coded(StatusCode::BAD_REQUEST, code, message)
            }
            ApiError::BadSignature => {
                Self::coded(StatusCode::UNAUTHORIZED, "SY-1022", NO_SIGNATURE)
            }
            ApiError::NoEvent(error) => no_event(&error),
            ApiError::Backlog { retry_after_s } => {
                Self::coded(StatusCode::SERVICE_UNAVAILABLE, BACKLOG, NEARLY_FULL)
                    .with_retry_after(Duration::from_secs(retry_after_s))
            }
            ApiError::RefusedFile { code, message, retry_after_s } => {
                Self::coded(StatusCode::SERVICE_UNAVAILABLE, code, message)
                    .with_retry_after(Duration::from_secs(retry_after_s))
            }
            ApiError::Unpublished(error) => unpublished(&error),
            ApiError::BrokerSilent(silent) => broker_silent(silent),
            ApiError::Unavailable(reason) => unavailable(&reason),
            ApiError::NotConfirmed(reason) => not_confirmed(reason),
            ApiError::NotRecorded(reason) => not_recorded(&reason),
            ApiError::DeliveryLogOff => Self::coded(StatusCode::CONFLICT, "SY-4001", LOG_OFF),
            ApiError::Register(error) => from_register_error(error),
            ApiError::Job(error) => from_jobs_error(&error),
            ApiError::Explaining(error) => explaining(error),
            ApiError::Backtesting => busy(
                "this router runs a backtest of this site, or as many as it may; try again in some seconds",
                ACCOUNT_RETRY,
            ),
            ApiError::TooManyFeeds => busy(TOO_MANY_FEEDS, ACCOUNT_RETRY),
            ApiError::TooManyPings { retry_after } => busy(TOO_MANY_PINGS, retry_after),
            ApiError::TooManyListeners { max } => too_many_listeners(max),
            ApiError::Account(error) => from_account_error(&error),
        }
    }
}

fn not_confirmed(reason: String) -> ErrorResponse {
    error!(reason, "request not done, or not confirmed");
    ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5022", reason)
}

fn not_recorded(reason: &str) -> ErrorResponse {
    error!(reason, "change refused: it cannot be recorded");
    let message = "the audit log does not take the record of the change, so that it is not made";
    ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5025", message)
        .with_retry_after(STORE_RETRY)
}

/// Message while there are as many live feeds as there may be.
const TOO_MANY_FEEDS: &str = "this router has as many live feeds as it may; end one of them";
/// Message after too many tests of endpoints.
const TOO_MANY_PINGS: &str = "endpoints are tested too often; try again in some seconds";
/// Message while the delivery log is off.
const LOG_OFF: &str =
    "the delivery log is off (`delivery.log`): what became of deliveries is not recorded";

fn no_event(error: &DecodeError) -> ErrorResponse {
    let (status, next) = match error {
        DecodeError::Size { .. } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "; leave large fields out, or raise `limits.event`, `limits.body` and the broker's `max_payload`",
        ),
        _ => (StatusCode::BAD_REQUEST, ""),
    };
    ErrorResponse::coded(status, error.code(), format!("{error}{next}"))
}

fn unavailable(reason: &str) -> ErrorResponse {
    error!(reason, "broker read timed out");
    let message = "the broker does not answer in time";
    ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5022", message)
        .with_retry_after(STORE_RETRY)
}

fn not_an_operator(fault: &OperatorFault) -> ErrorResponse {
    let (code, message) = match fault {
        OperatorFault::Missing => (
            "SY-1105",
            "the operator API needs the header `Authorization: Bearer <token>`, and the request has none".into(),
        ),
        OperatorFault::Scheme => (
            "SY-1105",
            "the operator API needs the header `Authorization: Bearer <token>`, and this one has another form".into(),
        ),
        OperatorFault::Expired { ago_s } => {
            ("SY-1134", format!("this access token expired {ago_s} s ago"))
        }
        OperatorFault::Ended => (
            "SY-1119",
            "this access token has ended: it was deleted or rotated, or its installation is deleted".into(),
        ),
        OperatorFault::Wrong(kind) => match kind.description() {
            Some(whose) => (
                "SY-1120",
                format!("this is {whose}; the operator API needs an admin token or an access token"),
            ),
            None => (
                "SY-1119",
                "this router has no such token: compare it with SWITCHYARD_ADMIN_TOKEN, admin.token and the file of \
                 admin.token_file where the router runs, or ask an operator for an access token; `dev` prints its token \
                 when it starts"
                    .into(),
            ),
        },
    };
    ErrorResponse::coded(StatusCode::UNAUTHORIZED, code, message)
}

fn from_access_refusal(refusal: &AccessRefusal) -> ErrorResponse {
    match refusal {
        AccessRefusal::Scope { needed, has, caller } => {
            let (needed, has) = (needed.as_str(), has.as_str());
            let message =
                format!("this needs the scope `{needed}`, and the token `{caller}` has `{has}`");
            ErrorResponse::coded(StatusCode::FORBIDDEN, "SY-1131", message)
        }
        AccessRefusal::NotOfInstallation { caller } => {
            let message =
                format!("this is not open to tokens of one installation, such as `{caller}`");
            ErrorResponse::coded(StatusCode::FORBIDDEN, "SY-1132", message)
        }
        AccessRefusal::Undeclared => {
            let message =
                "this operation does not say which scope it needs, so no caller may send it";
            ErrorResponse::coded(StatusCode::FORBIDDEN, "SY-1131", message)
        }
        AccessRefusal::TooManyRequests { caller, per_second, retry_after } => {
            let message = format!("the token `{caller}` may send {per_second} requests a second");
            ErrorResponse::coded(StatusCode::TOO_MANY_REQUESTS, "SY-1133", message)
                .with_retry_after(*retry_after)
        }
    }
}

fn broker_silent(silent: BrokerSilent) -> ErrorResponse {
    error!(waited_s = silent.waited.as_secs_f64(), "request ended: the broker is silent");
    let waited = format!("{:.1} s", silent.waited.as_secs_f64());
    let message = match silent.in_doubt {
        true => format!(
            "the broker confirmed nothing for {waited}, so the change may be stored or not: read the record \
             before you send the request again"
        ),
        false => format!("the broker gave no answer for {waited}; send the request again"),
    };
    ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5024", message)
        .with_retry_after(SILENCE_RETRY)
}

fn explaining(error: TurnError) -> ErrorResponse {
    let retry_after = match error {
        TurnError::Busy => ACCOUNT_RETRY,
        TurnError::ShareUsed { retry_after } => retry_after,
    };
    busy(error.to_string(), retry_after)
}

fn busy(message: impl Into<String>, retry_after: Duration) -> ErrorResponse {
    ErrorResponse::coded(StatusCode::TOO_MANY_REQUESTS, "SY-4004", message)
        .with_retry_after(retry_after)
}

fn too_many_listeners(max: usize) -> ErrorResponse {
    let message = format!("there are {max} listeners, as many as may be; end one and try again");
    busy(message, ACCOUNT_RETRY)
}

fn from_jobs_error(error: &JobsError) -> ErrorResponse {
    let code = match error {
        JobsError::Full => "SY-4002",
        JobsError::Overlap(_) => "SY-4006",
        _ => "SY-4003",
    };
    ErrorResponse::coded(StatusCode::CONFLICT, code, error.to_string())
}

fn from_account_error(error: &AccountError) -> ErrorResponse {
    let (status, code) = match error {
        AccountError::Busy => (StatusCode::TOO_MANY_REQUESTS, "SY-4004"),
        _ => (StatusCode::CONFLICT, "SY-4005"),
    };
    let response = ErrorResponse::coded(status, code, error.to_string());
    if *error == AccountError::Busy { response.with_retry_after(ACCOUNT_RETRY) } else { response }
}

fn from_webhook_refusal(refusal: WebhookRefusal) -> ErrorResponse {
    match refusal {
        WebhookRefusal::UnknownSite => ErrorResponse::coded(
            StatusCode::NOT_FOUND,
            "SY-1026",
            "no app is installed in this site; its webhooks are not stored",
        ),
        WebhookRefusal::IngestClosed => ErrorResponse::coded(
            StatusCode::UNAUTHORIZED,
            "SY-1027",
            "webhooks of this site are not accepted: the router has no secret for them",
        ),
        WebhookRefusal::WrongPathToken => ErrorResponse::coded(
            StatusCode::UNAUTHORIZED,
            "SY-1029",
            "the token at the end of the path is missing or wrong",
        ),
        WebhookRefusal::NotJson => ErrorResponse::coded(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "SY-1028",
            "a webhook has the Content-Type application/json",
        ),
        WebhookRefusal::Packed => ErrorResponse::coded(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "SY-1031",
            "the body has a Content-Encoding; send it unpacked",
        ),
        WebhookRefusal::TooLarge { max } => ErrorResponse::coded(
            StatusCode::PAYLOAD_TOO_LARGE,
            "SY-1030",
            format!(
                "the webhook has more than {max} bytes, the limit of `limits.body`; raise it, and \
                 the broker's `max_payload`, for larger webhooks (Jira sends up to 25 MB)"
            ),
        ),
        WebhookRefusal::Unstorable { bytes, max } => ErrorResponse::coded(
            StatusCode::PAYLOAD_TOO_LARGE,
            "SY-1030",
            format!(
                "the webhook has {bytes} bytes and does not fit, with its event and headers, into a \
                 message of the broker, {max} bytes; raise the broker's `max_payload`"
            ),
        ),
    }
}

fn from_client_refusal(refusal: ClientRefusal) -> ErrorResponse {
    match refusal {
        ClientRefusal::BodyTooSlow => ErrorResponse::coded(
            StatusCode::REQUEST_TIMEOUT,
            "SY-1110",
            "the request body did not arrive in time",
        ),
        ClientRefusal::NoBodyCapacity(level) => no_body_capacity(level),
        ClientRefusal::TooManyFailures { retry_after_s } => ErrorResponse::coded(
            StatusCode::TOO_MANY_REQUESTS,
            "SY-1112",
            "too many requests of this address failed to authenticate",
        )
        .with_retry_after(Duration::from_secs(retry_after_s)),
        ClientRefusal::UnknownHost => ErrorResponse::coded(
            StatusCode::MISDIRECTED_REQUEST,
            "SY-1113",
            "the header Host is not a name of this router; set server.public_url or server.hosts",
        ),
        ClientRefusal::ForeignOrigin => ErrorResponse::coded(
            StatusCode::FORBIDDEN,
            "SY-1114",
            "a page of another host may not send this request",
        ),
        ClientRefusal::NoMetrics => ErrorResponse::coded(
            StatusCode::UNAUTHORIZED,
            "SY-1115",
            "metrics are shown to this machine, or with the token of metrics.token",
        ),
    }
}

fn no_body_capacity(level: ShareLevel) -> ErrorResponse {
    let (status, whose) = match level {
        ShareLevel::All => (StatusCode::SERVICE_UNAVAILABLE, "all clients send"),
        ShareLevel::Address => (StatusCode::TOO_MANY_REQUESTS, "this address sends"),
        ShareLevel::Site => (StatusCode::TOO_MANY_REQUESTS, "this site sends"),
    };
    let message = format!("{whose} too much at once; send the request again");
    ErrorResponse::coded(status, "SY-1111", message).with_retry_after(BODY_RETRY)
}

fn unpublished(error: &PublishError) -> ErrorResponse {
    let retry_after = publish_retry(error);
    let status = match retry_after {
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::PAYLOAD_TOO_LARGE,
    };
    let next = match error {
        PublishError::Full { .. } => {
            "; send it again later; operators add routers, raise `events.max_bytes` or give the broker more storage"
        }
        PublishError::Refused { .. } => {
            "; raise the broker's `max_payload`, or send a smaller event"
        }
        PublishError::Unconfirmed { .. } => "",
    };
    let response = ErrorResponse::coded(status, publish_code(error), format!("{error}{next}"));
    ErrorResponse { retry_after, ..response }
}

fn from_register_error(error: RegisterError) -> ErrorResponse {
    match error {
        RegisterError::Invalid(problems) => ErrorResponse::invalid(problems),
        RegisterError::NotFound => ApiError::NotFound.into(),
        RegisterError::KeyChanged => ErrorResponse::new(StatusCode::BAD_REQUEST, error.to_string()),
        RegisterError::StaleRevision => ErrorResponse::coded(
            StatusCode::PRECONDITION_FAILED,
            "SY-1108",
            "the record has another revision than If-Match names",
        ),
        RegisterError::Replayed(_) => {
            metrics::auth_failed("connect", "replay");
            ApiError::NotConnect.into()
        }
        RegisterError::RateLimited { retry_after } => {
            let message = "too many registrations of this installation";
            ErrorResponse::coded(StatusCode::TOO_MANY_REQUESTS, "SY-1107", message)
                .with_retry_after(retry_after)
        }
        RegisterError::Store(StoreError::TooLarge { bytes, max }) => {
            let message = format!("all modules together have {bytes} bytes, the limit is {max}");
            ErrorResponse::invalid(vec![Problem::new(code::TOO_LARGE, "", message)])
        }
        RegisterError::Contended { .. }
        | RegisterError::Store(_)
        | RegisterError::NotApplied { .. } => {
            error!(%error, in_doubt = error.is_in_doubt(), "registration not confirmed");
            let message = "the registry did not confirm the change in time";
            ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5021", message)
                .with_retry_after(STORE_RETRY)
        }
        RegisterError::AppRefused(_) => {
            ErrorResponse::coded(StatusCode::BAD_GATEWAY, "SY-2023", error.to_string())
        }
        RegisterError::Document { .. } => {
            error!(%error, "stored record cannot be read");
            let message = "a stored record cannot be read; it is not changed";
            ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5023", message)
                .with_retry_after(UNREADABLE_RETRY)
        }
        RegisterError::NotEncrypted { ref reason, .. } => {
            error!(%error, "record with a secret not stored");
            ErrorResponse::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5023", reason.as_str())
                .with_retry_after(UNREADABLE_RETRY)
        }
        RegisterError::Randomness(_) | RegisterError::NoKey => {
            error!(%error, "registration failed");
            ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
        }
    }
}

impl ErrorResponse {
    /// Renders the response with another `body`.
    pub(super) fn respond(
        &self,
        status: StatusCode,
        scheme: &'static str,
        body: impl Serialize,
    ) -> Response {
        let mut http_response = (status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            http_response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static(scheme);
            http_response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        http_response
    }

    /// The status in Connect's and Jira's APIs, which answer 400 where ours answer 422.
    pub(super) fn legacy_status(&self) -> StatusCode {
        match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        }
    }

    /// The problems as sentences, for APIs whose error format has no list of problems.
    pub(super) fn sentences(&self) -> Vec<String> {
        match self.errors.as_slice() {
            [] => vec![self.message.clone()],
            errors => errors.iter().map(Problem::sentence).collect(),
        }
    }
}

impl ApiError {
    /// Returns the sentence that says why a webhook is refused, for the log.
    pub(super) fn refusal_text(&self) -> String {
        match self {
            Self::Webhook(refusal) => from_webhook_refusal(*refusal).message,
            Self::Client(refusal) => from_client_refusal(*refusal).message,
            Self::BadEvents { message, .. } => message.clone(),
            Self::NoEvent(error) => error.to_string(),
            Self::Unpublished(error) => error.to_string(),
            Self::BadSignature => NO_SIGNATURE.into(),
            Self::Backlog { .. } => NEARLY_FULL.into(),
            Self::Malformed(reason) => reason.clone(),
            // No webhook is refused for another reason.
            _ => String::new(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let is_unknown = matches!(self, Self::NotFound | Self::Register(RegisterError::NotFound));
        let response = ErrorResponse::from(self);
        let mut http_response = response.respond(response.status, "Bearer", &response);
        if is_unknown {
            http_response.extensions_mut().insert(NoSuchRecord);
        }
        http_response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_error_detail_is_not_shown_to_the_caller() {
        let reason = "disk on fire".to_owned();
        let response = ErrorResponse::from(ApiError::from(RegisterError::Document {
            key: "inst.x".into(),
            reason,
        }));
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.message.contains("disk") && response.errors.len() == 1);
        let response = ErrorResponse::from(ApiError::from(RegisterError::NoKey));
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.message, INTERNAL);
        assert!(response.errors.is_empty());
    }

    #[test]
    fn creation_in_doubt_says_why_and_asks_for_no_repetition() {
        let text = "the store does not answer; job_1 may have been created";
        let response: ErrorResponse = ApiError::from(JobsError::InDoubt(text.into())).into();
        assert_eq!(response.retry_after, None);
        assert!(response.sentences().iter().any(|sentence| sentence.contains("job_1")));
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        let limited = RegisterError::RateLimited { retry_after: Duration::from_millis(1200) };
        let http_response = ApiError::from(limited).into_response();
        assert_eq!(http_response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(http_response.headers()[header::RETRY_AFTER], "2");
    }
}
