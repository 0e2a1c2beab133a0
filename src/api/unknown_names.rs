//! Problems of names of records that do not exist, with the nearest name that does.

use super::error::ApiError;
use super::state::ApiState;
use super::suggest::help_with;
use crate::domain::{CloudId, SubscriptionId};
use crate::registry::{AppliedInstallation, Problem, code};

/// Code of a name that does not exist.
pub(super) const NO_SUCH: &str = "SY-1103";

/// Returns the problem of a name that does not exist.
pub(super) fn no_such(message: String, help: impl Into<String>) -> Problem {
    Problem::new(NO_SUCH, "", message).with_help(help)
}

/// Returns the error of the member `path` of a request body, which names what does not exist.
pub(super) fn wrong_member(path: &str, problem: Problem) -> ApiError {
    Problem { code: code::FORM.into(), path: path.into(), ..problem }.into()
}

/// Returns the problem of an app, unless it exists.
pub(super) fn no_app(state: &ApiState, id: &str) -> Option<Problem> {
    if state.registry.app(id).is_some() {
        return None;
    }
    let ids = state.registry.app_ids(None, usize::MAX);
    let help = help_with(id, ids.iter().map(|id| id.as_str()));
    let help = help.unwrap_or_else(|| "create it with `PUT /admin/v1/apps/{id}`".into());
    Some(no_such(format!("there is no app `{id}`"), help))
}

/// Returns the problem of an installation, unless it exists.
pub(super) fn no_installation(state: &ApiState, id: &str) -> Option<Problem> {
    if state.registry.installation(id).is_some() {
        return None;
    }
    let ids = state.registry.installation_ids(None, usize::MAX);
    let help = help_with(id, ids.iter().map(|id| id.as_str()));
    let help = help.unwrap_or_else(|| "create it with `PUT /admin/v1/installations/{id}`".into());
    Some(no_such(format!("there is no installation `{id}`"), help))
}

/// Returns the problem of a module of an installation, unless it exists.
pub(super) fn no_module(installation: &AppliedInstallation, key: &str) -> Option<Problem> {
    if installation.module(key).is_some() {
        return None;
    }
    let keys = installation.modules.iter().map(|module| module.id.key.as_str());
    let help = help_with(key, keys).unwrap_or_else(|| "it has no module".into());
    let id = &installation.record.id;
    Some(no_such(format!("installation `{id}` has no module `{key}`"), help))
}

/// Returns the problem of a subscription, unless it exists.
pub(super) fn no_subscription(state: &ApiState, id: &str) -> Option<Problem> {
    let Some(named) = SubscriptionId::parse(id) else {
        return Some(no_such(
            format!("`{id}` is no subscription"),
            "a subscription is `<installation>/<key>`, percent-encoded in a path",
        ));
    };
    no_installation(state, named.installation.as_str()).or_else(|| {
        let installation = state.registry.installation(named.installation.as_str())?;
        no_module(&installation, named.key.as_str())
    })
}

/// Returns the problem of an OAuth client, unless it exists.
pub(super) fn no_client(state: &ApiState, id: &str) -> Option<Problem> {
    if state.registry.client(id).is_some() {
        return None;
    }
    let ids = state.registry.client_ids(None, usize::MAX);
    let help = help_with(id, ids.iter().map(String::as_str));
    let help = help.unwrap_or_else(|| "create it with `PUT /admin/v1/oauth-clients/{id}`".into());
    Some(no_such(format!("there is no OAuth client `{id}`"), help))
}

/// Returns the problem of an access token, unless it exists.
pub(super) fn no_access_token(state: &ApiState, id: &str) -> Option<Problem> {
    if state.registry.access_token(id).is_some() {
        return None;
    }
    let ids = state.registry.access_token_ids(None, usize::MAX);
    let help = help_with(id, ids.iter().map(String::as_str));
    let help = help.unwrap_or_else(|| "create it with `PUT /admin/v1/tokens/{id}`".into());
    Some(no_such(format!("there is no access token `{id}`"), help))
}

/// Returns the problem of a site, unless it has an installation.
pub(super) fn no_site(state: &ApiState, site: &str) -> Option<Problem> {
    if !state.registry.installations_at(&CloudId::from(site)).is_empty() {
        return None;
    }
    let sites = state.registry.sites();
    let help = help_with(site, sites.iter().map(CloudId::as_str));
    let help = help.unwrap_or_else(|| "there is no installation yet".into());
    Some(no_such(format!("no app is installed in site `{site}`"), help))
}
