//! HTTP edge: the registration APIs of Forge, Connect and dynamic webhooks, the operator API,
//! event ingestion, probes and metrics.
//!
//! | folder | API | callers |
//! |---|---|---|
//! | `forge` | dynamic modules of Forge apps | an installation's token, or a system token |
//! | `connect` | dynamic modules of Connect apps | a JWT signed with the shared secret |
//! | `webhooks` | Jira's dynamic webhooks | a JWT, or the token of an OAuth client |
//! | `operator` | apps, installations, subscriptions, filters, keys | admin tokens, access tokens (`access` says what they may) |
//! | `ingest` | webhooks of sites, events over HTTP | the site's secret; an admin token or access token |
//!
//! A handler parses a request, calls the registry and renders the response. The registry decides
//! what may be registered; `error_response` alone maps errors to HTTP status codes. `router` puts the folders
//! together; every path works with and without a trailing slash. What they share (errors,
//! extractors, query parameters, the JSON of modules, explanations) is in files of this folder, which import none
//! of the folders.

mod access;
mod admin_tokens;
mod admit;
mod audit;
mod auth;
mod broker_answers;
mod broker_deadline;
mod connect;
mod content_type;
mod discovery_view;
mod dry_run;
mod error;
mod error_response;
mod explain;
mod extract;
mod forge;
pub mod health;
mod health_state;
mod hosts;
pub mod ingest;
mod json;
mod metrics;
mod module_json;
mod openapi;
mod operator;
mod ping_limit;
mod query_params;
mod read_your_writes;
mod reasons;
mod router;
mod schema;
pub mod scrape;
mod state;
mod suggest;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token_kind;
mod unknown_names;
mod webhooks;
mod well_known;

pub use access::{AccessUse, TokenDigest, caller_of_digest};
pub use admin_tokens::{AdminTokens, parse_token_file};
pub use admit::{AuthFailure, client_of, refused};
pub use auth::{caller_of_token, is_token};
pub use broker_answers::{BrokerAnswers, BrokerSilent};
pub(crate) use connect::submitted as connect_modules;
pub use error::{AccessRefusal, ApiError, ClientRefusal, WebhookRefusal};
pub use hosts::{OwnHosts, require_own_host};
pub use metrics::begin_auth_failures;
pub(crate) use module_json::ModuleBody;
pub(crate) use operator::{app_spec, history_sample};
pub use ping_limit::PingLimit;
pub use router::{ApiParts, router, routes};
pub use state::{ApiState, Listening, Operations, Recovery, Replica, Shared};
pub use token_kind::{OperatorFault, TokenKind};
pub(crate) use webhooks::elements as webhook_elements;
