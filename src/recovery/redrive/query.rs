//! Queries that select dead letters.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::letter::StoredLetter;
use crate::delivery::DeadLetterReason;
use crate::domain::{SubscriptionId, token};

/// Start of the reasons that end with the status of a response.
const REJECTED: &str = "rejected_";

/// Which dead letters: those that have every value that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LetterQuery {
    /// Site of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Installation of the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// Subscription of the delivery, `<installation>/<key>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Why it was dead-lettered: a label, or `rejected_<status>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was dead-lettered, at the earliest: RFC 3339, or an age such as `30m`, `2h` or `7d`,
    /// which [`LetterQuery::fix`] replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A query with a value that no letter can have.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message}")]
pub struct BadQuery {
    /// Name of the value.
    pub name: &'static str,
    /// What is wrong.
    pub message: String,
}

/// The subjects that a query needs to read: letters of events of a site, and of deliveries to an
/// installation, or to all if none is named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LetterScope {
    /// Token of the installation.
    pub installation: Option<String>,
    /// Token of the site whose letters of events are read; none for those of all sites, or for no letters of
    /// events if an installation is named.
    pub site: Option<String>,
}

impl LetterQuery {
    /// Checks the values, and makes `since` a time if it is an age at `now`.
    ///
    /// # Errors
    /// A value that no letter can have.
    pub fn fix(mut self, now: Timestamp) -> Result<Self, BadQuery> {
        let bad = |name, message| Err(BadQuery { name, message });
        if let Some(id) = &self.subscription
            && SubscriptionId::parse(id).is_none()
        {
            return bad("subscription", "a subscription is <installation>/<key>".to_owned());
        }
        if let Some(reason) = &self.reason
            && !is_reason(reason)
        {
            let known = DeadLetterReason::LABELS.join(", ");
            return bad("reason", format!("a reason is one of {known}, or rejected_<status>"));
        }
        if let Some(since) = &self.since {
            let Some(time) = time_of(since, now) else {
                let message = "a time is RFC 3339, or an age such as 30m, 2h or 7d".to_owned();
                return bad("since", message);
            };
            self.since = Some(time.to_string());
        }
        Ok(self)
    }

    /// Returns the time of `since`, milliseconds since the epoch.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        let time: Timestamp = self.since.as_ref()?.parse().ok()?;
        Some(time.as_millisecond())
    }

    /// Returns the subjects that its letters have.
    #[must_use]
    pub fn scope(&self) -> LetterScope {
        let of_subscription = || SubscriptionId::parse(self.subscription.as_ref()?);
        let of_subscription = || Some(of_subscription()?.installation.to_string());
        let installation = self.installation.clone().or_else(of_subscription);
        LetterScope {
            installation: installation.map(|id| token(&id).into_owned()),
            site: self.site.as_ref().map(|id| token(id).into_owned()),
        }
    }

    /// Whether it selects a letter.
    #[must_use]
    pub fn selects(&self, letter: &StoredLetter) -> bool {
        self.site.as_ref().is_none_or(|site| letter.is_of_site(site))
            && self.installation.as_ref().is_none_or(|id| letter.is_of_installation(id))
            && self.subscription.as_ref().is_none_or(|id| letter.is_for(id))
            && self.reason.as_ref().is_none_or(|reason| has_reason(&letter.reason(), reason))
            && self.since_ms().is_none_or(|since_ms| letter.id.0.stored_ms >= since_ms)
    }
}

/// Compares the reason of a letter with a label or with one status.
fn has_reason(reason: &str, wanted: &str) -> bool {
    let class = |text: &str| text.strip_prefix(REJECTED)?.strip_suffix("xx")?.parse::<u16>().ok();
    let status = |text: &str| text.strip_prefix(REJECTED)?.parse::<u16>().ok();
    match (class(wanted), status(reason)) {
        // The label of the fourth class has every other status, too.
        (Some(4), Some(status)) => !(300..400).contains(&status),
        (Some(class), Some(status)) => status / 100 == class,
        _ => reason == wanted,
    }
}

fn is_reason(text: &str) -> bool {
    let status = || text.strip_prefix(REJECTED)?.parse::<u16>().ok();
    DeadLetterReason::LABELS.contains(&text) || status().is_some()
}

/// Returns the time that a text says, RFC 3339, or that is as long ago as it says: `30m`, `2h`, `7d`.
#[must_use]
pub fn time_of(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    now.checked_sub(SignedDuration::from_secs(number.checked_mul(seconds)?)).ok()
}
