//! Channel of Forge remotes: a POST with an invocation token of ours and trace headers.
//!
//! **Source:** Forge, "Remote" reference: the invocation token (FIT), the headers of a request, a
//! deadline of five seconds.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::contract::{Attempt, Channel, HandlerDescription, origin};
use super::request::signed_headers;
use crate::delivery::model::{AttemptClass, AttemptOutcome, Delivery, Transport};
use crate::domain::{ForgeRemote, TraceContext};
use crate::event::sources::source_of;
use crate::jwt::system;

/// Deadline of a remote, as the vendor sets it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Validity of a token, in seconds: the deadline plus clock skew.
const TOKEN_LIFE_S: i64 = 25;
/// Issuer of invocation tokens, as the vendor's libraries expect it.
const ISSUER: &str = "forge/invocation-token";

impl Channel for ForgeRemote {
    fn transport(&self) -> Transport {
        Transport::Http
    }

    fn endpoint(&self) -> &str {
        self.url.as_str()
    }

    fn host(&self) -> Cow<'_, str> {
        origin(&self.url).into()
    }

    fn describe(&self) -> HandlerDescription {
        let url = self.url.to_string();
        let members = vec![("url", url.clone()), ("style", "forge_remote".to_owned())];
        HandlerDescription { address: url, members }
    }

    /// The event itself, or the event as `payload` next to its context.
    fn body(&self, delivery: &Delivery) -> Bytes {
        let event = delivery.event_body();
        if self.wraps_body { wrap(delivery, &event) } else { event }
    }

    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome> {
        Box::pin(post(self, attempt))
    }
}

async fn post(remote: &ForgeRemote, attempt: Attempt<'_>) -> AttemptOutcome {
    let invocation = Uuid::new_v4().to_string();
    let Some(tokens) = sign_tokens(remote, &attempt, &invocation).await else {
        // The stored keys cannot be read: no fault of the remote.
        return AttemptOutcome::failed(AttemptClass::Local, "no key to sign the invocation token");
    };
    let mut headers = match signed_headers(&attempt, &remote.secrets) {
        Ok(headers) => headers,
        Err(unsigned) => return unsigned,
    };
    let (trace, span) = match attempt.trace {
        Some(context) => b3(context),
        None => trace(attempt.delivery),
    };
    headers.extend([
        ("authorization", format!("Bearer {}", tokens.invocation)),
        ("x-forge-invocation-id", invocation),
        ("x-b3-traceid", trace),
        ("x-b3-spanid", span),
    ]);
    headers.extend(tokens.system.map(|token| ("x-forge-oauth-system", token)));
    let exchange = attempt.http.post(&remote.url, headers, attempt.body);
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => AttemptOutcome::failed(
            AttemptClass::Timeout,
            "no complete response within five seconds",
        ),
    }
}

/// The signed tokens of one attempt.
struct Tokens {
    invocation: String,
    system: Option<String>,
}

/// Signs the tokens of an attempt; none if there is no key.
async fn sign_tokens(
    remote: &ForgeRemote,
    attempt: &Attempt<'_>,
    invocation: &str,
) -> Option<Tokens> {
    let (now_s, now_ms) = (attempt.now.as_second(), attempt.now.as_millisecond());
    let claims = claims(attempt.delivery, remote, invocation, now_s);
    let owner = &attempt.delivery.subscription.owner;
    let system = remote.wants_system_token.then(|| system::claims(&owner.app, &owner.id, now_s));
    let keys = Arc::clone(&attempt.ports.keys);
    // Signing takes about a millisecond, too long for an async worker thread.
    let signed = tokio::task::spawn_blocking(move || {
        let invocation = keys.sign(&claims, now_ms)?;
        Some(Tokens { invocation, system: system.and_then(|claims| keys.sign(&claims, now_ms)) })
    });
    signed.await.ok().flatten()
}

