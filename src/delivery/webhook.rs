//! Request to the webhook of a Connect app: URL, headers signed by the tenant, and body.
//!
//! **Source:** Atlassian Connect, "Webhooks"; Jira Cloud platform, "Webhooks": URL variables, the
//! headers `X-Atlassian-Webhook-*` and `X-Hub-Signature`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;
use url::Url;

use super::plan::Delivery;
use super::{HeaderList, failed};
use crate::domain::{Handler, InstallationId, ModuleKey, Secret, SubscriptionId, WebhookHandler};
use crate::event::Event;
use crate::event::members::Members;
use crate::event::webhook::{delta, reverse};
use crate::jwt::{self, qsh};
use crate::matcher::{Match, Subscription};

/// Module key of the one delivery of all dynamic webhooks of an installation, so that its id does
/// not depend on which of them match.
const DYNAMIC: &str = "dynamicWebhook";
/// Variables of a webhook URL.
const VARIABLES: &[&str] = &[
    "issue.id",
    "issue.key",
    "project.id",
    "project.key",
    "sprint.id",
    "board.id",
    "version.id",
    "mergedVersion.id",
];

/// A match, with the further subscriptions that share its delivery.
#[derive(Debug)]
pub struct PlannedDelivery {
    /// The match that is delivered.
    pub found: Match,
    /// Dynamic webhooks of the same installation that match as well.
    pub coalesced_with: Vec<Arc<Subscription>>,
}

/// Returns the deliveries of matches: one for each, but one for all dynamic webhooks of an
/// installation that share a URL.
#[must_use]
pub fn coalesce(matches: Vec<Match>) -> Vec<PlannedDelivery> {
    let mut all: Vec<PlannedDelivery> = Vec::with_capacity(matches.len());
    let mut shared: HashMap<(InstallationId, Box<str>), usize> = HashMap::new();
    for mut found in matches {
        let Some((number, address)) = dynamic(&found.subscription) else {
            all.push(PlannedDelivery { found, coalesced_with: Vec::new() });
            continue;
        };
        let key = (found.subscription.owner.id.clone(), address.into());
        let known = shared.get(&key).and_then(|at| all.get_mut(*at));
        let Some(first) = known else {
            shared.insert(key, all.len());
            all.push(PlannedDelivery { found, coalesced_with: Vec::new() });
            continue;
        };
        if dynamic(&first.found.subscription).is_some_and(|(lowest, _)| number < lowest) {
            std::mem::swap(&mut first.found, &mut found);
        }
        first.coalesced_with.push(found.subscription);
    }
    all
}

/// Returns number and URL of a dynamic webhook.
fn dynamic(subscription: &Subscription) -> Option<(u64, &str)> {
    match &*subscription.owner.settings.handler {
        Handler::Webhook(webhook) => Some((webhook.number?, &webhook.address)),
        _ => None,
    }
}

/// Returns what the id of a delivery is derived from.
pub(super) fn identity(subscription: &Subscription) -> SubscriptionId {
    match dynamic(subscription) {
        Some(_) => SubscriptionId {
            installation: subscription.owner.id.clone(),
            key: ModuleKey::from(DYNAMIC),
        },
        None => subscription.id(),
    }
}

/// Returns the URL that a delivery is posted to.
///
/// # Errors
/// The text is not a URL once its variables are replaced.
pub(super) fn address(delivery: &Delivery, webhook: &WebhookHandler) -> Result<Url, String> {
    let text = resolve(webhook, &members(&delivery.prepared.event));
    Url::parse(&text).map_err(|error| format!("`{text}` is not a URL: {error}"))
}

/// Returns the headers in addition to those of all deliveries.
pub(super) fn headers(
    delivery: &Delivery,
    webhook: &WebhookHandler,
    url: &Url,
    body: &[u8],
    now: Timestamp,
) -> HeaderList {
    let path = covered_path(&webhook.base, url);
    let hash = qsh::hash("POST", path, url.query().unwrap_or_default());
    let token = jwt::sign(&webhook.secret, &webhook.client_key, &hash, now.as_second());
    let mut headers = vec![
        ("authorization", format!("JWT {token}")),
        ("x-atlassian-webhook-identifier", delivery.id.to_string()),
        ("x-atlassian-webhook-flow", "Primary".to_owned()),
        ("x-hub-signature", hub_signature(&webhook.secret, body)),
    ];
    if delivery.progress.attempt > 1 {
        let repeats = delivery.progress.attempt - 1;
        headers.push(("x-atlassian-webhook-retry", repeats.to_string()));
    }
    headers
}

