//! Parts of an app that carry a secret, as operators submit them: endpoints, and the addresses for
//! discovery and notices.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::clock;
use crate::domain::{Secret, UnknownMembers};
use crate::registry::model::{
    DiscoveryConfig, Endpoint, EndpointAuth, NoticeEndpoint, RetiringSecret,
};

/// An endpoint of an app.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointSpec {
    pub(crate) key: String,
    pub(super) url: String,
    /// Tokens sent to the endpoint.
    #[serde(default, deserialize_with = "known_auth")]
    auth: EndpointAuth,
    /// Used unchanged; if absent, a known endpoint keeps its secret and a new one gets a generated
    /// one.
    #[schema(value_type = Option<String>)]
    pub(crate) secret: Option<Secret>,
}

/// How an app is asked for modules.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscoverySpec {
    #[serde(rename = "use")]
    types: Vec<String>,
    pub(super) url: String,
    /// As for an endpoint.
    #[schema(value_type = Option<String>)]
    pub(crate) secret: Option<Secret>,
}

/// Where an app receives notices.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticesSpec {
    pub(super) url: String,
    /// As for an endpoint.
    #[schema(value_type = Option<String>)]
    pub(crate) secret: Option<Secret>,
}

fn known_auth<'de, D: Deserializer<'de>>(from: D) -> Result<EndpointAuth, D::Error> {
    let auth = EndpointAuth::deserialize(from)?;
    refuse_unknown(&auth.unknown).map(|()| auth)
}

/// Refuses members in a request that are only kept in stored records.
pub(super) fn refuse_unknown<E: serde::de::Error>(unknown: &UnknownMembers) -> Result<(), E> {
    let name = unknown.first_name();
    name.map_or(Ok(()), |name| Err(E::custom(format_args!("unknown field `{name}`"))))
}

/// The parts of an app that carry a secret.
pub(crate) struct AppSecrets {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) discovery: Option<DiscoveryConfig>,
    pub(crate) notices: Option<NoticeEndpoint>,
}

impl EndpointSpec {
    /// Adds its secret. `old` is the endpoint of this key: its secret retires if it is another one.
    pub(crate) fn with(&self, secret: Secret, old: Option<&Endpoint>) -> Endpoint {
        let (key, url, auth) = (self.key.clone(), self.url.clone(), self.auth.clone());
        let previous = old.and_then(|old| {
            RetiringSecret::after(&old.secret, old.previous.as_ref(), &secret, clock::now_ms())
        });
        Endpoint { key, url, secret, previous, auth, unknown: UnknownMembers::default() }
    }
}

impl DiscoverySpec {
    /// Adds its secret.
    pub(crate) fn with(&self, secret: Secret) -> DiscoveryConfig {
        let (types, url) = (self.types.clone(), self.url.clone());
        DiscoveryConfig { types, url, secret, unknown: UnknownMembers::default() }
    }
}

impl NoticesSpec {
    /// Adds its secret.
    pub(crate) fn with(&self, secret: Secret) -> NoticeEndpoint {
        NoticeEndpoint { url: self.url.clone(), secret, unknown: UnknownMembers::default() }
    }
}
