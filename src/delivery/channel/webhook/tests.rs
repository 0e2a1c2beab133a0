//! Requests to webhooks of Connect apps.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::*;
use crate::delivery::plan::coalesce;
use crate::delivery::testing::delivery_to;
use crate::domain::{Handler, SigningSecrets};
use crate::event::webhook::OriginalWebhook;
use crate::jwt::ConnectToken;
use crate::matcher::Match;

fn tenant() -> WebhookSigner {
    let secret = Secret::new("It's a Secret to Everybody");
    WebhookSigner::Tenant { client_key: "tenant-1".into(), secret }
}

fn webhook(address: &str, number: Option<u64>) -> WebhookHandler {
    WebhookHandler {
        base: Url::parse("https://app.example.com/base/").unwrap(),
        address: address.into(),
        names: ["jira:issue_created".into()].into(),
        signer: tenant(),
        excludes_body: false,
        property_keys: Box::default(),
        dynamic: number.map(|number| DynamicWebhookId { number, delivery_key: "app".into() }),
    }
}

fn delivery(webhook: &WebhookHandler) -> Delivery {
    delivery_to("inst-1", Handler::Webhook(webhook.clone()), "e1")
}

fn matched(webhook: &WebhookHandler, installation: &str) -> Match {
    let delivery = delivery_to(installation, Handler::Webhook(webhook.clone()), "e1");
    Match { subscription: delivery.subscription, self_generated: false, filter_error: None }
}

#[test]
fn url_is_below_the_base_with_its_variables_replaced() {
    let at = |address: &str, number| {
        let webhook = webhook(address, number);
        address_of(&delivery(&webhook), &webhook)
    };
    assert_eq!(at("/hook", None), "https://app.example.com/base/hook");
    assert_eq!(at("hook?k={issue.key}", None), "https://app.example.com/base/hook?k=ABC-1");
    assert_eq!(at("/{project.key}/{x}", None), "https://app.example.com/base//%7Bx%7D");
    assert_eq!(at("https://app.example.com/h", Some(1)), "https://app.example.com/h");
}

fn address_of(delivery: &Delivery, webhook: &WebhookHandler) -> String {
    post_url(webhook, delivery).unwrap().to_string()
}

