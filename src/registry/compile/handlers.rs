//! Handlers of compiled modules: function subjects, endpoints, Forge remotes, Connect webhooks.
//!
//! A new kind of handler is compiled here.

use std::collections::HashSet;
use std::sync::Arc;

use url::Url;

use super::applied::AppliedApp;
use crate::domain::{
    DynamicWebhookId, ForgeRemote, Handler, InstallationId, WebhookHandler, WebhookSigner,
};
use crate::registry::model::{BodyLayout, DYNAMIC_WEBHOOK, InstallationRecord, RequestStyle};
use crate::registry::validation::{HandlerRef, WebhookDefinition};

/// Returns the NATS subject on which a function of an installation is called.
#[must_use]
pub fn function_subject(prefix: &str, installation: &InstallationId, function: &str) -> String {
    format!("{prefix}.fn.{}.{function}", installation.token())
}

/// Returns the handler that a trigger names.
///
/// # Errors
/// The app does not declare it, or its address is invalid.
pub(super) fn of_trigger(
    app: &AppliedApp,
    installation: &InstallationRecord,
    handler: &HandlerRef,
    prefix: &str,
) -> Result<Arc<Handler>, String> {
    match handler {
        HandlerRef::Endpoint(key) => {
            let plain = app.endpoints.get(&key.value);
            let plain = plain.ok_or_else(|| format!("the app has no endpoint `{}`", key.value))?;
            let remote = remote(app, installation, &key.value)?;
            Ok(remote.map_or_else(|| Arc::clone(plain), Arc::new))
        }
        HandlerRef::Function(name) if app.record.functions.contains(&name.value) => {
            let subject = function_subject(prefix, &installation.id, &name.value);
            Ok(Arc::new(Handler::function(subject)))
        }
        HandlerRef::Function(name) => Err(format!("the app has no function `{}`", name.value)),
    }
}

/// Returns the endpoint as a Forge remote if the app uses that request style.
fn remote(
    app: &AppliedApp,
    installation: &InstallationRecord,
    key: &str,
) -> Result<Option<Handler>, String> {
    let options = app.delivery;
    if options.style != RequestStyle::ForgeRemote {
        return Ok(None);
    }
    let endpoint = app.record.endpoints.iter().find(|endpoint| endpoint.key == key);
    let endpoint = endpoint.ok_or_else(|| format!("the app has no endpoint `{key}`"))?;
    // An app may leave out its version.
    let version = app.record.version.as_deref().unwrap_or_default();
    Ok(Some(Handler::ForgeRemote(Box::new(ForgeRemote {
        url: Url::parse(&endpoint.url).map_err(|error| error.to_string())?,
        secrets: endpoint.secrets(),
        endpoint: key.into(),
        app_version: version.into(),
        environment: installation.environment.as_str().into(),
        product: installation.product,
        wraps_body: options.body == BodyLayout::Wrapped,
        wants_system_token: endpoint.auth.app_system_token,
    }))))
}

/// Returns the handler of a Connect or dynamic webhook.
///
/// # Errors
/// The app or the installation lacks what a webhook needs.
pub(super) fn of_webhook(
    app: &AppliedApp,
    installation: &InstallationRecord,
    webhook: &WebhookDefinition,
) -> Result<Arc<Handler>, String> {
    let address = webhook.address.as_str();
    let base = app.record.base_url.as_deref().and_then(|base| Url::parse(base).ok());
    Ok(Arc::new(Handler::Webhook(WebhookHandler {
        base: base.ok_or("the app has no base URL")?,
        signer: signer(installation, webhook.client.as_deref())?,
        excludes_body: webhook.excludes_body,
        property_keys: distinct(&webhook.included_properties),
        dynamic: webhook.number.map(|number| {
            let owner = webhook.user.as_ref().map(|_| webhook.client.as_deref());
            DynamicWebhookId { number, delivery_key: delivery_key(owner, address) }
        }),
        names: webhook.events.iter().map(|name| name.as_str().into()).collect(),
        address: address.into(),
    })))
}

/// Each key once: a body that included a property for every repetition would have no bound.
fn distinct(keys: &[String]) -> Box<[Box<str>]> {
    let mut seen = HashSet::new();
    keys.iter().map(String::as_str).filter(|key| seen.insert(*key)).map(Box::from).collect()
}

/// Returns who signs a webhook: the OAuth client that registered it if it has a secret, else the
/// tenant.
///
/// # Errors
/// Its client is no longer one of the installation: the secret of another would be wrong.
fn signer(
    installation: &InstallationRecord,
    client: Option<&str>,
) -> Result<WebhookSigner, &'static str> {
    let signing = client.and_then(|client| installation.oauth_clients.get_key_value(client));
    if let Some((client, signing)) = signing {
        let client = client.as_str().into();
        return Ok(WebhookSigner::OauthClient { client, secrets: signing.secrets() });
    }
    if client.is_some_and(|client| installation.has_ended(client)) {
        return Err("its OAuth client was deleted or belongs to another installation");
    }
    Ok(WebhookSigner::Tenant {
        client_key: installation.client_key.as_deref().ok_or("no client key")?.into(),
        secret: installation.shared_secret.clone().ok_or("no shared secret")?,
    })
}

/// Returns what the id of a delivery of dynamic webhooks is derived from. A Connect app has one
/// address; the users of OAuth clients have one each. The client is not known of webhooks that were
/// registered before clients were stored.
fn delivery_key(user_of: Option<Option<&str>>, address: &str) -> Box<str> {
    match user_of {
        None => DYNAMIC_WEBHOOK.into(),
        Some(client) => {
            format!("{DYNAMIC_WEBHOOK}/{}/{address}", client.unwrap_or_default()).into()
        }
    }
}
