//! Authenticates Connect apps by the JWT of a request, and finds the installation it is signed for.
//!
//! A rejected caller is not given the reason; it is a metric label.
//!
//! **Source:** Atlassian, "Understanding JWT for Connect apps"; observed clients name the app or
//! the tenant as issuer, and the tenant or nothing as audience.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use url::form_urlencoded;

use super::error::ConnectError;
use crate::api::admit::{ApiCallers, AuthFailure};
use crate::api::error::ApiError;
use crate::api::metrics;
use crate::api::read_your_writes::BufferedBody;
use crate::api::state::Shared;
use crate::clock;
use crate::domain::Product;
use crate::event::sources::source_of_path;
use crate::jwt::{ConnectToken, TokenError};
use crate::registry::{AppliedInstallation, InstallationState, Registry, SignedRequest};

/// Query parameter that may carry the token instead of the header.
const TOKEN: &str = "jwt";

/// A Connect app authenticated for one enabled installation.
pub(super) struct ConnectCaller {
    pub(super) installation: Arc<AppliedInstallation>,
    pub(super) signed: SignedRequest,
}

impl FromRequestParts<Shared> for ConnectCaller {
    type Rejection = ConnectError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ConnectError> {
        let found = connect_installation(parts, &state.registry);
        found.map(|(installation, signed)| Self { installation, signed }).map_err(|reason| {
            metrics::auth_failed(CONNECT_APPS.api, reason);
            ApiError::NotConnect.into()
        })
    }
}

/// Callers of the Connect API.
pub(super) const CONNECT_APPS: ApiCallers = ApiCallers {
    api: "connect",
    check: |parts, state| {
        let refused = |reason| AuthFailure { reason, detail: None, error: ApiError::NotConnect };
        verified(parts, &state.registry).map(drop).map_err(refused)
    },
    render: |error| ConnectError::from(error).into_response(),
};

/// A token that is valid for its request.
pub(in crate::api) struct VerifiedToken<'p> {
    installation: Arc<AppliedInstallation>,
    text: Cow<'p, str>,
    issued_s: i64,
    accepted_until_s: i64,
}

/// Returns the installation that a request is signed for, and the signed request for replay
/// protection.
pub(in crate::api) fn connect_installation(
    parts: &Parts,
    registry: &Registry,
) -> Result<(Arc<AppliedInstallation>, SignedRequest), &'static str> {
    let VerifiedToken { installation, text, issued_s, accepted_until_s } =
        verified(parts, registry)?;
    let buffered = parts.extensions.get::<BufferedBody>();
    debug_assert!(
        buffered.is_some() || parts.method == Method::GET,
        "the body of a request that may write is buffered before it is handled"
    );
    let body = buffered.map(|buffered| &*buffered.0).unwrap_or_default();
    Ok((installation, SignedRequest::new(&text, body, issued_s, accepted_until_s)))
}

/// Verifies the token of a request, which does not depend on its body.
pub(in crate::api) fn verified<'p>(
    parts: &'p Parts,
    registry: &Registry,
) -> Result<VerifiedToken<'p>, &'static str> {
    let text = token_of(parts)?;
    let token = ConnectToken::parse(&text).map_err(TokenError::label)?;
    if token.is_own() {
        return Err("own");
    }
    let path = parts.uri.path();
    let product = source_of_path(path).product();
    let candidates = candidates(&token, registry, product)?;
    let now_ms = clock::now_ms();
    let signed = candidates.into_iter().find(|installation| {
        let mut accepted = installation.record.accepted_secrets(now_ms);
        accepted.any(|secret| token.is_signed_with(secret))
    });
    let installation = signed.ok_or("signature")?;
    let query = parts.uri.query().unwrap_or_default();
    let now_s = now_ms.div_euclid(1000);
    token.check(now_s, parts.method.as_str(), path, query).map_err(TokenError::label)?;
    let (issued_s, accepted_until_s) = (token.issued_s(), token.accepted_until_s());
    Ok(VerifiedToken { installation, text, issued_s, accepted_until_s })
}

/// Returns the token of a request, from its header or its query; fails if they differ.
fn token_of(parts: &Parts) -> Result<Cow<'_, str>, &'static str> {
    let header = match parts.headers.get(header::AUTHORIZATION) {
        None => None,
        Some(value) => {
            let value = value.to_str().map_err(|_| "no_token")?;
            let (scheme, token) = value.split_once(' ').ok_or("no_token")?;
            if !scheme.eq_ignore_ascii_case("jwt") {
                return Err("scheme");
            }
            Some(Cow::Borrowed(token.trim()))
        }
    };
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let mut tokens = header.into_iter().chain(
        query.filter(|(name, _)| name == TOKEN).map(|(_, token)| Cow::Owned(token.into_owned())),
    );
    let first = tokens.next().ok_or("no_token")?;
    if tokens.all(|other| other == first) { Ok(first) } else { Err("two_tokens") }
}

/// Returns the installations that issuer and audience may name, whose secrets are then tried. The
/// token is not verified at this point.
fn candidates(
    token: &ConnectToken<'_>,
    registry: &Registry,
    product: Product,
) -> Result<Vec<Arc<AppliedInstallation>>, &'static str> {
    let (issuer, audience) = (token.issuer(), token.audience());
    let is_usable = |installation: &Arc<AppliedInstallation>| {
        let record = &installation.record;
        record.state == InstallationState::Enabled && record.product == product
    };
    let is_app = registry.app(issuer).is_some();
    let found: Vec<_> = match (is_app, audience) {
        // Without an audience the app must have exactly one installation.
        (true, []) => registry.installations_of(issuer).filter(is_usable).take(2).collect(),
        (true, audience) => audience
            .iter()
            .flat_map(|tenant| registry.installations_of_client(tenant))
            .filter(|installation| installation.record.app.as_str() == issuer)
            .filter(is_usable)
            .collect(),
        (false, audience) if audience.is_empty() || audience.iter().any(|name| name == issuer) => {
            registry.installations_of_client(issuer).filter(is_usable).collect()
        }
        (false, _) => Vec::new(),
    };
    match (is_app, audience, found.len()) {
        (_, _, 0) => Err("no_installation"),
        (true, [], 2..) => Err("ambiguous_tenant"),
        _ => Ok(found),
    }
}
