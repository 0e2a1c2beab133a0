//! Headers that channels have in common.

use super::contract::Attempt;
use crate::delivery::model::{AttemptClass, AttemptOutcome};
use crate::delivery::signature::sign_with_all;
use crate::domain::SigningSecrets;
use crate::event::codec::{HeaderList, names};

/// Name of the header that a request without a body does not carry.
pub(super) const CONTENT_TYPE: &str = "content-type";

const USER_AGENT: &str = concat!("switchyard/", env!("CARGO_PKG_VERSION"));

/// Returns the headers of every attempt.
pub(super) fn common_headers(attempt: &Attempt<'_>) -> HeaderList {
    let delivery = attempt.delivery;
    let event = &delivery.prepared.event;
    let subscription = &delivery.subscription.id();
    let mut headers = Vec::with_capacity(14);
    headers.extend([
        (CONTENT_TYPE, "application/json".to_owned()),
        ("webhook-id", delivery.id.to_string()),
        ("webhook-timestamp", attempt.now.as_second().to_string()),
        ("switchyard-event-id", event.envelope.event_id.to_string()),
        ("switchyard-event-type", event.envelope.event_type.to_string()),
        ("switchyard-installation", subscription.installation.to_string()),
        ("switchyard-module-key", subscription.key.to_string()),
        ("switchyard-attempt", delivery.progress.attempt.to_string()),
        ("switchyard-sequence", event.sequence.to_string()),
    ]);
    if let Some(job) = delivery.progress.replay_job() {
        headers.push((names::REPLAY, job.to_string()));
    }
    // An attempt that is not recorded passes the context of the publisher on as it is.
    if let Some(traceparent) = attempt.trace.or(event.envelope.trace).or(event.envelope.traceparent)
    {
        headers.push((names::TRACEPARENT, traceparent.to_string()));
    }
    headers
}

/// Returns the headers of every attempt over HTTP.
pub(super) fn http_headers(attempt: &Attempt<'_>) -> HeaderList {
    let mut headers = common_headers(attempt);
    headers.push(("user-agent", USER_AGENT.to_owned()));
    headers
}

/// Returns the headers of an attempt over HTTP, signed with the secrets that are valid now.
///
/// # Errors
/// The outcome of an attempt that cannot be signed.
pub(super) fn signed_headers(
    attempt: &Attempt<'_>,
    secrets: &SigningSecrets,
) -> Result<HeaderList, AttemptOutcome> {
    let (id, now_s) = (attempt.delivery.id.as_str(), attempt.now.as_second());
    let signature = sign_with_all(secrets, id, now_s, &attempt.body)
        .map_err(|error| AttemptOutcome::failed(AttemptClass::Other, error.to_string()))?;
    let mut headers = http_headers(attempt);
    headers.push(("webhook-signature", signature));
    Ok(headers)
}
