//! The audit log.

use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::common::Time;

/// Parameters that select entries of the audit log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct AuditLogParams {
    /// Name of the caller.
    caller: Option<String>,
    /// Id of the operation in this document, or `logIn`, `logInFailed`, `logOut`.
    operation: Option<String>,
    /// Text that the path has, such as `/subscriptions/`.
    path: Option<String>,
    /// From then on: RFC 3339, an age such as `2h`, or milliseconds since the epoch.
    since: Option<String>,
    /// Whether entries have `before` and `after`; a page then has at most 50.
    details: Option<bool>,
}

/// A page of the audit log.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct AuditLogPage {
    /// Without `before` and `after`, unless `details` is true.
    items: Vec<AuditLogEntry>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    /// Time of the oldest record that was read.
    examined_until: Option<Time>,
    /// Records that this release cannot read.
    unreadable: Option<u64>,
}

/// A change, or a login.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct AuditLogEntry {
    id: String,
    time: Time,
    /// Name of the token or of the person.
    caller: String,
    #[schema(inline)]
    scope: Option<AuditScope>,
    /// The only installation that the caller sees.
    installation: Option<String>,
    #[schema(inline)]
    via: AuditVia,
    /// Address of the client.
    address: Option<String>,
    /// Id of the operation in this document, or `logIn`, `logInFailed`, `logOut`.
    operation: String,
    method: String,
    path: String,
    /// `X-Request-Id` of the request.
    request_id: Option<String>,
    detail: Option<String>,
    #[schema(inline)]
    outcome: AuditOutcome,
    /// Status of the answer.
    status: Option<u16>,
    ended_at: Option<Time>,
    /// The resource before the change, without secrets; absent if there was none.
    before: Option<Shown>,
    /// Why `before` is not recorded.
    before_omitted: Option<String>,
    /// The resource after the change, or the answer if one was created, without secrets.
    after: Option<Shown>,
    /// Why `after` is not recorded.
    after_omitted: Option<String>,
}

/// What the API showed of a resource.
#[derive(ToSchema)]
#[schema(value_type = Object)]
struct Shown(Map<String, Value>);

/// What a caller may do.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum AuditScope {
    Read,
    Operate,
    Admin,
}

/// By which way.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum AuditVia {
    Api,
    Command,
    Console,
}

/// How it ended.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum AuditOutcome {
    Done,
    Refused,
    /// It began less than a minute ago.
    Running,
    /// The router stopped, the client left or the broker was away before the end was recorded.
    Unknown,
}
