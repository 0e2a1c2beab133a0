//! Makes one attempt of a delivery: headers, signature and the call itself.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::HeaderList;
use super::lane::Lane;
use super::outcome::{AttemptClass, AttemptOutcome};
use super::plan::Delivery;
use super::signature::sign;
use super::webhook;
use crate::domain::{Secret, WebhookHandler};

const CONTENT_TYPE: &str = "content-type";
pub(super) const USER_AGENT: &str = concat!("switchyard/", env!("CARGO_PKG_VERSION"));

/// Calls functions of apps over the broker; implemented in `bus`.
pub trait FunctionCaller: Send + Sync {
    /// Sends a request to `subject` and waits at most `timeout` for the reply.
    fn call(
        &self,
        subject: &str,
        headers: HeaderList,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<FunctionReply, FunctionError>>;
}

/// The reply of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionReply {
    /// Body of the reply.
    pub body: Bytes,
    /// Set when the function replied with an error (`Nats-Service-Error-Code`); read like an HTTP
    /// status.
    pub error_code: Option<u16>,
}

/// Why a function call got no reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FunctionError {
    /// The function's subject has no subscriber.
    NoSubscriber,
    /// No reply before the deadline.
    Timeout,
    /// The broker could not transmit the request.
    Broker(String),
}

/// Makes one attempt over HTTP.
pub(super) async fn post(
    delivery: &Delivery,
    url: &url::Url,
    secret: &Secret,
    lane: &Lane,
    body: Bytes,
    now: Timestamp,
) -> AttemptOutcome {
    let mut headers = common_headers(delivery, now);
    let signature = match sign(secret, delivery.id.as_str(), now.as_second(), &body) {
        Ok(signature) => signature,
        Err(error) => return AttemptOutcome::failed(AttemptClass::Other, error.to_string()),
    };
    headers.push(("user-agent", USER_AGENT.to_owned()));
    headers.push(("webhook-signature", signature));
    lane.client().post(url, headers, body).await
}

/// Makes one attempt at a webhook.
pub(super) async fn post_webhook(
    delivery: &Delivery,
    webhook: &WebhookHandler,
    lane: &Lane,
    body: Bytes,
    now: Timestamp,
) -> AttemptOutcome {
    let url = match webhook::address(delivery, webhook) {
        Ok(url) => url,
        Err(error) => return AttemptOutcome::failed(AttemptClass::Other, error),
    };
    let mut headers = common_headers(delivery, now);
    if webhook.excludes_body {
        headers.retain(|(name, _)| *name != CONTENT_TYPE);
    }
    headers.push(("user-agent", USER_AGENT.to_owned()));
    headers.extend(webhook::headers(delivery, webhook, &url, &body, now));
    lane.client().post(&url, headers, body).await
}

/// Makes one attempt over the broker.
pub(super) async fn call(
    delivery: &Delivery,
    subject: &str,
    functions: &dyn FunctionCaller,
    timeout: Duration,
    body: Bytes,
    now: Timestamp,
) -> AttemptOutcome {
    let headers = common_headers(delivery, now);
    match functions.call(subject, headers, body, timeout).await {
        Ok(FunctionReply { body, error_code: None }) => AttemptOutcome::of_reply(&body),
        Ok(FunctionReply { body, error_code: Some(code) }) => {
            AttemptOutcome::of_http(code, None, &body, now)
        }
        Err(FunctionError::NoSubscriber) => {
            AttemptOutcome::failed(AttemptClass::Connect, "no subscriber on the function's subject")
        }
        Err(FunctionError::Timeout) => {
            AttemptOutcome::failed(AttemptClass::Timeout, "no reply before the deadline")
        }
        Err(FunctionError::Broker(reason)) => AttemptOutcome::failed(AttemptClass::Other, reason),
    }
}

pub(super) fn common_headers(delivery: &Delivery, now: Timestamp) -> HeaderList {
    let event = &delivery.prepared.event;
    let subscription = &delivery.subscription.id();
    let mut headers = Vec::with_capacity(13);
    headers.extend([
        (CONTENT_TYPE, "application/json".to_owned()),
        ("webhook-id", delivery.id.to_string()),
        ("webhook-timestamp", now.as_second().to_string()),
        ("switchyard-event-id", event.envelope.event_id.to_string()),
        ("switchyard-event-type", event.envelope.event_type.to_string()),
        ("switchyard-installation", subscription.installation.to_string()),
        ("switchyard-module-key", subscription.key.to_string()),
        ("switchyard-attempt", delivery.progress.attempt.to_string()),
        ("switchyard-sequence", event.sequence.to_string()),
    ]);
    if let Some(traceparent) = &event.envelope.traceparent {
        headers.push(("traceparent", traceparent.to_string()));
    }
    headers
}