/// Returns the body: the webhook that the event arrived as, or one made from the event.
pub(super) fn body(delivery: &Delivery, webhook: &WebhookHandler) -> Bytes {
    if webhook.excludes_body {
        return Bytes::new();
    }
    let event = &delivery.prepared.event;
    render(event, matched(delivery, webhook).as_deref(), |members| name(delivery, members))
}

/// Renders the webhook of an event: as it arrived, or under a name of the app; with the ids of the
/// matching dynamic webhooks, a JSON list.
pub(super) fn render(
    event: &Event,
    matched: Option<&str>,
    name: impl FnOnce(&Members<'_>) -> String,
) -> Bytes {
    let members = members(event);
    let entered = event.envelope.webhook.as_deref();
    let original = entered.and_then(|entered| delta::apply(entered, &members, matched));
    let body = original.unwrap_or_else(|| {
        let time_ms = event.envelope.time.map(Timestamp::as_millisecond);
        let event_type = &event.envelope.event_type;
        reverse::body(&name(&members), event_type, &members, time_ms, matched)
    });
    body.into()
}

/// Returns the headers of a dead letter that the list of failed webhooks needs.
pub(super) fn letter_headers(delivery: &Delivery, webhook: &WebhookHandler) -> HeaderList {
    let members = members(&delivery.prepared.event);
    let mut headers = vec![(failed::URL, resolve(webhook, &members))];
    if !webhook.excludes_body {
        headers.push((failed::NAME, name(delivery, &members)));
        headers.extend(matched(delivery, webhook).map(|ids| (failed::MATCHED, ids)));
    }
    headers
}

/// Returns the event name that the app subscribed with.
fn name(delivery: &Delivery, event: &Members<'_>) -> String {
    let event_type = &delivery.prepared.event.envelope.event_type;
    let names = delivery.subscriptions().filter_map(|subscription| names(subscription));
    let name = names.filter_map(|names| reverse::webhook_name_of(event_type, event, names)).next();
    name.unwrap_or(event_type.as_str()).to_owned()
}

/// Returns the ids of the dynamic webhooks that share a delivery, a JSON list.
fn matched(delivery: &Delivery, webhook: &WebhookHandler) -> Option<String> {
    webhook.number?;
    let numbers = delivery.subscriptions().filter_map(|s| dynamic(s).map(|(number, _)| number));
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    Some(json!(numbers).to_string())
}

fn names(subscription: &Subscription) -> Option<&[Box<str>]> {
    match &*subscription.owner.settings.handler {
        Handler::Webhook(webhook) => Some(&webhook.names),
        _ => None,
    }
}

/// An event was parsed before it is delivered, so this cannot fail.
fn members(event: &Event) -> Members<'_> {
    let text = std::str::from_utf8(&event.body).unwrap_or_default();
    Members::parse(text).unwrap_or_default()
}

/// Returns the URL with its variables replaced; a variable without a value becomes empty.
fn resolve(webhook: &WebhookHandler, event: &Members<'_>) -> String {
    let mut text = String::new();
    if webhook.number.is_none() {
        text.push_str(webhook.base.as_str().trim_end_matches('/'));
        text.push('/');
    }
    let mut rest = match webhook.number {
        None => webhook.address.trim_start_matches('/'),
        Some(_) => &webhook.address,
    };
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let variable = after.split_once('}').filter(|(name, _)| VARIABLES.contains(name));
        rest = match variable {
            Some((name, after)) => {
                text.push_str(&qsh::encode(&value_of(name, event).unwrap_or_default()));
                after
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text.push_str(rest);
    text
}

/// A project is a top-level member of its own events, and a field of the issue in others.
fn value_of(variable: &str, event: &Members<'_>) -> Option<String> {
    let (holder, name) = variable.split_once('.')?;
    let at_top = event.object(holder).and_then(|found| found.id(name));
    let value =
        at_top.or_else(|| event.object("issue")?.object("fields")?.object(holder)?.id(name))?;
    // Dots alone would leave the path, percent-encoded or not.
    Some(value).filter(|value| !value.bytes().all(|byte| byte == b'.'))
}

/// Returns the path below the app's base URL, as the app sees its requests.
fn covered_path<'u>(base: &Url, url: &'u Url) -> &'u str {
    url.path().strip_prefix(base.path().trim_end_matches('/')).unwrap_or(url.path())
}

/// **Source:** WebSub, section 7.
fn hub_signature(secret: &Secret, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes());
    // HMAC takes keys of every length.
    let digest = mac.map(|mac| mac.chain_update(body).finalize().into_bytes());
    format!("sha256={}", HEXLOWER.encode(digest.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
