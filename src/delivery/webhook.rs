//! The request that apps get which asked for webhooks: signed by the tenant, told apart by its
//! headers, with a webhook as body.
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
use super::{Fields, failed};
use crate::domain::{Handler, InstallationId, ModuleKey, Secret, SubscriptionId, Webhook};
use crate::event::Event;
use crate::event::members::Members;
use crate::event::webhook::{delta, reverse};
use crate::jwt::{self, qsh};
use crate::matcher::{Match, Subscription};

/// Stands for all dynamic webhooks of an installation in the id of their one delivery, so that the
/// id does not depend on which of them match.
const DYNAMIC: &str = "dynamicWebhook";
/// Variables of an address.
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

/// A match, with the further subscriptions that the same delivery is for.
#[derive(Debug)]
pub struct Due {
    /// Who is delivered to.
    pub found: Match,
    /// Dynamic webhooks of the same installation that match as well.
    pub also: Vec<Arc<Subscription>>,
}

/// The deliveries that matches make due: one for each, but one for all dynamic webhooks of an
/// installation that share an address.
#[must_use]
pub fn due(matches: Vec<Match>) -> Vec<Due> {
    let mut all: Vec<Due> = Vec::with_capacity(matches.len());
    let mut shared: HashMap<(InstallationId, Box<str>), usize> = HashMap::new();
    for mut found in matches {
        let Some((number, address)) = dynamic(&found.subscription) else {
            all.push(Due { found, also: Vec::new() });
            continue;
        };
        let key = (found.subscription.owner.id.clone(), address.into());
        let known = shared.get(&key).and_then(|at| all.get_mut(*at));
        let Some(first) = known else {
            shared.insert(key, all.len());
            all.push(Due { found, also: Vec::new() });
            continue;
        };
        if dynamic(&first.found.subscription).is_some_and(|(lowest, _)| number < lowest) {
            std::mem::swap(&mut first.found, &mut found);
        }
        first.also.push(found.subscription);
    }
    all
}

/// Number and address of a dynamic webhook.
fn dynamic(subscription: &Subscription) -> Option<(u64, &str)> {
    match &*subscription.owner.settings.handler {
        Handler::Webhook(webhook) => Some((webhook.number?, &webhook.address)),
        _ => None,
    }
}

/// What the id of a delivery is derived from.
pub(super) fn identity(subscription: &Subscription) -> SubscriptionId {
    match dynamic(subscription) {
        Some(_) => SubscriptionId {
            installation: subscription.owner.id.clone(),
            key: ModuleKey::from(DYNAMIC),
        },
        None => subscription.id(),
    }
}

/// Where a delivery is posted.
///
/// # Errors
/// The address is none once its variables are filled in.
pub(super) fn address(delivery: &Delivery, webhook: &Webhook) -> Result<Url, String> {
    let text = resolve(webhook, &members(&delivery.occurrence.event));
    Url::parse(&text).map_err(|error| format!("`{text}` is no address: {error}"))
}

/// The headers beside those of all deliveries.
pub(super) fn fields(
    delivery: &Delivery,
    webhook: &Webhook,
    url: &Url,
    body: &[u8],
    now: Timestamp,
) -> Fields {
    let path = covered_path(&webhook.base, url);
    let hash = qsh::hash("POST", path, url.query().unwrap_or_default());
    let token = jwt::sign(&webhook.secret, &webhook.client_key, &hash, now.as_second());
    let mut fields = vec![
        ("authorization", format!("JWT {token}")),
        ("x-atlassian-webhook-identifier", delivery.id.to_string()),
        ("x-atlassian-webhook-flow", "Primary".to_owned()),
        ("x-hub-signature", hub_signature(&webhook.secret, body)),
    ];
    if delivery.progress.attempt > 1 {
        let repeats = delivery.progress.attempt - 1;
        fields.push(("x-atlassian-webhook-retry", repeats.to_string()));
    }
    fields
}

/// The body: the webhook as which the event entered, or one made from the event.
pub(super) fn body(delivery: &Delivery, webhook: &Webhook) -> Bytes {
    if webhook.excludes_body {
        return Bytes::new();
    }
    let event = &delivery.occurrence.event;
    render(event, matched(delivery, webhook).as_deref(), |members| name(delivery, members))
}

/// The webhook of an event: as it entered, or made under a name; with the ids of the dynamic
/// webhooks that it is for, a JSON list.
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

/// What a dead letter says, so that the app can be told what it did not take.
pub(super) fn letter_fields(delivery: &Delivery, webhook: &Webhook) -> Fields {
    let members = members(&delivery.occurrence.event);
    let mut fields = vec![(failed::URL, resolve(webhook, &members))];
    if !webhook.excludes_body {
        fields.push((failed::NAME, name(delivery, &members)));
        fields.extend(matched(delivery, webhook).map(|ids| (failed::MATCHED, ids)));
    }
    fields
}

/// The name by which the app asked for the event.
fn name(delivery: &Delivery, event: &Members<'_>) -> String {
    let event_type = &delivery.occurrence.event.envelope.event_type;
    let names = delivery.subscriptions().filter_map(|subscription| names(subscription));
    let name = names.filter_map(|names| reverse::webhook_name_of(event_type, event, names)).next();
    name.unwrap_or(event_type.as_str()).to_owned()
}

/// Ids of the dynamic webhooks that a delivery is for, a JSON list.
fn matched(delivery: &Delivery, webhook: &Webhook) -> Option<String> {
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

/// An event that is delivered was taken apart before, so that this cannot fail.
fn members(event: &Event) -> Members<'_> {
    let text = std::str::from_utf8(&event.body).unwrap_or_default();
    Members::parse(text).unwrap_or_default()
}

/// The address with its variables filled in; one that the event has no value for is left empty.
fn resolve(webhook: &Webhook, event: &Members<'_>) -> String {
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

/// Projects stand at the top of their own events and in the issue of others.
fn value_of(variable: &str, event: &Members<'_>) -> Option<String> {
    let (holder, name) = variable.split_once('.')?;
    let at_top = event.object(holder).and_then(|found| found.id(name));
    let value =
        at_top.or_else(|| event.object("issue")?.object("fields")?.object(holder)?.id(name))?;
    // Dots alone would climb out of the path, encoded or not.
    Some(value).filter(|value| !value.bytes().all(|byte| byte == b'.'))
}

/// The path behind the app's base URL, as the app sees its requests.
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
