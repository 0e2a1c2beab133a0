//! Channel of webhooks of Connect apps: a POST signed by the tenant, with a webhook as body.
//!
//! **Source:** Atlassian Connect, "Webhooks"; Jira Cloud platform, "Webhooks": URL variables, the
//! headers `X-Atlassian-Webhook-*` and `X-Hub-Signature`.

mod url_template;

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;
use url::Url;

use self::url_template::{covered_path, is_within_template, resolve};
use super::contract::{Attempt, Channel, CoalesceKey, HandlerDescription, origin};
use super::request::{CONTENT_TYPE, http_headers};
use super::table::channel_of;
use crate::delivery::model::{AttemptClass, AttemptOutcome, Delivery, Transport};
use crate::domain::{Secret, WebhookHandler};
use crate::event::Event;
use crate::event::codec::HeaderList;
use crate::event::codec::names::dead_letter;
use crate::event::members::Members;
use crate::event::webhook::reverse;
use crate::jwt::{self, qsh};

/// Module key of the one delivery of all dynamic webhooks of an installation.
const DYNAMIC: &str = "dynamicWebhook";

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
        let members = vec![("base", self.base.to_string()), ("url", address.clone())];
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
        render(event, &members, matched.as_deref(), || subscribed_name(delivery, &members))
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
        }
        headers
    }

    /// All dynamic webhooks of an installation that share a URL make one delivery.
    fn coalesce_key(&self) -> Option<CoalesceKey<'_>> {
        let rank = self.number?;
        Some(CoalesceKey { group: &self.address, rank, module_key: DYNAMIC })
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
    let signed = match tenant_headers(webhook, attempt.delivery, &url, &attempt.body, attempt.now) {
        Ok(signed) => signed,
        Err(error) => return failed(error.to_string()),
    };
    let mut headers = http_headers(&attempt);
    if webhook.excludes_body {
        headers.retain(|(name, _)| *name != CONTENT_TYPE);
    }
    headers.extend(signed);
    attempt.http.post(&url, headers, attempt.body).await
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

/// Returns the headers in addition to those of all attempts: signatures of the tenant, identity.
///
/// # Errors
/// The secret cannot be a key.
fn tenant_headers(
    webhook: &WebhookHandler,
    delivery: &Delivery,
    url: &Url,
    body: &[u8],
    now: Timestamp,
) -> Result<HeaderList, InvalidLength> {
    let path = covered_path(&webhook.base, url);
    let hash = qsh::hash("POST", path, url.query().unwrap_or_default());
    let token = jwt::sign(&webhook.secret, &webhook.client_key, &hash, now.as_second())?;
    let mut headers = vec![
        ("authorization", format!("JWT {token}")),
        ("x-atlassian-webhook-identifier", delivery.id.to_string()),
        ("x-atlassian-webhook-flow", "Primary".to_owned()),
        ("x-hub-signature", hub_signature(&webhook.secret, body)?),
    ];
    if delivery.progress.attempt > 1 {
        let retries = delivery.progress.attempt - 1;
        headers.push(("x-atlassian-webhook-retry", retries.to_string()));
    }
    Ok(headers)
}

/// Renders the webhook of an event: as it arrived, or under a name of the app; with the ids of the
/// matching dynamic webhooks, a JSON list.
pub(in crate::delivery) fn render(
    event: &Event,
    members: &Members<'_>,
    matched: Option<&str>,
    name: impl FnOnce() -> String,
) -> Bytes {
    let arrived = event.envelope.webhook.as_ref();
    arrived.and_then(|webhook| webhook.restore(members, matched)).unwrap_or_else(|| {
        let time_ms = event.envelope.time.map(Timestamp::as_millisecond);
        reverse::body(&name(), &event.envelope.event_type, members, time_ms, matched).into()
    })
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
    webhook.number?;
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

/// **Source:** WebSub, section 7.
fn hub_signature(secret: &Secret, body: &[u8]) -> Result<String, InvalidLength> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())?;
    let digest = mac.chain_update(body).finalize().into_bytes();
    Ok(format!("sha256={}", HEXLOWER.encode(&digest)))
}

#[cfg(test)]
mod tests;
