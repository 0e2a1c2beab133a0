//! One try at a delivery: its headers, its signature, and who is asked to send it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Fields;
use super::lane::Lane;
use super::outcome::{Class, Outcome};
use super::plan::Delivery;
use super::signature::sign;
use super::webhook;
use crate::domain::{Secret, Webhook};

const CONTENT_TYPE: &str = "content-type";
pub(super) const USER_AGENT: &str = concat!("switchyard/", env!("CARGO_PKG_VERSION"));

/// Calls functions of apps over the broker; implemented at its edge.
pub trait FunctionCaller: Send + Sync {
    /// Sends a request to `subject` and waits at most `timeout` for the reply.
    fn call(
        &self,
        subject: &str,
        fields: Fields,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Reply, CallError>>;
}

/// The answer of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its body.
    pub body: Bytes,
    /// Set when the function answered with an error (`Nats-Service-Error-Code`): a code that is
    /// read like an HTTP status.
    pub error_code: Option<u16>,
}

/// Why a function gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// Nobody listens on its subject.
    NobodyListens,
    /// No reply before the deadline.
    Timeout,
    /// The broker could not carry the request.
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
) -> Outcome {
    let mut fields = common_fields(delivery, now);
    let signature = match sign(secret, delivery.id.as_str(), now.as_second(), &body) {
        Ok(signature) => signature,
        Err(error) => return Outcome::failed(Class::Other, error.to_string()),
    };
    fields.push(("user-agent", USER_AGENT.to_owned()));
    fields.push(("webhook-signature", signature));
    lane.client().post(url, fields, body).await
}

/// Makes one attempt at a webhook.
pub(super) async fn post_webhook(
    delivery: &Delivery,
    webhook: &Webhook,
    lane: &Lane,
    body: Bytes,
    now: Timestamp,
) -> Outcome {
    let url = match webhook::address(delivery, webhook) {
        Ok(url) => url,
        Err(error) => return Outcome::failed(Class::Other, error),
    };
    let mut fields = common_fields(delivery, now);
    if webhook.excludes_body {
        fields.retain(|(name, _)| *name != CONTENT_TYPE);
    }
    fields.push(("user-agent", USER_AGENT.to_owned()));
    fields.extend(webhook::fields(delivery, webhook, &url, &body, now));
    lane.client().post(&url, fields, body).await
}

/// Makes one attempt over the broker.
pub(super) async fn call(
    delivery: &Delivery,
    subject: &str,
    functions: &dyn FunctionCaller,
    timeout: Duration,
    body: Bytes,
    now: Timestamp,
) -> Outcome {
    let fields = common_fields(delivery, now);
    match functions.call(subject, fields, body, timeout).await {
        Ok(Reply { body, error_code: None }) => Outcome::of_reply(&body),
        Ok(Reply { body, error_code: Some(code) }) => Outcome::of_http(code, None, &body, now),
        Err(CallError::NobodyListens) => {
            Outcome::failed(Class::Connect, "nobody listens on the function's subject")
        }
        Err(CallError::Timeout) => Outcome::failed(Class::Timeout, "no reply before the deadline"),
        Err(CallError::Broker(reason)) => Outcome::failed(Class::Other, reason),
    }
}

pub(super) fn common_fields(delivery: &Delivery, now: Timestamp) -> Fields {
    let event = &delivery.occurrence.event;
    let subscription = &delivery.subscription.id();
    let mut fields = Vec::with_capacity(13);
    fields.extend([
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
        fields.push(("traceparent", traceparent.to_string()));
    }
    fields
}
