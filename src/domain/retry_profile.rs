//! Retry profiles of apps.

use serde::{Deserialize, Serialize};

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
