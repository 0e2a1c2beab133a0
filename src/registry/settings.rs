//! Settings and limits of the registry: the sections of the configuration that it reads.

use super::model::{AppKind, AppRecord, EncryptionKeys};
use crate::config::{Config, LimitsConfig, RegistryConfig};
use crate::domain::Product;

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
            registry: config.registry.clone(),
            limits: config.limits.clone(),
        }
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
