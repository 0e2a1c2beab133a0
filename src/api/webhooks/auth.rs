//! Authenticates callers of the webhook API: Connect apps by JWT, OAuth 2.0 apps by bearer token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use percent_encoding::percent_decode_str;

use super::error::WebhookError;
use super::paths::site_of;
use crate::api::admit::{ApiCallers, AuthFailure};
use crate::api::auth::bearer;
use crate::api::connect::{connect_installation, verified};
use crate::api::error::ApiError;
use crate::api::metrics;
use crate::api::state::{ApiState, Shared};
use crate::api::token_kind::TokenKind;
use crate::domain::Product;
use crate::registry::{
    AppliedInstallation, ClientUser, InstallationState, Registry, WebhookOwner, digest,
};

/// An authenticated app, with the owner of its webhooks.
pub(super) struct WebhookCaller {
    pub(super) installation: Arc<AppliedInstallation>,
    pub(super) owner: WebhookOwner,
}

impl FromRequestParts<Shared> for WebhookCaller {
    type Rejection = WebhookError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, WebhookError> {
        webhook_caller(parts, state).map_err(|reason| {
            metrics::auth_failed(WEBHOOK_APPS.api, reason);
            ApiError::NotAnApp.into()
        })
    }
}

/// Callers of the webhook API.
pub(super) const WEBHOOK_APPS: ApiCallers = ApiCallers {
    api: "webhook",
    check: |parts, state| {
        check(parts, state).map_err(|reason| {
            let kind = bearer(&parts.headers)
                .filter(|_| reason == "unknown_token")
                .map(|token| TokenKind::of(token, &state.registry, &state.admin_tokens));
            let detail = kind.as_ref().and_then(TokenKind::description);
            let reason = kind.map_or(reason, |kind| kind.label());
            AuthFailure { reason, detail, error: ApiError::NotAnApp }
        })
    },
    render: |error| WebhookError::from(error).into_response(),
};

/// Checks the credentials of a request, which do not depend on its body.
fn check(parts: &Parts, state: &ApiState) -> Result<(), &'static str> {
    match bearer(&parts.headers) {
        Some(token) => by_bearer(token, parts, &state.registry).map(drop),
        None if site_of(parts.uri.path()).is_some() => Err("no_token"),
        None => verified(parts, &state.registry).map(drop),
    }
}

/// Returns the installation of an OAuth client, and the owner of its webhooks.
fn by_bearer(
    token: &str,
    parts: &Parts,
    registry: &Registry,
) -> Result<(Arc<AppliedInstallation>, ClientUser), &'static str> {
    let client = registry.client_by_token(&digest(token)).ok_or("unknown_token")?;
    let installation = registry.installation(client.installation.as_str());
    let installation = installation.ok_or("no_installation")?;
    if let Some(site) = site_of(parts.uri.path()) {
        let site = percent_decode_str(site).decode_utf8().map_err(|_| "site")?;
        if *site != *installation.record.cloud_id.as_str() {
            return Err("site");
        }
    }
    let owner = ClientUser { client: client.id.clone(), user: client.user.clone() };
    Ok((installation, owner))
}

fn webhook_caller(parts: &Parts, state: &Shared) -> Result<WebhookCaller, &'static str> {
    let registry = &state.registry;
    let (installation, client, signed) = match bearer(&parts.headers) {
        Some(token) => {
            let (installation, client) = by_bearer(token, parts, registry)?;
            (installation, Some(client), None)
        }
        None => {
            let (installation, signed) = connect_installation(parts, registry)?;
            (installation, None, Some(signed))
        }
    };
    let record = &installation.record;
    if record.state != InstallationState::Enabled || record.product != Product::Jira {
        return Err("not_enabled");
    }
    let owner = WebhookOwner { installation: record.id.clone(), client, signed };
    Ok(WebhookCaller { installation, owner })
}
