//! Authenticates Forge apps by an installation token or a system token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use crate::api::admit::{ApiCallers, AuthFailure};
use crate::api::auth::bearer;
use crate::api::error::ApiError;
use crate::api::metrics;
use crate::api::state::{ApiState, Shared};
use crate::api::token_kind::TokenKind;
use crate::clock;
use crate::jwt::system::{self, SystemTokenError};
use crate::registry::{AppliedInstallation, InstallationState, digest};

/// Header that names the principal a container calls for.
///
/// **Source:** Forge containers reference.
const PROXY_AUTHORIZATION: &str = "forge-proxy-authorization";
/// Prefix of the paths that only a container's proxy calls.
const CONTAINER_PATHS: &str = "/atlassian/";

/// A Forge app authenticated for one enabled installation.
pub(super) struct ForgeCaller {
    pub(super) installation: Arc<AppliedInstallation>,
}

impl FromRequestParts<Shared> for ForgeCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ApiError> {
        forge_caller(parts, state).map_err(|AuthFailure { reason, error, .. }| {
            metrics::auth_failed(FORGE_APPS.api, reason);
            error
        })
    }
}

/// Callers of the Forge API.
pub(super) const FORGE_APPS: ApiCallers = ApiCallers {
    api: "forge",
    check: |parts, state| forge_caller(parts, state).map(drop),
    render: ApiError::into_response,
};

/// Returns the failure of a caller that is not given the reason.
fn refuse(reason: &'static str) -> AuthFailure {
    AuthFailure { reason, detail: None, error: ApiError::Unauthorized(reason) }
}

/// Authenticates a Forge app. Calls through a container's proxy must name a principal; others may.
fn forge_caller(parts: &Parts, state: &ApiState) -> Result<ForgeCaller, AuthFailure> {
    let is_proxied = parts.uri.path().starts_with(CONTAINER_PATHS);
    let headers = &parts.headers;
    let token = bearer(headers).ok_or_else(|| refuse("no_token"))?;
    let installation = match state.registry.installation_by_token(&digest(token)) {
        Some(installation) => installation,
        None => by_system_token(state, token)?,
    };
    if installation.record.state != InstallationState::Enabled {
        let detail = Some(format!("the token of installation `{}`", installation.record.id));
        return Err(AuthFailure { detail, ..refuse("not_enabled") });
    }
    match headers.get(PROXY_AUTHORIZATION) {
        Some(value) => {
            let malformed = || refuse("bad_proxy_header");
            let value = value.to_str().map_err(|_| malformed())?;
            if acting_principal(value).ok_or_else(malformed)? != "app" {
                return Err(refuse("as_user"));
            }
        }
        None if is_proxied => return Err(refuse("no_proxy_header")),
        None => {}
    }
    Ok(ForgeCaller { installation })
}

/// Returns the installation named by a system token, which its remote received with an event.
fn by_system_token(state: &ApiState, token: &str) -> Result<Arc<AppliedInstallation>, AuthFailure> {
    let registry = &state.registry;
    let now_s = clock::now_ms().div_euclid(1000);
    let named = system::verify(registry.keys(), token, now_s);
    let (app, installation) = named.map_err(|why| match why {
        SystemTokenError::Foreign => {
            let kind = TokenKind::of(token, registry, &state.admin_tokens);
            AuthFailure { detail: kind.description(), ..refuse(kind.label()) }
        }
        SystemTokenError::Expired { ago_s } => AuthFailure {
            reason: "expired_token",
            detail: Some(format!("expired {ago_s} s ago")),
            error: ApiError::TokenExpired { ago_s },
        },
    })?;
    let found = registry.installation(installation.as_str());
    found.filter(|found| found.record.app == app).ok_or_else(|| refuse("unknown_token"))
}

/// Returns the principal of `Forge as=app,id=<invocation id>`; `app` by default, none if malformed.
fn acting_principal(value: &str) -> Option<&str> {
    let mut acting_principal = "app";
    let mut has_id = false;
    for pair in value.strip_prefix("Forge ")?.split(',') {
        match pair.trim().split_once('=')? {
            ("as", who) => acting_principal = who,
            ("id", id) => has_id = !id.is_empty(),
            _ => {}
        }
    }
    has_id.then_some(acting_principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_header_requires_an_id_and_defaults_to_the_app() {
        assert_eq!(acting_principal("Forge id=1"), Some("app"));
        assert_eq!(acting_principal("Forge as=user,id=1,accountId=2"), Some("user"));
        for malformed in ["Forge as=app", "Forge", "Forge id", "Bearer id=1", "Forge id="] {
            assert_eq!(acting_principal(malformed), None, "{malformed}");
        }
    }
}
