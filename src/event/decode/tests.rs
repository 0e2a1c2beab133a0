//! Decoding: half surrogate pairs, webhooks kept in the body, and the account that acted.

use std::collections::HashMap;

use super::*;
use crate::event::HeaderLookup;
use crate::event::webhook::OriginalWebhook;

struct Headers(HashMap<&'static str, String>);

impl HeaderLookup for Headers {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn headers(event_type: &str, more: &[(&'static str, &str)]) -> Headers {
    let mut headers =
        HashMap::from([("ce-cloudid", "c1".to_owned()), ("ce-type", event_type.to_owned())]);
    headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Headers(headers)
}

fn decode(headers: &Headers, body: &str, size_max: usize) -> Result<Event, DecodeError> {
    let attributes = Attributes::from_headers(headers).unwrap();
    Decoder::new(size_max, false).decode(attributes, Bytes::copy_from_slice(body.as_bytes()), 1)
}

#[test]
fn half_a_surrogate_pair_is_read_as_the_replacement_character() {
    let plain = headers("avi:x", &[]);
    let event = decode(&plain, r#"{"a":"oil \ud83d","\udc00":[1]}"#, 1000).unwrap();
    assert_eq!(event.body, r#"{"a":"oil \ufffd","\ufffd":[1]}"#);
    let other = decode(&plain, r#"{"a":"oil \ud83e","\udc00":[1]}"#, 1000).unwrap();
    assert_ne!(event.envelope.event_id, other.envelope.event_id, "what was sent differs");
    let structured = headers("avi:x", &[("content-type", "application/cloudevents+json")]);
    let document = r#"{"id":"1","type":"avi:x","cloudid":"c1","data":{"a":"\udfff"}}"#;
    assert_eq!(decode(&structured, document, 1000).unwrap().body, r#"{"a":"\ufffd"}"#);
    let broken = decode(&plain, r#"{"a":"\ud83d"#, 1000).unwrap_err();
    assert_eq!(broken.label(), "json");
}

#[test]
fn webhook_in_the_body_is_split_from_the_event_and_not_limited_with_it() {
    let sent = Bytes::from(format!("{{ \"webhookEvent\" : \"{}\" }}", "x".repeat(500)));
    let original = OriginalWebhook::Whole(sent);
    let stored = original.stored_with(Bytes::from_static(br#"{"a":1}"#));
    let stored = std::str::from_utf8(&stored).unwrap();
    let kept = headers("avi:x", &[("switchyard-webhook", &original.header())]);
    let event = decode(&kept, stored, 100).unwrap();
    assert_eq!(event.body, r#"{"a":1}"#);
    assert_eq!(event.envelope.webhook, Some(original));
    let attributes = Attributes::from_headers(&kept).unwrap();
    let body = Bytes::copy_from_slice(stored.as_bytes());
    let mut decoder = Decoder::new(100, false);
    let unread = decoder.decode_if_subscribed(attributes, body, 1, |_| false).unwrap();
    assert_eq!(unread.into_event().body, r#"{"a":1}"#);
    let wrong = headers("avi:x", &[("switchyard-webhook", "@7")]);
    assert_eq!(decode(&wrong, r#"{"a":1}"#, 100).unwrap().body, r#"{"a":1}"#);
}

#[test]
fn app_whose_account_acted_caused_the_event() {
    let caused = |event_type: &str, body: &str| {
        let headers = headers(event_type, &[]);
        let mut decoder = Decoder::new(1000, false);
        let attributes = Attributes::from_headers(&headers).unwrap();
        let event = decoder.decode(attributes, Bytes::copy_from_slice(body.as_bytes()), 1).unwrap();
        decoder.is_self_generated(event.envelope.routing_key(), &"app".into(), Some("own"))
    };
    for (event_type, body, expected) in [
        ("avi:jira:updated:issue", r#"{"atlassianId":"own"}"#, true),
        ("avi:jira:updated:issue", r#"{"user":{"accountId":"own"}}"#, true),
        ("avi:jira:updated:issue", r#"{"atlassianId":"a","user":{"accountId":"own"}}"#, false),
        ("webhook:lantern_lit", r#"{"user":{"accountId":"own"}}"#, true),
        ("webhook:lantern_lit", r#"{"user":{"accountId":"other"}}"#, false),
        ("webhook:lantern_lit", r#"{"user":"own"}"#, false),
        ("avi:jira:updated:user", r#"{"user":{"accountId":"own"}}"#, false),
        ("webhook:user_lit", r#"{"user":{"accountId":"own"}}"#, false),
    ] {
        assert_eq!(caused(event_type, body), expected, "{event_type} {body}");
    }
}
