//! Settings and limits of the registry: the sections of the configuration that it reads.

use super::model::{AppKind, AppRecord, EncryptionKeys, InstallationRecord};
use crate::config::{Config, LimitsConfig, RegistryConfig};
use crate::domain::Product;
use crate::matcher::KeptBodies;

/// Most days for which an installation may keep bodies.
pub(super) const BODIES_DAYS_MAX: u32 = 90;

/// Settings and limits of the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First token of function subjects.
    pub prefix: String,
    /// Public URL of the HTTP APIs, without a trailing slash.
    pub public_url: String,
    /// Accepts event types that are not in the catalogue, with a warning.
    pub allow_unknown_events: bool,
    /// Keys that encrypt the secrets in documents; without one they are stored in clear.
    pub encryption: EncryptionKeys,
    /// Days for which bodies are kept of installations that say nothing else.
    pub bodies_days: u32,
    /// Age at which records of the delivery log are deleted, in hours.
    pub log_max_age_h: u64,
    /// `[registry]`
    pub registry: RegistryConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
}

impl Settings {
    /// Returns the settings of a configuration, with the public URL of the HTTP APIs.
    #[must_use]
    pub fn new(config: &Config, public_url: &str) -> Self {
        Self {
            prefix: config.nats.prefix.clone(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            allow_unknown_events: config.events.allow_unknown,
            encryption: EncryptionKeys::default(),
            bodies_days: config.delivery.bodies_days,
            log_max_age_h: config.delivery.log_max_age_h,
            registry: config.registry.clone(),
            limits: config.limits.clone(),
        }
    }

    /// Returns for how many days bodies of an installation are kept.
    #[must_use]
    pub fn bodies_days_of(&self, installation: &InstallationRecord) -> u32 {
        let own = installation.retention.as_ref().map(|retention| retention.bodies_days);
        own.unwrap_or(self.bodies_days).min(BODIES_DAYS_MAX)
    }

    /// Returns what of bodies is kept of `days` days: responses only if that is at least as long as the log
    /// keeps its records, since nothing removes them earlier.
    #[must_use]
    pub fn kept_bodies(&self, days: u32) -> KeptBodies {
        let hours = u64::from(days).saturating_mul(24);
        KeptBodies { in_dead_letters: days > 0, in_log: hours >= self.log_max_age_h }
    }

    /// Returns the limit of dynamic modules of one installation. An app that is not provisioned, or a
    /// product without a limit for Connect apps, has that of Forge apps.
    #[must_use]
    pub fn dynamic_modules_max(&self, app: Option<&AppRecord>, product: Product) -> usize {
        match (app.map(|app| app.kind), product) {
            (Some(AppKind::Connect), Product::Jira) => self.limits.connect_modules_jira,
            (Some(AppKind::Connect), Product::Confluence) => self.limits.connect_modules_confluence,
            _ => self.limits.modules_per_installation,
        }
    }
}