#[test]
fn values_cannot_leave_their_position_in_the_url() {
    let event = Members::parse(r#"{"issue":{"key":"../a?b=c&d#e"}}"#).unwrap();
    let text = resolve(&webhook("/hook/{issue.key}", None), &event);
    assert_eq!(text, "https://app.example.com/base/hook/..%2Fa%3Fb%3Dc%26d%23e");
    let event = Members::parse(r#"{"issue":{"key":".."}}"#).unwrap();
    let text = resolve(&webhook("/hook/{issue.key}/x", None), &event);
    assert_eq!(text, "https://app.example.com/base/hook//x");
}

#[test]
fn value_that_completes_a_dot_segment_is_blocked() {
    let refused = |address: &str, number| {
        let webhook = webhook(address, number);
        post_url(&webhook, &delivery(&webhook)).is_err()
    };
    // The event has an issue key and nothing else: other variables are empty.
    for address in [
        "/.{sprint.id}./other-app/x",
        "/a/.{sprint.id}.",
        "/{sprint.id}../other-app",
        "/%2e{sprint.id}%2E/x",
        "/.{sprint.id}/x",
        "/../other-app",
        "\\..{sprint.id}\\other-app",
    ] {
        assert!(refused(address, None), "{address}");
    }
    for address in [
        "https://app.example.com/base/.{sprint.id}./x",
        "https://app.example.com{sprint.id}.evil.example/x",
        "https://{issue.key}.example.com/x",
    ] {
        assert!(refused(address, Some(1)), "{address}");
    }
    for address in ["/{sprint.id}/x", "/{issue.key}..", "/a{sprint.id}?x=..", "", "/.{issue.key}."]
    {
        assert!(!refused(address, None), "{address}");
    }
}

#[test]
fn token_covers_the_path_as_the_app_sees_it() {
    let webhook = webhook("/hook?a={issue.key}", None);
    let delivery = delivery(&webhook);
    let (url, now) =
        (post_url(&webhook, &delivery).unwrap(), "2026-11-21T08:00:00Z".parse().unwrap());
    let [headers]: [HeaderList; 1] =
        authentications(&webhook, &url, b"Hello World!", now).unwrap().try_into().unwrap();
    let get = |name: &str| headers.iter().find(|(at, _)| *at == name).map(|(_, value)| &**value);
    let token =
        ConnectToken::parse(get("authorization").unwrap().strip_prefix("JWT ").unwrap()).unwrap();
    assert_eq!(token.issuer(), "tenant-1");
    assert!(token.is_signed_with(&Secret::new("It's a Secret to Everybody")));
    assert_eq!(token.check(now.as_second(), "POST", "/hook", "a=ABC-1"), Ok(()));
    // The example of the vendor's guide.
    assert_eq!(
        get("x-hub-signature").unwrap(),
        "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    );
    let identity = webhook_headers(&delivery);
    let identifier = ("x-atlassian-webhook-identifier", delivery.id.to_string());
    assert!(identity.contains(&identifier));
    assert!(!identity.iter().any(|(name, _)| *name == "x-atlassian-webhook-retry"));
}

/// Verifies a bearer token as a receiver does: HS256 by the secret's bytes, whole-number times.
fn is_bearer_by(authorization: &str, secret: &str, now_s: i64) -> bool {
    let token = authorization.strip_prefix("Bearer ").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let claims = signed.split_once('.').unwrap().1;
    let claims = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    mac.verify_slice(&signature).is_ok() && issued <= now_s && now_s < expires
}

#[test]
fn oauth_client_signs_with_each_valid_secret_the_newest_first() {
    let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
    let until_ms = now.as_millisecond() + 1000;
    let previous = Some((Secret::new("secret of before é"), until_ms));
    let secrets = SigningSecrets { current: Secret::new("a new secret"), previous };
    let signer = WebhookSigner::OauthClient { client: "c".into(), secrets };
    let webhook = WebhookHandler { signer, ..webhook("https://app.example.com/h", Some(1)) };
    let url = post_url(&webhook, &delivery(&webhook)).unwrap();
    let at = |now: Timestamp| {
        let lists = authentications(&webhook, &url, b"{}", now).unwrap();
        lists.into_iter().map(|headers| headers[0].1.clone()).collect::<Vec<_>>()
    };
    let both = at(now);
    assert_eq!(both.len(), 2);
    assert!(is_bearer_by(&both[0], "a new secret", now.as_second()));
    assert!(is_bearer_by(&both[1], "secret of before é", now.as_second()));
    assert!(!is_bearer_by(&both[0], "secret of before é", now.as_second()));
    assert_eq!(at(now + std::time::Duration::from_secs(2)).len(), 1, "it has retired");
    let shown = webhook.describe().members;
    assert!(shown.contains(&("signedBy", "OAuth client c".into())), "{shown:?}");
}

#[test]
fn webhooks_of_different_owners_are_different_deliveries() {
    let of = |key: &str, number| {
        let dynamic = Some(DynamicWebhookId { number, delivery_key: key.into() });
        WebhookHandler { dynamic, ..webhook("https://app.example.com/base/h", None) }
    };
    let planned = coalesce(vec![
        matched(&of("app", 1), "a"),
        matched(&of("client", 2), "a"),
        matched(&of("client", 3), "a"),
    ]);
    assert_eq!(planned.len(), 2);
    let prepared = &delivery(&of("app", 1)).prepared;
    let ids: std::collections::HashSet<_> = planned
        .into_iter()
        .map(|planned| planned.into_delivery(prepared, Timestamp::UNIX_EPOCH).id)
        .collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn retries_are_counted() {
    let webhook = webhook("/hook", None);
    let mut delivery = delivery(&webhook);
    delivery.progress.attempt = 3;
    assert!(webhook_headers(&delivery).contains(&("x-atlassian-webhook-retry", "2".to_owned())));
}

#[test]
fn dynamic_webhooks_of_an_installation_share_one_delivery() {
    let address = "https://app.example.com/base/h";
    let (five, three) = (webhook(address, Some(5)), webhook(address, Some(3)));
    let module = webhook("/hook", None);
    let planned = coalesce(vec![
        matched(&five, "a"),
        matched(&module, "a"),
        matched(&three, "a"),
        matched(&three, "b"),
    ]);
    assert_eq!(
        planned.iter().map(|planned| planned.coalesced_with.len()).collect::<Vec<_>>(),
        [1, 0, 0]
    );
    let first = &planned[0].matched.subscription.owner.settings.handler;
    assert_eq!(channel_of(first).coalesce_key().unwrap().rank, 3);
    let mut delivery = delivery(&three);
    delivery.coalesced_with = planned.into_iter().next().unwrap().coalesced_with.into();
    let body: Value = serde_json::from_slice(&three.body(&delivery)).unwrap();
    assert_eq!(body["matchedWebhookIds"], json!([3, 5]));
    assert_eq!(body["webhookEvent"], "jira:issue_created");
    assert_eq!(body["timestamp"], 1_795_247_999_000_i64);
    assert_eq!(body["issue"]["key"], "ABC-1");
}

#[test]
fn event_that_arrived_as_webhook_is_delivered_as_that_webhook() {
    let webhook = webhook("/hook", None);
    let mut delivery = delivery(&webhook);
    let mut event = delivery.prepared.event.clone();
    event.envelope.webhook = Some(OriginalWebhook::Delta {
        members: r#"[["timestamp",7],["webhookEvent","jira:issue_created"],"issue"]"#.into(),
        between: None,
    });
    delivery.prepared = std::sync::Arc::new(crate::delivery::PreparedEvent::new(event).unwrap());
    assert_eq!(
        webhook.body(&delivery),
        r#"{"timestamp":7,"webhookEvent":"jira:issue_created","issue":{"key":"ABC-1"}}"#
    );
}

#[test]
fn webhook_without_body_has_none() {
    let webhook = WebhookHandler { excludes_body: true, ..webhook("/hook", None) };
    assert!(webhook.body(&delivery(&webhook)).is_empty());
}
