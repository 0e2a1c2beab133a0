//! Validation of what apps and operators submit: parsers, rules, quotas and the event catalogue.
//!
//! All or nothing: a request is accepted whole or rejected with every problem. Validation knows the
//! records of [`model`](super::model) and the filter language, neither the store nor the applied
//! state; what it compares with is passed in.

mod app_parts;
mod app_spec;
pub mod catalog;
mod conditions;
mod connect_module;
mod discovery_response;
mod dynamic_webhook;
mod forge_module;
mod language;
mod module_key;
mod module_types;
mod program_cache;
mod quotas;
mod secrets;
mod static_modules;
mod static_webhook;
mod suggestions;
mod trigger;
mod trigger_rules;
mod webhook;
mod webhook_review;

pub(crate) use app_parts::{AppSecrets, EndpointSpec};
pub use app_spec::{AppSpec, CheckUrl};
pub use connect_module::ConnectModule;
pub(crate) use discovery_response::{
    ClassifiedModules, DiscoveredModule, IGNORED_MAX, classify, invalid_module, shortened,
};
pub use dynamic_webhook::WebhookSpec;
pub use forge_module::ModuleSpec;
pub(crate) use forge_module::with_key;
pub use language::{check_filter, normal_jql};
pub use module_key::key_problem;
pub(crate) use module_types::is_known_type;
pub use program_cache::ProgramCache;
pub(crate) use quotas::{
    WebhookQuota, check_all_shadows, check_connect_modules, check_modules, check_property_paths,
    check_shadows, static_path_problem,
};
pub(crate) use secrets::{issued_secret_problem, issued_secret_warning, signing_secret_problem};
pub use static_modules::StaticModules;
pub(crate) use static_webhook::StaticWebhook;
pub use suggestions::Suggestions;
pub use trigger::{DeclaredProperty, HandlerRef, Trigger, TriggerEvent, TriggerFilter};
pub(crate) use trigger_rules::DECLARED_PATHS_MAX;
pub use trigger_rules::{FilterCost, ValidatedTrigger, ValidationRules};
pub use webhook::WebhookDefinition;
pub(crate) use webhook_review::WebhookReview;
