//! What the login of the console needs: the store of sessions, and the provider of single sign-on.

use std::fs::read_to_string;
use std::sync::Arc;

use anyhow::Context;

use super::broker::Broker;
use crate::bus::SessionsBucket;
use crate::config::Config;
use crate::console::{OidcProvider, OidcSettings};
use crate::domain::Secret;
use crate::sessions::SessionStore;

/// Opens the store of sessions.
pub(super) async fn sessions(
    config: &Config,
    broker: &Broker,
) -> anyhow::Result<Arc<dyn SessionStore>> {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    Ok(Arc::new(SessionsBucket::open(control, subjects, config).await?))
}

/// Returns the provider of single sign-on, if there is one. It is asked at the first login.
pub(super) fn provider(config: &Config) -> anyhow::Result<Option<OidcProvider>> {
    let oidc = &config.oidc;
    let secret = match oidc.client_secret_file.as_str() {
        "" => oidc.client_secret.clone(),
        file => Secret::new(read_to_string(file).context("oidc.client_secret_file")?.trim()),
    };
    let settings = OidcSettings::of(oidc, &config.server.public_url, secret);
    settings.map(OidcProvider::new).transpose().context("single sign-on")
}
