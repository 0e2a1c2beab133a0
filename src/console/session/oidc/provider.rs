//! Client of the provider: its metadata, its keys, and the exchange of a code for a token. Every answer is bounded in size and
//! time, and few requests run at once.
//!
//! **Source:** OpenID Connect Discovery 1.0; RFC 6749, sections 2.3.1 and 4.1.3; RFC 7636.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use tokio::sync::Semaphore;
use url::{Host, Url, form_urlencoded};

use super::identity::Identity;
use super::secrets::LoginSecrets;
use super::settings::OidcSettings;
use crate::clock;
use crate::domain::Secret;
use crate::jwt::{ExpectedToken, IdTokenError, ProviderKeys};

/// Deadline of a request to the provider.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Requests to the provider that run at once: strangers cause them.
const REQUESTS_MAX: usize = 8;
/// How long metadata and keys are used before they are read again, in milliseconds.
const KNOWN_MS: i64 = 3_600_000;
/// Shortest time between two reads of the keys because a token names an unknown one, in milliseconds.
const AGAIN_MS: i64 = 30_000;
/// Most characters of an error code of the provider that are shown.
const CODE_CHARS_MAX: usize = 64;

/// Why a login with the provider fails.
#[derive(Debug, Error)]
pub(super) enum OidcError {
    /// The provider does not answer, or not as expected; one sentence.
    #[error("the provider does not answer as expected: {0}")]
    Unavailable(String),
    /// The provider refuses the code.
    #[error("the provider refuses the login: {0}")]
    Refused(String),
    /// The token is not accepted.
    #[error("the token of the provider is not accepted: {0}")]
    Token(#[from] IdTokenError),
}

/// The provider.
pub struct OidcProvider {
    settings: OidcSettings,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    known: ArcSwapOption<Known>,
    permits: Semaphore,
}

/// What the provider says of itself.
struct Known {
    metadata: Metadata,
    keys: ProviderKeys,
    read_ms: i64,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    #[serde(deserialize_with = "address")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "address")]
    token_endpoint: Url,
    #[serde(deserialize_with = "address")]
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    error: Option<String>,
}

impl OidcProvider {
    /// Creates a client; the provider is asked at the first login.
    ///
    /// # Errors
    /// The TLS library rejects its own defaults.
    pub fn new(settings: OidcSettings) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.pool_timer(TokioTimer::new()).build(connector);
        let permits = Semaphore::new(REQUESTS_MAX);
        Ok(Self { settings, client, known: ArcSwapOption::empty(), permits })
    }

    pub(super) fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Returns what the button on the login page says.
    pub(in super::super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns the address at which a visitor logs in.
    pub(super) async fn login_address(&self, secrets: &LoginSecrets) -> Result<Url, OidcError> {
        let known = self.known().await?;
        let mut address = known.metadata.authorization_endpoint.clone();
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_uri)
            .append_pair("scope", &self.settings.request_scopes)
            .append_pair("state", &secrets.state)
            .append_pair("nonce", &secrets.nonce)
            .append_pair("code_challenge", &secrets.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(address)
    }

    /// Exchanges a code for a token; returns who it is about.
    pub(super) async fn identity(
        &self,
        code: &str,
        secrets: &LoginSecrets,
    ) -> Result<Identity, OidcError> {
        let known = self.known().await?;
        let token = self.exchange(&known.metadata, code, &secrets.verifier).await?;
        let known = self.known_for(known, &token).await?;
        let expected = ExpectedToken {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &secrets.nonce,
            now_s: clock::now_ms() / 1000,
        };
        Ok(Identity::of(&known.keys.verify(&token, &expected)?, &self.settings))
    }

    /// Returns metadata and keys, read within the last hour.
    async fn known(&self) -> Result<Arc<Known>, OidcError> {
        let now_ms = clock::uptime_ms();
        match self.known.load_full() {
            Some(known) if now_ms - known.read_ms < KNOWN_MS => Ok(known),
            // What was read before is better than no login.
            Some(known) => Ok(self.read().await.unwrap_or(known)),
            None => self.read().await,
        }
    }

    /// Returns keys that may have the one of a token: the provider changes its keys now and then.
    async fn known_for(&self, known: Arc<Known>, token: &str) -> Result<Arc<Known>, OidcError> {
        let is_old = clock::uptime_ms() - known.read_ms >= AGAIN_MS;
        if known.keys.lacks_key_of(token) && is_old { self.read().await } else { Ok(known) }
    }

    async fn read(&self) -> Result<Arc<Known>, OidcError> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let address = format!("{issuer}/.well-known/openid-configuration").parse();
        let address = address.map_err(|error: url::ParseError| unavailable(error.to_string()))?;
        let metadata: Metadata = json(&self.get(&address).await?)?;
        if metadata.issuer != self.settings.issuer {
            return Err(unavailable("its metadata names another issuer than oidc.issuer"));
        }
        let Metadata { authorization_endpoint, token_endpoint, jwks_uri, .. } = &metadata;
        if ![authorization_endpoint, token_endpoint, jwks_uri].into_iter().all(is_protected) {
            return Err(unavailable("an address in its metadata is without TLS"));
        }
        let keys = ProviderKeys::of_jwks(&self.get(jwks_uri).await?);
        let keys =
            keys.map_err(|error| unavailable(format!("its keys cannot be read: {error}")))?;
        let known = Arc::new(Known { metadata, keys, read_ms: clock::uptime_ms() });
        self.known.store(Some(Arc::clone(&known)));
        Ok(known)
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &Secret,
    ) -> Result<String, OidcError> {
        let request = self.token_request(metadata, code, verifier)?;
        let (status, body) = self.send(request).await?;
        let answer: TokenAnswer = json(&body)?;
        if let Some(error) = answer.error {
            return Err(OidcError::Refused(shown_code(&error)));
        }
        match answer.id_token.filter(|_| status.is_success()) {
            Some(token) => Ok(token),
            None => Err(unavailable(format!("status {status} without an ID token"))),
        }
    }

