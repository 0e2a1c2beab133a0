//! Channel of webhooks of Connect apps and OAuth clients: a signed POST with a webhook as body.
//!
//! **Source:** Atlassian Connect, "Webhooks"; Jira Cloud platform, "Webhooks": URL variables, the
//! headers `X-Atlassian-Webhook-*` and `X-Hub-Signature`, authentication of OAuth 2.0 apps.

mod properties;
mod url_template;

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::digest::InvalidLength;
use jiff::Timestamp;
use serde_json::json;
use url::Url;

use self::properties::with_properties;
use self::url_template::{covered_path, is_within_template, resolve};
use super::contract::{Attempt, Channel, CoalesceKey, HandlerDescription, origin};
use super::request::{CONTENT_TYPE, http_headers};
use super::table::channel_of;
use crate::clock;
use crate::delivery::hub_signature;
use crate::delivery::model::{
    AttemptClass, AttemptOutcome, DeadLetterReason, Delivery, NextStep, Transport,
};
use crate::domain::{DynamicWebhookId, Secret, WebhookHandler, WebhookSigner};
use crate::event::Event;
use crate::event::codec::HeaderList;
use crate::event::codec::names::dead_letter;
use crate::event::members::Members;
use crate::event::webhook::reverse;
use crate::jwt::{self, qsh};

/// Longest header with the keys of included properties, in bytes before it is encoded. The broker
/// accepts 64 KiB of headers; with more keys the list of failed webhooks shows the body without properties.
const PROPERTIES_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Answer of a receiver that does not accept a token.
const UNAUTHORIZED: u16 = 401;
const NO_RESPONSE: &str = "no complete response before the deadline";

impl Channel for WebhookHandler {
    fn transport(&self) -> Transport {
        Transport::Http
    }

    fn endpoint(&self) -> &str {
        self.base.as_str()
    }

    fn host(&self) -> Cow<'_, str> {
        origin(&self.base).into()
    }

    fn describe(&self) -> HandlerDescription {
        let address = self.address.to_string();
        let mut members = vec![("base", self.base.to_string()), ("url", address.clone())];
        if let WebhookSigner::OauthClient { client, .. } = &self.signer {
            members.push(("signedBy", format!("OAuth client {client}")));
        }
        HandlerDescription { address, members }
    }

    /// The webhook that the event arrived as, or one made from the event.
    fn body(&self, delivery: &Delivery) -> Bytes {
        if self.excludes_body {
            return Bytes::new();
        }
        let event = &delivery.prepared.event;
        let matched = matched_ids(delivery, self);
        let members = members(event);
        let keys = &self.property_keys;
        render(event, &members, matched.as_deref(), keys, || subscribed_name(delivery, &members))
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(post(self, attempt))
    }

    /// What the list of failed webhooks needs.
    fn dead_letter_headers(&self, delivery: &Delivery) -> HeaderList {
        let members = members(&delivery.prepared.event);
        let mut headers = vec![(dead_letter::WEBHOOK_URL, resolve(self, &members))];
        if !self.excludes_body {
            headers.push((dead_letter::WEBHOOK_EVENT, subscribed_name(delivery, &members)));
            headers
                .extend(matched_ids(delivery, self).map(|ids| (dead_letter::WEBHOOK_MATCHED, ids)));
            if !self.property_keys.is_empty() {
                let keys = json!(self.property_keys).to_string();
                let keys = Some(keys).filter(|keys| keys.len() <= PROPERTIES_HEADER_BYTES_MAX);
                headers.extend(keys.map(|keys| (dead_letter::WEBHOOK_PROPERTIES, keys)));
            }
        }
        headers
    }

    /// All dynamic webhooks of an app, or of an OAuth client, that share a URL make one delivery.
    fn coalesce_key(&self) -> Option<CoalesceKey<'_>> {
        let DynamicWebhookId { number, delivery_key } = self.dynamic.as_ref()?;
        Some(CoalesceKey { group: &self.address, rank: *number, module_key: delivery_key })
    }

    fn event_names(&self) -> &[Box<str>] {
        &self.names
    }
}

async fn post(webhook: &WebhookHandler, attempt: Attempt<'_>) -> AttemptOutcome {
    let failed = |error| AttemptOutcome::failed(AttemptClass::Other, error);
    let url = match post_url(webhook, attempt.delivery) {
        Ok(url) => url,
        Err(error) => return AttemptOutcome::failed(AttemptClass::Blocked, error),
    };
    let mut common = http_headers(&attempt);
    if webhook.excludes_body {
        common.retain(|(name, _)| *name != CONTENT_TYPE);
    }
    common.extend(webhook_headers(attempt.delivery));
    let authentications = match authentications(webhook, &url, &attempt.body, attempt.now) {
        Ok(authentications) => authentications,
        Err(error) => return failed(error.to_string()),
    };
    let mut outcome = failed("the webhook has no secret".to_owned());
    let start = clock::tick();
    for authentication in authentications {
        let mut headers = common.clone();
        headers.extend(authentication);
        let left = attempt.timeout.saturating_sub(clock::since(start));
        let exchange = attempt.http.post(&url, headers, attempt.body.clone());
        outcome = match tokio::time::timeout(left, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => return AttemptOutcome::failed(AttemptClass::Timeout, NO_RESPONSE),
        };
        if outcome.next != NextStep::DeadLetter(DeadLetterReason::Rejected(UNAUTHORIZED)) {
            break;
        }
    }
    outcome
}

