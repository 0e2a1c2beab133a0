//! Apps.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;
use super::errors::Problem;
use crate::registry::AppKind;

/// An app.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct App {
    /// Forge ARI or Connect app key.
    id: String,
    kind: AppKind,
    name: Option<String>,
    version: Option<String>,
    /// Granted scopes; empty if none are declared.
    scopes: Vec<String>,
    /// Permissions in addition to scopes, as submitted.
    permissions: Option<Map<String, Value>>,
    functions: Vec<String>,
    endpoints: Vec<AppEndpoint>,
    base_url: Option<String>,
    /// Modules of the app itself, by type.
    static_modules: BTreeMap<String, Vec<Map<String, Value>>>,
    /// Texts by locale and key.
    translations: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// Paths of the lifecycle callbacks by name.
    lifecycle: Option<BTreeMap<String, Value>>,
    discovery: Option<AppDiscovery>,
    notices: Option<Address>,
    /// Delivery options, as submitted.
    delivery: Option<Map<String, Value>>,
    created_at: Time,
    updated_at: Time,
}

/// An endpoint of an app.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct AppEndpoint {
    key: String,
    url: String,
    /// Tokens that are sent to it.
    auth: Option<Map<String, Value>>,
    /// Until when the secret of before signs deliveries as well.
    previous_secret_until: Option<Time>,
}

/// How the app is asked for modules.
#[derive(ToSchema)]
struct AppDiscovery {
    /// Module types that are accepted from it.
    r#use: Vec<String>,
    url: String,
}

/// An address, with its secret if that is new.
#[derive(ToSchema)]
struct Address {
    url: String,
    secret: Option<String>,
}

/// An app that was stored. Secrets of new endpoints and addresses are shown here, and only here.
#[derive(ToSchema)]
pub(in crate::api) struct AppStored {
    id: String,
    kind: AppKind,
    version: Option<String>,
    endpoints: Vec<StoredEndpoint>,
    discovery: Option<Address>,
    notices: Option<Address>,
    /// Registered modules that were dropped because the app has static ones with their keys,
    /// `<installation>/<key>`.
    dropped: Vec<String>,
    warnings: Option<Vec<Problem>>,
}

/// An endpoint, with its secret if that is new.
#[derive(ToSchema)]
struct StoredEndpoint {
    key: String,
    url: String,
    secret: Option<String>,
}

/// The new secret of an endpoint.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct NewEndpointSecret {
    key: String,
    secret: String,
    /// Until when the secret of before signs deliveries as well.
    previous_secret_until: Option<Time>,
}
