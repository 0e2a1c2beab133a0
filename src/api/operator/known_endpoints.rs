//! The endpoints of an installation: those of its live subscriptions, and those whose modules are disabled.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::delivery::EndpointKey;
use crate::domain::{InstallationId, ModuleKey, token};
use crate::matcher::Subscription;
use crate::registry::{AppliedInstallation, AppliedModule, ModuleStatus, TRIGGER, Trigger};

/// First part of the second half of an id.
const PREFIX: &str = "ep_";

/// One endpoint of an installation, with what is delivered to it.
pub(super) struct KnownEndpoint {
    /// `<installation>/ep_<digest of the endpoint>`.
    pub(super) id: String,
    /// Installation, app and site.
    pub(super) installation: Arc<AppliedInstallation>,
    /// Its address without secrets, and its host.
    pub(super) key: EndpointKey,
    /// Live subscriptions that are delivered to it.
    pub(super) live: Vec<Arc<Subscription>>,
    /// Modules that were disabled because it answered HTTP 410.
    pub(super) disabled: Vec<ModuleKey>,
}

/// Returns the endpoint with an id.
///
/// # Errors
/// There is none.
pub(super) fn find(state: &Shared, id: &str) -> Result<KnownEndpoint, ApiError> {
    let (installation, _) = id.rsplit_once('/').ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(installation).ok_or(ApiError::NotFound)?;
    let known = endpoints_of(state, &installation).into_iter().find(|one| one.id == id);
    known.ok_or(ApiError::NotFound)
}

/// Returns the endpoints of an installation, sorted by id.
pub(super) fn endpoints_of(
    state: &Shared,
    installation: &Arc<AppliedInstallation>,
) -> Vec<KnownEndpoint> {
    let mut found: BTreeMap<String, KnownEndpoint> = BTreeMap::new();
    let mut known = |key: EndpointKey, add: &dyn Fn(&mut KnownEndpoint)| {
        let id = endpoint_id(&installation.record.id, &key);
        add(found.entry(id.clone()).or_insert_with(|| KnownEndpoint {
            id,
            installation: Arc::clone(installation),
            key,
            live: Vec::new(),
            disabled: Vec::new(),
        }));
    };
    for module in &installation.modules {
        if let Some(live) = &module.subscription {
            let key = EndpointKey::of(&live.owner.settings.handler);
            known(key, &|endpoint| endpoint.live.push(Arc::clone(live)));
        } else if module.status == ModuleStatus::EndpointGone
            && let Some(key) = disabled_endpoint(state, installation, module)
        {
            known(key, &|endpoint| endpoint.disabled.push(module.id.key.clone()));
        }
    }
    found.into_values().collect()
}

fn endpoint_id(installation: &InstallationId, key: &EndpointKey) -> String {
    format!("{installation}/{PREFIX}{}", digest(&key.endpoint))
}

/// Returns the first characters of the digest of an endpoint, which may be longer than a path.
fn digest(endpoint: &str) -> String {
    // A token of a text that is none of a subject is its digest.
    token(&format!("{endpoint} ")).chars().take(16).collect()
}

/// Returns the endpoint of a module that has no subscription: what its app declares.
fn disabled_endpoint(
    state: &Shared,
    installation: &AppliedInstallation,
    module: &AppliedModule,
) -> Option<EndpointKey> {
    let app = state.registry.app(installation.record.app.as_str())?;
    let url = if module.module_type == TRIGGER {
        let trigger = Trigger::parse(&module.data.read(), "data").ok()?;
        let (_, name) = trigger.handler.member();
        let declared = app.record.endpoints.iter().find(|one| one.key == *name.value)?;
        declared.url.clone()
    } else {
        app.record.base_url.clone()?
    };
    let url = Url::parse(&url).ok()?;
    Some(EndpointKey { endpoint: url.to_string(), host: url.origin().ascii_serialization() })
}
