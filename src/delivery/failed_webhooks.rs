//! Failed webhooks: dead letters of webhooks, as their app can list them.
//!
//! **Source:** Jira Cloud platform REST API, "Get failed webhooks".

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::channel::webhook;
use crate::domain::{AppId, InstallationId};
use crate::event::codec::names::{self, dead_letter};
use crate::event::codec::{EnvelopeFormat, HeaderLookup, decoded};
use crate::event::members::Members;

/// Reads dead letters of webhooks; implemented in `bus`.
pub trait FailedWebhooks: Send + Sync {
    /// Lists webhooks of an installation that were dead-lettered after `after_ms` (milliseconds
    /// since the epoch), oldest first: at most `max`, except that those of one millisecond are
    /// never split. Empty only if there are no more.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn list<'a>(
        &'a self,
        app: &'a AppId,
        installation: &'a InstallationId,
        after_ms: i64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<FailedWebhook>, String>>;
}

/// A webhook that was dead-lettered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedWebhook {
    /// The value of `X-Atlassian-Webhook-Identifier`.
    pub id: String,
    /// URL that it was posted to.
    pub url: String,
    /// Body that was posted; none when it was posted without one.
    pub body: Option<String>,
    /// When it was dead-lettered, milliseconds since the epoch.
    pub failed_ms: i64,
}

impl FailedWebhook {
    /// Parses a dead letter; none if it is not one of a webhook.
    #[must_use]
    pub fn read(headers: &impl HeaderLookup, body: Bytes, failed_ms: i64) -> Option<Self> {
        let text = |name| Some(decoded(headers, name).ok()??.into_owned());
        let (id, url) = (text(names::DELIVERY_ID)?, text(dead_letter::WEBHOOK_URL)?);
        let event = EnvelopeFormat::CLOUD_EVENTS.read(headers, body, 0).ok()?;
        let sent = text(dead_letter::WEBHOOK_EVENT).map(|name| {
            // A dead letter that is too large for the broker is stored without its body.
            let body = std::str::from_utf8(&event.body).ok();
            let members = body.and_then(|body| Members::parse(body).ok()).unwrap_or_default();
            let matched = text(dead_letter::WEBHOOK_MATCHED);
            let keys = text(dead_letter::WEBHOOK_PROPERTIES);
            let keys: Vec<Box<str>> =
                keys.and_then(|keys| serde_json::from_str(&keys).ok()).unwrap_or_default();
            let sent = webhook::render(&event, &members, matched.as_deref(), &keys, || name);
            String::from_utf8_lossy(&sent).into_owned()
        });
        Some(Self { id, url, body: sent, failed_ms })
    }
}
