//! Authenticates callers of the webhook API: Connect apps by JWT, OAuth 2.0 apps by bearer token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::WebhookError;
use crate::api::auth::bearer;
use crate::api::connect::connect_installation;
use crate::api::error::ApiError;
use crate::api::metrics;
use crate::api::state::Shared;
use crate::domain::Product;
use crate::registry::{AppliedInstallation, InstallationState, WebhookOwner, digest};

/// An authenticated app, with the owner of its webhooks.
pub(super) struct WebhookCaller {
    pub(super) installation: Arc<AppliedInstallation>,
    pub(super) owner: WebhookOwner,
}

impl FromRequestParts<Shared> for WebhookCaller {
    type Rejection = WebhookError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, WebhookError> {
        webhook_caller(parts, state).map_err(|reason| {
            metrics::auth_failed(reason);
            ApiError::NotAnApp.into()
        })
    }
}

fn webhook_caller(parts: &Parts, state: &Shared) -> Result<WebhookCaller, &'static str> {
    let registry = &state.registry;
    let (installation, user, signed) = match bearer(&parts.headers) {
        Some(token) => {
            let client = registry.client_by_token(&digest(token)).ok_or("unknown_token")?;
            let installation = registry.installation(client.installation.as_str());
            (installation.ok_or("no_installation")?, Some(client.user.clone()), None)
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
    let owner = WebhookOwner { installation: record.id.clone(), user, signed };
    Ok(WebhookCaller { installation, owner })
}