/// Returns the URL that a delivery is posted to.
///
/// # Errors
/// Once its variables are replaced, the text is not a URL or points elsewhere.
fn post_url(webhook: &WebhookHandler, delivery: &Delivery) -> Result<Url, String> {
    let text = resolve(webhook, &members(&delivery.prepared.event));
    let url = Url::parse(&text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if is_within_template(webhook, &url) {
        Ok(url)
    } else {
        Err(format!("`{text}` leaves the path of its webhook; a variable completes it to `..`"))
    }
}

/// Returns the headers that authenticate an attempt: one list for each secret that is valid now, the
/// newest first. A request carries one token, so the receiver gets another request with the next
/// one after it answered 401.
///
/// # Errors
/// A secret cannot be a key.
fn authentications(
    webhook: &WebhookHandler,
    url: &Url,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<HeaderList>, InvalidLength> {
    let signed = |authorization: String, secret: &Secret| {
        let signature = hub_signature(secret, body)?;
        Ok(vec![("authorization", authorization), ("x-hub-signature", signature)])
    };
    match &webhook.signer {
        WebhookSigner::Tenant { client_key, secret } => {
            let path = covered_path(&webhook.base, url);
            let hash = qsh::hash("POST", path, url.query().unwrap_or_default());
            let token = jwt::sign(secret, client_key, &hash, now.as_second())?;
            Ok(vec![signed(format!("JWT {token}"), secret)?])
        }
        WebhookSigner::OauthClient { secrets, .. } => secrets
            .at(now.as_millisecond())
            .map(|secret| {
                let token = jwt::sign_bearer(secret, now.as_second())?;
                signed(format!("Bearer {token}"), secret)
            })
            .collect(),
    }
}

/// Returns the headers that every attempt of a webhook has in addition: identity and retries.
fn webhook_headers(delivery: &Delivery) -> HeaderList {
    let mut headers = vec![
        ("x-atlassian-webhook-identifier", delivery.id.to_string()),
        ("x-atlassian-webhook-flow", "Primary".to_owned()),
    ];
    if delivery.progress.attempt > 1 {
        let retries = delivery.progress.attempt - 1;
        headers.push(("x-atlassian-webhook-retry", retries.to_string()));
    }
    headers
}

/// Renders the webhook of an event: as it arrived, or under a name of the app; with the ids of the
/// matching dynamic webhooks, a JSON list, and with the issue properties of these keys.
pub(in crate::delivery) fn render(
    event: &Event,
    members: &Members<'_>,
    matched: Option<&str>,
    property_keys: &[Box<str>],
    name: impl FnOnce() -> String,
) -> Bytes {
    let arrived = event.envelope.webhook.as_ref();
    let restored = arrived.and_then(|webhook| webhook.restore(members, matched));
    let body: Bytes = restored.unwrap_or_else(|| {
        let time_ms = event.envelope.time.map(Timestamp::as_millisecond);
        reverse::body(&name(), &event.envelope.event_type, members, time_ms, matched).into()
    });
    let event_type = &event.envelope.event_type;
    let with_properties = std::str::from_utf8(&body)
        .ok()
        .and_then(|body| with_properties(body, event_type, members, property_keys));
    with_properties.map_or(body, Bytes::from)
}

/// Returns the event name that the app subscribed with.
fn subscribed_name(delivery: &Delivery, members: &Members<'_>) -> String {
    let event_type = &delivery.prepared.event.envelope.event_type;
    let names = delivery
        .subscriptions()
        .map(|other| channel_of(&other.owner.settings.handler).event_names());
    let name =
        names.filter_map(|names| reverse::webhook_name_of(event_type, members, names)).next();
    name.unwrap_or(event_type.as_str()).to_owned()
}

/// Returns the ids of the dynamic webhooks that share a delivery, a JSON list.
fn matched_ids(delivery: &Delivery, webhook: &WebhookHandler) -> Option<String> {
    webhook.dynamic.as_ref()?;
    let keys = delivery
        .subscriptions()
        .filter_map(|s| channel_of(&s.owner.settings.handler).coalesce_key());
    let mut numbers: Vec<u64> = keys.map(|key| key.rank).collect();
    numbers.sort_unstable();
    Some(json!(numbers).to_string())
}

/// Returns the members of the event of a delivery.
fn members(event: &Event) -> Members<'_> {
    let text = std::str::from_utf8(&event.body).ok();
    text.and_then(|text| Members::parse(text).ok()).unwrap_or_else(|| {
        debug_assert!(false, "an event was parsed before it became a delivery");
        Members::default()
    })
}

#[cfg(test)]
mod tests;
