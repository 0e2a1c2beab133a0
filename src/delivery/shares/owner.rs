//! Owners of stored messages, and amounts of messages.

use serde::{Deserialize, Serialize};

use crate::config::part_of;
use crate::domain::{AppId, InstallationId, token};
use crate::matcher::Subscription;

/// In place of an app: the owner of dead letters of events; the installation is the site.
const EVENTS: &str = "events:";
/// In place of an app: the owner of dead letters of unreadable parked records.
const RECORDS: &str = "records:";

/// Who pays for a stored message. The names are subject tokens, so that subjects name owners.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ShareOwner {
    /// Token of the app.
    pub app: Box<str>,
    /// Token of the installation.
    pub installation: Box<str>,
    /// Token of the endpoint; empty if unknown.
    pub endpoint: Box<str>,
}

impl ShareOwner {
    /// Returns the owner of the deliveries of a subscription to `endpoint`.
    #[must_use]
    pub fn of(subscription: &Subscription, endpoint: &str) -> Self {
        let owner = Self::installation(&subscription.owner.app, &subscription.owner.id);
        Self { endpoint: token(endpoint).into(), ..owner }
    }

    /// Returns the owner of dead letters of an installation.
    #[must_use]
    pub fn installation(app: &AppId, installation: &InstallationId) -> Self {
        Self {
            app: app.token().into(),
            installation: installation.token().into(),
            endpoint: "".into(),
        }
    }

    /// Returns the owner of parked records whose subscription no longer exists, by the token of
    /// their app.
    #[must_use]
    pub fn of_removed(app: &str, installation: &InstallationId) -> Self {
        Self { app: app.into(), installation: installation.token().into(), endpoint: "".into() }
    }

    /// Returns the owner of dead letters of the events of a site, by its token.
    #[must_use]
    pub fn events_of(site: &str) -> Self {
        Self { app: EVENTS.into(), installation: site.into(), endpoint: "".into() }
    }

    /// Returns the owner of dead letters of unreadable parked records.
    #[must_use]
    pub fn records() -> Self {
        Self { app: RECORDS.into(), installation: "".into(), endpoint: "".into() }
    }
}

/// Messages and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// Number of messages.
    pub messages: u64,
    /// Bytes of the messages.
    pub bytes: u64,
}

impl Amount {
    /// Returns one message of `bytes`.
    #[must_use]
    pub fn one(bytes: usize) -> Self {
        Self { messages: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns the difference, at least zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Returns the lower number of messages and the lower number of bytes.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { messages: self.messages.min(other.messages), bytes: self.bytes.min(other.bytes) }
    }

    /// Returns the amount multiplied by a fraction, 0.0 to 1.0.
    #[must_use]
    pub fn scaled(self, fraction: f64) -> Self {
        Self { messages: part_of(self.messages, fraction), bytes: part_of(self.bytes, fraction) }
    }

    /// Returns whether neither messages nor bytes exceed `max`.
    #[must_use]
    pub fn fits(self, max: Self) -> bool {
        self.messages <= max.messages && self.bytes <= max.bytes
    }

    /// As [`Amount::fits`], but what does not rise above `before` may exceed `max`.
    pub(super) fn fits_or_stays(self, before: Self, max: Self) -> bool {
        let messages = self.messages <= max.messages || self.messages <= before.messages;
        messages && (self.bytes <= max.bytes || self.bytes <= before.bytes)
    }
}