/// Wraps an event object as `payload` next to its context.
fn wrap(delivery: &Delivery, event: &[u8]) -> Bytes {
    let subscription = &delivery.subscription;
    let context = json!({"cloudId": subscription.owner.cloud_id, "moduleKey": subscription.key});
    let mut wrapped = Vec::with_capacity(event.len() + 256);
    wrapped.extend_from_slice(br#"{"payload":"#);
    wrapped.extend_from_slice(event);
    wrapped.extend_from_slice(format!(r#","context":{context}}}"#).as_bytes());
    wrapped.into()
}

/// Returns the claims of the invocation token; `invocation` identifies one attempt.
fn claims(delivery: &Delivery, remote: &ForgeRemote, invocation: &str, now_s: i64) -> Value {
    let subscription = &delivery.subscription;
    let (app, cloud_id) = (&subscription.owner.app, &subscription.owner.cloud_id);
    let product = source_of(remote.product).name();
    let api = format!("https://api.atlassian.com/ex/{product}/{cloud_id}");
    let installation = &subscription.owner.id;
    json!({
        "iss": ISSUER,
        "aud": app,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s.saturating_add(TOKEN_LIFE_S),
        "jti": invocation,
        "app": {
            "id": app,
            "appVersion": *remote.app_version,
            "installationId": installation,
            "apiBaseUrl": api,
            "environment": {
                "type": *remote.environment,
                "id": format!("{app}/environment/{}", remote.environment.to_lowercase()),
            },
            "module": {"type": "core:endpoint", "key": *remote.endpoint},
            "installation": {
                "id": installation,
                "contexts": [{"name": product, "cloudId": cloud_id, "apiBaseUrl": api}],
            },
            "license": {"isActive": subscription.owner.licensed},
        },
        "context": {"cloudId": cloud_id, "moduleKey": subscription.key},
    })
}

/// Returns trace and span id of a context as the headers of the vendor have them.
fn b3(context: TraceContext) -> (String, String) {
    (format!("{:032x}", context.trace_id), format!("{:016x}", context.span_id))
}

/// Returns trace and span id of an attempt that is not recorded: the trace of the event if it has one, else one derived
/// from the delivery; a new span for each attempt.
fn trace(delivery: &Delivery) -> (String, String) {
    let envelope = &delivery.prepared.event.envelope;
    let known = envelope.trace.or(envelope.traceparent).map(|context| b3(context).0);
    let trace = known.unwrap_or_else(|| hex_digest(delivery.id.as_str(), 32));
    let progress = &delivery.progress;
    let span = hex_digest(&format!("{}/{}/{}", delivery.id, progress.attempt, progress.parks), 16);
    (trace, span)
}

/// Returns the first `digits` hexadecimal digits of the SHA-256 of `text`.
fn hex_digest(text: &str, digits: usize) -> String {
    let mut hex = HEXLOWER.encode(&Sha256::digest(text));
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::delivery_to;
    use crate::domain::{Handler, Product, Secret};

    fn remote() -> ForgeRemote {
        ForgeRemote {
            url: "https://example.com/remote".parse().unwrap(),
            secrets: Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==").into(),
            endpoint: "backend".into(),
            app_version: "2.1.0".into(),
            environment: "PRODUCTION".into(),
            product: Product::Jira,
            wraps_body: false,
            wants_system_token: false,
        }
    }

    fn delivery() -> Delivery {
        delivery_to("inst-1", Handler::ForgeRemote(Box::new(remote())), "e1")
    }

    #[test]
    fn token_names_app_installation_site_and_module_and_expires_soon() {
        let claims = claims(&delivery(), &remote(), "i-1", 1000);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!("app-1")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 25);
        assert_eq!(claims["context"], json!({"cloudId": "site-1", "moduleKey": "k1"}));
        assert_eq!(claims["app"]["module"], json!({"type": "core:endpoint", "key": "backend"}));
        assert_eq!(claims["app"]["installation"]["contexts"][0]["cloudId"], "site-1");
        assert!(claims.get("principal").is_none(), "an event has no user");
    }

    #[test]
    fn attempts_of_one_delivery_share_the_trace_of_the_event_and_not_the_span() {
        let mut delivery = delivery();
        let (first, span) = trace(&delivery);
        assert_eq!(first, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((first.len(), span.len()), (32, 16));
        delivery.progress.attempt = 2;
        let (second, other) = trace(&delivery);
        assert_eq!(first, second);
        assert_ne!(span, other);
    }

    #[test]
    fn wrapped_body_holds_the_event_and_its_context() {
        let delivery = delivery();
        assert_eq!(remote().body(&delivery), delivery.event_body());
        let wrapping = ForgeRemote { wraps_body: true, ..remote() };
        let read: Value = serde_json::from_slice(&wrapping.body(&delivery)).unwrap();
        let event: Value = serde_json::from_slice(&delivery.event_body()).unwrap();
        let context = json!({"cloudId": "site-1", "moduleKey": "k1"});
        assert_eq!(read, json!({"payload": event, "context": context}));
    }
}
