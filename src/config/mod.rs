//! The configuration: all settings of the router, with units in their names.
//!
//! Precedence: flag > environment (`SWITCHYARD_SECTION__KEY`) > file > default. The defaults are
//! `deploy/switchyard.default.toml`, compiled in; it also defines the type of each key, by which
//! environment values are parsed. An unknown key or variable is an error.

mod check;
mod effective;
mod environment;
mod error;
mod fraction;
mod ingest;
mod load;
mod oidc;
mod positions;
mod secret_length;
mod sections;
mod sources;
mod traces;
mod types;

pub use effective::{LoadedConfig, Origin, Setting, ShownValue};
pub use environment::{
    ClientEnvironment, broker_environment, client_environment, is_on_path, manifest_variable,
    nats_server_candidates, user_config_dir, verify_secret,
};
pub use error::ConfigError;
pub use fraction::part_of;
pub use sections::{
    AdminConfig, AuditConfig, Config, DeliveryConfig, EventsConfig, IngestConfig, IngestSiteConfig,
    LimitsConfig, LogConfig, LogResponses, MetricsConfig, NatsConfig, OidcConfig, RegistryConfig,
    SecretsConfig, ServerConfig, TracesConfig,
};
