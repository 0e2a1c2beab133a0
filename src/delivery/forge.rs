//! Request to a Forge remote: an invocation token of ours, trace headers and the event.
//!
//! **Source:** Forge, "Remote" reference: the invocation token (FIT), the headers of a request, a
//! deadline of five seconds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::attempt::{USER_AGENT, common_headers};
use super::lane::Lane;
use super::outcome::{AttemptClass, AttemptOutcome};
use super::plan::Delivery;
use super::signature::sign;
use crate::domain::{ForgeRemote, Product};
use crate::jwt::{KeyRing, system};

/// Deadline of a remote, as the vendor sets it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Validity of a token, in seconds: the deadline plus clock skew.
const TOKEN_LIFE_S: i64 = 25;
/// Issuer of invocation tokens, as the vendor's libraries expect it.
const ISSUER: &str = "forge/invocation-token";

/// Makes one attempt at a Forge remote.
pub(super) async fn post(
    delivery: &Delivery,
    remote: &ForgeRemote,
    keys: &Arc<KeyRing>,
    lane: &Lane,
    body: Bytes,
    now: Timestamp,
) -> AttemptOutcome {
    let invocation = Uuid::new_v4().to_string();
    let claims = claims(delivery, remote, &invocation, now.as_second());
    let subscription = &delivery.subscription;
    let system = remote
        .wants_system_token
        .then(|| system::claims(&subscription.owner.app, &subscription.owner.id, now.as_second()));
    let (ring, now_ms) = (Arc::clone(keys), now.as_millisecond());
    // Signing takes about a millisecond, too long for an async worker thread.
    let signed = tokio::task::spawn_blocking(move || {
        let fit = ring.sign(&claims, now_ms)?;
        Some((fit, system.and_then(|claims| ring.sign(&claims, now_ms))))
    });
    let Ok(Some((fit, system))) = signed.await else {
        return AttemptOutcome::failed(AttemptClass::Other, "no key to sign the invocation token");
    };
    let signature = match sign(&remote.secret, delivery.id.as_str(), now.as_second(), &body) {
        Ok(signature) => signature,
        Err(error) => return AttemptOutcome::failed(AttemptClass::Other, error.to_string()),
    };
    let (trace, span) = trace(delivery);
    let mut headers = common_headers(delivery, now);
    headers.extend([
        ("user-agent", USER_AGENT.to_owned()),
        ("webhook-signature", signature),
        ("authorization", format!("Bearer {fit}")),
        ("x-forge-invocation-id", invocation),
        ("x-b3-traceid", trace),
        ("x-b3-spanid", span),
    ]);
    headers.extend(system.map(|token| ("x-forge-oauth-system", token)));
    let attempt = lane.client().post(&remote.url, headers, body);
    match tokio::time::timeout(TIMEOUT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => AttemptOutcome::failed(
            AttemptClass::Timeout,
            "no complete response within five seconds",
        ),
    }
}

/// Returns the body: the event itself, or the event as `payload` next to its context.
pub(super) fn body(delivery: &Delivery, remote: &ForgeRemote, event: Bytes) -> Bytes {
    if !remote.wraps_body {
        return event;
    }
    let subscription = &delivery.subscription;
    let context = json!({"cloudId": subscription.owner.cloud_id, "moduleKey": subscription.key});
    let mut wrapped = Vec::with_capacity(event.len() + 256);
    wrapped.extend_from_slice(br#"{"payload":"#);
    wrapped.extend_from_slice(&event);
    wrapped.extend_from_slice(format!(r#","context":{context}}}"#).as_bytes());
    wrapped.into()
}

/// Returns the claims of the invocation token; `invocation` identifies one attempt.
fn claims(delivery: &Delivery, remote: &ForgeRemote, invocation: &str, now_s: i64) -> Value {
    let subscription = &delivery.subscription;
    let (app, cloud_id) = (&subscription.owner.app, &subscription.owner.cloud_id);
    let product = match remote.product {
        Product::Jira => "jira",
        Product::Confluence => "confluence",
    };
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

/// Returns trace and span id: the trace of the event if its publisher began one, else one derived
/// from the delivery; a new span for each attempt.
fn trace(delivery: &Delivery) -> (String, String) {
    let hex = |text: &str| data_encoding::HEXLOWER.encode(&Sha256::digest(text));
    let publisher_trace = delivery.prepared.event.envelope.traceparent.as_deref();
    let publisher_trace = publisher_trace
        .and_then(|text| text.split('-').nth(1))
        .filter(|trace| trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let own = hex(delivery.id.as_str());
    let trace = publisher_trace.or(own.get(..32)).unwrap_or_default().to_owned();
    let progress = &delivery.progress;
    let span = hex(&format!("{}/{}/{}", delivery.id, progress.attempt, progress.parks));
    (trace, span.get(..16).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::delivery_to;
    use super::*;
    use crate::domain::{Handler, Secret};

    fn remote() -> ForgeRemote {
        ForgeRemote {
            url: "https://example.com/remote".parse().unwrap(),
            secret: Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
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
        let (delivery, event) = (delivery(), Bytes::from_static(br#"{"a":1}"#));
        assert_eq!(body(&delivery, &remote(), event.clone()), event);
        let wrapping = ForgeRemote { wraps_body: true, ..remote() };
        let read: Value = serde_json::from_slice(&body(&delivery, &wrapping, event)).unwrap();
        let context = json!({"cloudId": "site-1", "moduleKey": "k1"});
        assert_eq!(read, json!({"payload": {"a": 1}, "context": context}));
    }
}