    fn token_request(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &Secret,
    ) -> Result<Request<Full<Bytes>>, OidcError> {
        let OidcSettings { client_id, client_secret, redirect_uri, .. } = &self.settings;
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let is_posted =
            !methods.is_empty() && !methods.iter().any(|one| one == "client_secret_basic");
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier.reveal());
        let mut request = Request::post(metadata.token_endpoint.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match client_secret {
            Some(secret) if !is_posted => {
                request = request.header(AUTHORIZATION, basic(client_id, secret));
            }
            Some(secret) => {
                form.append_pair("client_id", client_id);
                form.append_pair("client_secret", secret.reveal());
            }
            None => {
                form.append_pair("client_id", client_id);
            }
        }
        let request = request.body(Full::new(form.finish().into()));
        request.map_err(|error| unavailable(error.to_string()))
    }

    async fn get(&self, address: &Url) -> Result<Bytes, OidcError> {
        let request = Request::get(address.as_str()).header(ACCEPT, "application/json");
        let request = request.body(Full::default());
        let request = request.map_err(|error| unavailable(error.to_string()))?;
        let (status, body) = self.send(request).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(unavailable(format!("status {status} of {}", address.path()))),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), OidcError> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(unavailable("too many logins at once; try again"));
        };
        let exchange = async {
            let response = self.client.request(request).await.context("no connection")?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("its answer breaks off: {error}"))?;
            Ok::<_, anyhow::Error>((head.status, body.to_bytes()))
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answered) => answered.map_err(|error| unavailable(format!("{error:#}"))),
            Err(_elapsed) => Err(unavailable("no complete answer before the deadline")),
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Returns an error code of the provider as it may be shown: a stranger can put any text into an address.
pub(super) fn shown_code(code: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    code.chars().filter(is_plain).take(CODE_CHARS_MAX).collect()
}

/// Returns the credentials of a client, form-encoded first.
fn basic(client_id: &str, secret: &Secret) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(secret.reveal()));
    format!("Basic {}", BASE64.encode(pair.as_bytes()))
}

/// Whether what is sent to an address is encrypted, or stays on this machine.
fn is_protected(address: &Url) -> bool {
    let is_local = match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    address.scheme() == "https" || (address.scheme() == "http" && is_local)
}

fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, OidcError> {
    let read = serde_json::from_slice(body);
    read.map_err(|error| unavailable(format!("its answer is not as expected: {error}")))
}

fn unavailable(reason: impl Into<String>) -> OidcError {
    OidcError::Unavailable(reason.into())
}

/// Returns TLS with the root certificates of the system.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no root certificates: single sign-on over https fails");
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_tls_except_on_this_machine() {
        for (address, expected) in [
            ("https://op.example/x", true),
            ("http://op.example/x", false),
            ("http://localhost:1/x", true),
            ("http://127.0.0.1:1/x", true),
            ("http://[::1]:1/x", true),
            ("http://localhost.evil.example/", false),
            ("ftp://localhost/", false),
        ] {
            assert_eq!(is_protected(&address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn error_of_the_provider_is_shown_as_a_code() {
        assert_eq!(shown_code("access_denied"), "access_denied");
        assert_eq!(shown_code("<b>call 555</b>"), "bcall555b");
        assert_eq!(shown_code(&"x".repeat(100)).len(), CODE_CHARS_MAX);
    }

    #[test]
    fn credentials_are_form_encoded_before_base64() {
        let encoded = basic("a b", &Secret::new("p:%"));
        assert_eq!(encoded, format!("Basic {}", BASE64.encode(b"a+b:p%3A%25")));
    }
}
