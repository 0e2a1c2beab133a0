//! Settings and limits of the registry.

use std::time::Duration;

/// Lifetime of a dynamic webhook at the vendor: 30 days.
const WEBHOOK_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Settings and limits of the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First token of function subjects.
    pub prefix: String,
    /// Accepts event types that are not in the catalogue, with a warning.
    pub allow_unknown_events: bool,
    /// Stores Forge module types other than `trigger`.
    pub accept_inert_types: bool,
    /// Limit of dynamic modules of one installation.
    pub modules_max: usize,
    /// Limit of distinct entity-property paths of one installation.
    pub property_paths_max: usize,
    /// Registrations per second of one installation; 0 = unlimited.
    pub registration_rate: u32,
    /// Burst of registrations of one installation.
    pub registration_burst: u32,
    /// Public URL of the HTTP APIs, without a trailing slash.
    pub public_url: String,
    /// Lifetime of discovered modules before the next discovery request, in milliseconds.
    pub discovery_life_ms: i64,
    /// Time a signing key signs before rotation, in milliseconds.
    pub signing_key_life_ms: i64,
    /// Limits of Connect installations.
    pub connect: ConnectLimits,
}

impl Default for Settings {
    /// The built-in defaults, without a public URL.
    fn default() -> Self {
        Self {
            prefix: "sw".into(),
            allow_unknown_events: false,
            accept_inert_types: false,
            modules_max: 100,
            property_paths_max: 5,
            registration_rate: 0,
            registration_burst: 0,
            public_url: String::new(),
            discovery_life_ms: 3600 * 1000,
            signing_key_life_ms: 90 * 24 * 3600 * 1000,
            connect: ConnectLimits::default(),
        }
    }
}

/// Limits of a Connect installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectLimits {
    /// Dynamic modules of an installation in Jira.
    pub modules_jira: usize,
    /// Dynamic modules of an installation in Confluence.
    pub modules_confluence: usize,
    /// Dynamic webhooks of an app in a site.
    pub webhooks_per_app: usize,
    /// Dynamic webhooks of an OAuth app in a site for one of its users.
    pub webhooks_per_user: usize,
    /// Lifetime of a dynamic webhook without a refresh.
    pub webhook_life: Duration,
}

impl Default for ConnectLimits {
    /// The vendor's limits.
    fn default() -> Self {
        Self {
            modules_jira: 100,
            modules_confluence: 100,
            webhooks_per_app: 100,
            webhooks_per_user: 5,
            webhook_life: WEBHOOK_LIFE,
        }
    }
}

impl ConnectLimits {
    /// Returns the lifetime of a dynamic webhook in milliseconds.
    pub(crate) fn webhook_life_ms(&self) -> i64 {
        i64::try_from(self.webhook_life.as_millis()).unwrap_or(i64::MAX)
    }
}
