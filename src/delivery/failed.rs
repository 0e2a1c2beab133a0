//! Webhooks that were given up, as their app can read them again.
//!
//! **Source:** Jira Cloud platform REST API, "Get failed webhooks".

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::webhook;
use crate::domain::{AppId, InstallationId};
use crate::event::codec::decoded;
use crate::event::webhook::delta;
use crate::event::{Envelope, Event, HeaderLookup};

/// The id of the delivery.
pub(super) const DELIVERY_ID: &str = "switchyard-delivery-id";
/// Where the webhook was posted.
pub(super) const URL: &str = "switchyard-webhook-url";
/// The event by which the app asked for it; absent when it was posted without a body.
pub(super) const NAME: &str = "switchyard-webhook-event";
/// Ids of the dynamic webhooks that it was for, a JSON list.
pub(super) const MATCHED: &str = "switchyard-webhook-matched";

/// Reads dead letters back; implemented at the broker's edge.
pub trait FailedWebhooks: Send + Sync {
    /// Webhooks of an installation that were given up after `after_ms` (milliseconds since the
    /// epoch), oldest first: at most `max`, but never a part of those of one moment. Empty only if
    /// there are no more.
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

/// A webhook that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedWebhook {
    /// As in `X-Atlassian-Webhook-Identifier`.
    pub id: String,
    /// Where it was posted.
    pub url: String,
    /// What was posted; none when it goes without a body.
    pub body: Option<String>,
    /// When it was given up, milliseconds since the epoch.
    pub failed_ms: i64,
}

impl FailedWebhook {
    /// Reads a dead letter; none if it is no webhook's.
    #[must_use]
    pub fn read(headers: &impl HeaderLookup, body: Bytes, failed_ms: i64) -> Option<Self> {
        let text = |name| Some(decoded(headers, name).ok()??.into_owned());
        let (id, url) = (text(DELIVERY_ID)?, text(URL)?);
        let event = Event {
            envelope: Envelope {
                cloud_id: text("ce-cloudid")?.into(),
                event_id: text("ce-id")?.into(),
                event_type: text("ce-type")?.into(),
                time: text("ce-time").and_then(|time| time.parse().ok()),
                origin_app: None,
                entity: None,
                traceparent: None,
                webhook: text(delta::HEADER).map(String::into_boxed_str),
            },
            body,
            sequence: 0,
        };
        let sent = text(NAME).map(|name| {
            let sent = webhook::render(&event, text(MATCHED).as_deref(), |_| name);
            String::from_utf8_lossy(&sent).into_owned()
        });
        Some(Self { id, url, body: sent, failed_ms })
    }
}
