//! Who calls: operators by the admin token, Forge apps by the token of their installation.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{ApiError, Shared, metrics};
use crate::clock;
use crate::domain::Secret;
use crate::jwt::system::{self, SystemTokenError};
use crate::registry::{AppliedInstallation, InstallationState, Registry, digest};

/// Carries on whose behalf a container calls. **Source:** Forge containers reference.
const PROXY_AUTHORIZATION: &str = "forge-proxy-authorization";
/// Paths that only a container's proxy calls.
const CONTAINER_PATHS: &str = "/atlassian/";

/// Lets requests with the admin token pass.
pub(super) async fn require_admin(
    State(state): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match bearer(request.headers()) {
        Some(given) if is_operator(&state.admin_token, given) => Ok(next.run(request).await),
        _ => Err(ApiError::NotAnOperator),
    }
}

/// Whether `given` is the operator's token; an empty token is nobody's.
#[must_use]
pub fn is_operator(token: &Secret, given: &str) -> bool {
    let wanted = token.reveal();
    // Digests have one length, so the comparison tells nothing about the token's.
    !wanted.is_empty() && bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(wanted)))
}

/// A Forge app, acting for one enabled installation.
pub(super) struct ForgeCaller {
    pub(super) installation: Arc<AppliedInstallation>,
}

impl FromRequestParts<Shared> for ForgeCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ApiError> {
        let proxied = parts.uri.path().starts_with(CONTAINER_PATHS);
        forge_caller(&parts.headers, proxied, state).map_err(|denied| {
            metrics::auth_failed(denied.reason);
            match denied.expired_s {
                Some(ago_s) => ApiError::TokenExpired { ago_s },
                None => ApiError::Unauthorized(denied.reason),
            }
        })
    }
}

/// Why a caller is refused.
struct Denied {
    /// For metrics.
    reason: &'static str,
    /// For how long its token, which was ours, has been too old.
    expired_s: Option<i64>,
}

impl From<&'static str> for Denied {
    fn from(reason: &'static str) -> Self {
        Self { reason, expired_s: None }
    }
}

/// `proxied` callers must say on whose behalf they call; others may.
fn forge_caller(headers: &HeaderMap, proxied: bool, state: &Shared) -> Result<ForgeCaller, Denied> {
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
            if acting_as(value).ok_or("bad_proxy_header")? != "app" {
                return Err("as_user".into());
            }
        }
        None if proxied => return Err("no_proxy_header".into()),
        None => {}
    }
    Ok(ForgeCaller { installation })
}

/// The installation named by a token that we handed to its remote with an event.
fn by_system_token(registry: &Registry, token: &str) -> Result<Arc<AppliedInstallation>, Denied> {
    let now_s = clock::now_ms().div_euclid(1000);
    let named = system::verify(registry.keys(), token, now_s);
    let (app, installation) = named.map_err(|why| match why {
        SystemTokenError::Foreign => Denied::from("unknown_token"),
        SystemTokenError::Expired { ago_s } => {
            Denied { reason: "expired_token", expired_s: Some(ago_s) }
        }
    })?;
    let found = registry.installation(installation.as_str());
    found.filter(|found| found.record.app == app).ok_or(Denied::from("unknown_token"))
}

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// On whose behalf `Forge as=app,id=<invocation id>` calls: `app` unless it says otherwise.
fn acting_as(value: &str) -> Option<&str> {
    let mut acting_as = "app";
    let mut has_id = false;
    for pair in value.strip_prefix("Forge ")?.split(',') {
        match pair.trim().split_once('=')? {
            ("as", who) => acting_as = who,
            ("id", id) => has_id = !id.is_empty(),
            _ => {}
        }
    }
    has_id.then_some(acting_as)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn bearer_scheme_is_read_in_any_case_and_others_are_not() {
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc ")), Some("abc"));
        for other in ["Bearer", "Bearer ", "JWT abc", "abc", ""] {
            assert_eq!(bearer(&headers(other)), None, "{other}");
        }
    }

    #[test]
    fn proxy_header_needs_an_id_and_acts_as_the_app_by_default() {
        assert_eq!(acting_as("Forge id=1"), Some("app"));
        assert_eq!(acting_as("Forge as=user,id=1,accountId=2"), Some("user"));
        for malformed in ["Forge as=app", "Forge", "Forge id", "Bearer id=1", "Forge id="] {
            assert_eq!(acting_as(malformed), None, "{malformed}");
        }
    }
}
