//! Authenticates Forge apps by an installation token or a system token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::api::auth::bearer;
use crate::api::error::ApiError;
use crate::api::metrics;
use crate::api::state::Shared;
use crate::clock;
use crate::jwt::system::{self, SystemTokenError};
use crate::registry::{AppliedInstallation, InstallationState, Registry, digest};

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
        let proxied = parts.uri.path().starts_with(CONTAINER_PATHS);
        forge_caller(&parts.headers, proxied, state).map_err(|error| {
            metrics::auth_failed(error.reason);
            match error.expired_s {
                Some(ago_s) => ApiError::TokenExpired { ago_s },
                None => ApiError::Unauthorized(error.reason),
            }
        })
    }
}

/// Why authentication failed.
struct AuthError {
    /// Label value of the metric.
    reason: &'static str,
    /// Seconds since expiry, if we issued the token and it has expired.
    expired_s: Option<i64>,
}

impl From<&'static str> for AuthError {
    fn from(reason: &'static str) -> Self {
        Self { reason, expired_s: None }
    }
}

/// Authenticates a Forge app. Calls through a container's proxy (`proxied`) must name a principal;
/// others may.
fn forge_caller(
    headers: &HeaderMap,
    proxied: bool,
    state: &Shared,
) -> Result<ForgeCaller, AuthError> {
    let token = bearer(headers).ok_or("no_token")?;
    let installation = match state.registry.installation_by_token(&digest(token)) {
        Some(installation) => installation,
        None => by_system_token(&state.registry, token)?,
    };
    if installation.record.state != InstallationState::Enabled {
        return Err("not_enabled".into());
    }
    match headers.get(PROXY_AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().map_err(|_| "bad_proxy_header")?;
            if acting_principal(value).ok_or("bad_proxy_header")? != "app" {
                return Err("as_user".into());
            }
        }
        None if proxied => return Err("no_proxy_header".into()),
        None => {}
    }
    Ok(ForgeCaller { installation })
}

/// Returns the installation named by a system token, which its remote received with an event.
fn by_system_token(
    registry: &Registry,
    token: &str,
) -> Result<Arc<AppliedInstallation>, AuthError> {
    let now_s = clock::now_ms().div_euclid(1000);
    let named = system::verify(registry.keys(), token, now_s);
    let (app, installation) = named.map_err(|why| match why {
        SystemTokenError::Foreign => AuthError::from("unknown_token"),
        SystemTokenError::Expired { ago_s } => {
            AuthError { reason: "expired_token", expired_s: Some(ago_s) }
        }
    })?;
    let found = registry.installation(installation.as_str());
    found.filter(|found| found.record.app == app).ok_or(AuthError::from("unknown_token"))
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
