//! Logins and logouts in the audit log.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use axum::http::request::Parts;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::api::client_of;
use crate::audit::{Action, AuditError, AuditId, AuditLog, AuditRecord, Step, Via};
use crate::clock;
use crate::domain::Caller;

/// Failed logins of one replica that are recorded in a minute: strangers must not fill the log.
const FAILED_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

static FAILED: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| RateLimiter::direct(Quota::per_minute(FAILED_PER_MINUTE)));

/// Records a login or a logout.
pub(super) async fn record(
    log: &dyn AuditLog,
    parts: &Parts,
    (operation, caller, status): (&str, &Caller, u16),
    detail: Option<String>,
) -> Result<(), AuditError> {
    let mut action = action(parts, operation, detail);
    action.caller = caller.name.to_string();
    action.scope = Some(caller.scope);
    action.installation.clone_from(&caller.installation);
    append(log, action, status).await
}

/// Records a failed login, unless there were many in this minute.
pub(super) async fn record_failure(log: &dyn AuditLog, parts: &Parts, status: u16, reason: &str) {
    if FAILED.check().is_err() {
        return;
    }
    let action = action(parts, "logInFailed", Some(reason.to_owned()));
    if let Err(error) = append(log, action, status).await {
        tracing::warn!(%error, "failed login not recorded in the audit log");
    }
}

fn action(parts: &Parts, operation: &str, detail: Option<String>) -> Action {
    let address = client_of(&parts.extensions).limited_address();
    Action {
        caller: "unknown".into(),
        scope: None,
        installation: None,
        via: Via::Console,
        address: address.map(|address| address.to_string()),
        operation: operation.to_owned(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        request_id: None,
        detail,
    }
}

async fn append(log: &dyn AuditLog, action: Action, status: u16) -> Result<(), AuditError> {
    let id = AuditId::new(clock::broker_now_ms());
    let at_ms = id.at_ms();
    log.append(&AuditRecord::new(id, at_ms, Step::Event { action, status })).await
}
