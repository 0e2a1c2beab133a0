//! The interface of a product: names, tables and mappings that differ between products.

use thiserror::Error;

use crate::domain::{EventType, Product};
use crate::event::codec::HeaderLookup;
use crate::event::members::{Members, ObjectWriter};
use crate::event::unmapped;

/// Maximum length of a webhook name in bytes; a longer one cannot become an event type.
const NAME_BYTES_MAX: usize = 120;
/// Maximum length of a webhook id in bytes; for a longer one the event id is derived instead.
const WEBHOOK_ID_BYTES_MAX: usize = 128;

/// What is special to one product.
pub trait ProductSource: Send + Sync {
    /// The product, as stored documents name it.
    fn product(&self) -> Product;

    /// Its name in site ARIs, ingest paths, configuration and calls to apps.
    fn name(&self) -> &'static str;

    /// Its name in messages for people.
    fn title(&self) -> &'static str;

    /// Path of the product below the URL of a site; empty or with a leading slash.
    fn context_path(&self) -> &'static str;

    /// Whether an event type belongs to it.
    fn has_event_type(&self, event_type: &str) -> bool;

    /// Members that hold the entity of an event, each with the member that identifies it, in order
    /// of precedence.
    fn entities(&self) -> &'static [(&'static str, &'static str)];

    /// Returns when an event happened, in milliseconds since the epoch, if its body says so in a
    /// way of this product.
    fn event_time_ms(&self, event: &Members<'_>) -> Option<i64>;

    /// Returns the name of a webhook.
    ///
    /// # Errors
    /// It has none.
    fn webhook_name(&self, webhook: &WebhookRequest<'_>) -> Result<String, WebhookNameError>;

    /// Returns the events of the webhook `name`; at least one.
    fn to_events(&self, name: &str, webhook: &WebhookRequest<'_>) -> Vec<MappedEvent>;

    /// Whether its webhook modules can have a filter, which is JQL.
    fn has_webhook_filters(&self) -> bool;

    /// Returns the names of its webhooks, each once.
    fn webhook_names(&self) -> Vec<String>;

    /// Returns the event types that the webhook name `name` subscribes to; at least one.
    fn subscribed_events(&self, name: &str) -> Vec<SubscribedEvent>;

    /// Whether `name`, one of the webhook names that subscribe to this event type, corresponds to
    /// this event.
    fn is_webhook_of(&self, name: &str, event_type: &EventType, event: &Members<'_>) -> bool;

    /// Writes the members of the webhook of an event, except for the common ones: `timestamp`, name
    /// and matched ids.
    fn write_webhook(&self, event_type: &EventType, event: &Members<'_>, to: &mut ObjectWriter);
}

/// A webhook as it arrived.
pub struct WebhookRequest<'a> {
    /// Headers of the request.
    pub headers: &'a dyn HeaderLookup,
    /// Name of the webhook in the URL.
    pub url_name: Option<&'a str>,
    /// Members of the body.
    pub members: &'a Members<'a>,
    /// Size of the body.
    pub bytes: usize,
}

impl WebhookRequest<'_> {
    /// Returns the webhook id: unique per site, equal for all retries.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        let id = self.headers.get("x-atlassian-webhook-identifier").map(str::trim);
        id.filter(|id| (1..=WEBHOOK_ID_BYTES_MAX).contains(&id.len()))
    }
}

/// An event that a webhook is mapped to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedEvent {
    /// The event type.
    pub event_type: EventType,
    /// The event object, JSON.
    pub body: String,
    /// Whether webhook modules get this event of the webhook; only one does.
    pub is_primary: bool,
}

/// An event type that a webhook name subscribes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribedEvent {
    /// The event type.
    pub event_type: EventType,
    /// A further condition on the event, as an expression, where two webhooks share one event type.
    pub condition: Option<String>,
}

impl SubscribedEvent {
    /// Returns an event type without a condition.
    #[must_use]
    pub fn any(event_type: String) -> Self {
        Self { event_type: event_type.into(), condition: None }
    }
}

/// Why a webhook has no name that can be an event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WebhookNameError {
    /// Neither the body nor the URL names the webhook.
    #[error(
        "nothing says which webhook this is: its name is the text `webhookEvent` of its body, such as \
         `jira:issue_created`, or in its address, such as `?event=page_created`"
    )]
    Missing,
    /// The name is too long.
    #[error("the name of the webhook, `webhookEvent`, is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
}

/// Returns the name of a webhook, if it can become an event type.
pub(super) fn checked_name(name: Option<String>) -> Result<String, WebhookNameError> {
    match name.filter(|name| !name.is_empty()) {
        None => Err(WebhookNameError::Missing),
        Some(name) if name.len() > NAME_BYTES_MAX => Err(WebhookNameError::TooLong),
        Some(name) => Ok(name),
    }
}

/// Returns the event type of a webhook whose name is unknown.
#[must_use]
pub fn unknown_event_type(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    let token: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{}{token}", unmapped::PREFIX)
}
