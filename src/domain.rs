//! Identifiers, event types and handlers: the types that every stage shares. Imports no other
//! module of this crate.

mod handler;
mod ids;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use handler::{ForgeRemote, FunctionHandler, Handler, HttpHandler, WebhookHandler};
pub use ids::{
    AppId, CloudId, DeliveryId, EventId, EventType, InstallationId, ModuleKey, SubscriptionId,
    token,
};

/// Product of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Jira, Jira Software, Jira Service Management.
    Jira,
    /// Confluence.
    Confluence,
}

/// What the router does with an event whose filter could not be evaluated.
///
/// **Source:** Forge trigger module, `filter.onError`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OnError {
    /// Not delivered, not logged.
    Ignore,
    /// Not delivered, logged.
    #[default]
    IgnoreAndLog,
    /// Delivered with the error, not logged.
    Receive,
    /// Delivered with the error, logged.
    ReceiveAndLog,
}

impl OnError {
    /// Returns whether the event is delivered although its filter failed.
    #[must_use]
    pub fn delivers(self) -> bool {
        matches!(self, Self::Receive | Self::ReceiveAndLog)
    }

    /// Returns whether the failure is written to the log.
    #[must_use]
    pub fn logs(self) -> bool {
        matches!(self, Self::IgnoreAndLog | Self::ReceiveAndLog)
    }
}

/// How failed attempts are classified and when they are retried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryProfile {
    /// Switchyard's own profile: the configured schedule; statuses that a retry cannot fix are
    /// dead-lettered at once.
    #[default]
    Router,
    /// Like the vendor's webhooks: five retries, 5 to 15 minutes apart.
    Webhook,
    /// Like the vendor's remotes: four retries a minute apart, whatever the status.
    ForgeRemote,
    /// Like the vendor's functions: four retries, a second apart unless the function asks for more.
    ForgeFunction,
}

/// A signing secret; its `Debug` form hides the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the secret in clear text, for signing and for the one response that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a filter could not be evaluated on an event; sent to handlers that asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilterError {
    /// `type`, `runtime` or `limit`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// Position in the expression, UTF-8 bytes from its start.
    pub offset: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in Unicode scalar values, from 1.
    pub column: u32,
}

impl FilterError {
    /// Returns the error as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            debug_assert!(false, "numbers and strings are JSON: {error}");
            "null".into()
        })
    }
}
