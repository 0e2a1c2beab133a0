//! The stored formats: the exact headers of each kind of record, and reading them back.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::TraceContext;
use crate::event::webhook::OriginalWebhook;
use crate::event::{Envelope, Event};

struct Sent(HeaderList);

impl HeaderLookup for Sent {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(at, _)| at.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

/// The headers as they are sent.
fn sent(headers: HeaderList) -> Sent {
    Sent(headers.into_iter().map(|(name, value)| (name, encoded(&value))).collect())
}

fn sorted(headers: HeaderList) -> Vec<(&'static str, String)> {
    let mut headers = sent(headers).0;
    headers.sort();
    headers
}

fn owned(headers: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn full() -> Envelope {
    Envelope {
        cloud_id: "site-1".into(),
        event_id: "e 1".into(),
        event_type: "avi:confluence:created:page".into(),
        time: Some("2026-11-21T07:59:59.5Z".parse().unwrap()),
        origin_app: Some("app-2".into()),
        entity: Some("Ü-1".into()),
        traceparent: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        trace: None,
        webhook: Some(OriginalWebhook::Delta { members: r#"["a",["b",1]]"#.into(), between: None }),
    }
}

fn bare() -> Envelope {
    Envelope {
        cloud_id: "site-1".into(),
        event_id: "e1".into(),
        event_type: "avi:jira:created:issue".into(),
        time: None,
        origin_app: None,
        entity: None,
        traceparent: None,
        trace: None,
        webhook: None,
    }
}

#[test]
fn published_event_has_these_headers() {
    let expected = [
        ("ce-cloudid", "site-1"),
        ("ce-id", "e%201"),
        ("ce-originapp", "app-2"),
        ("ce-source", "ari:cloud:confluence::site/site-1"),
        ("ce-specversion", "1.0"),
        ("ce-subject", "%C3%9C-1"),
        ("ce-time", "2026-11-21T07:59:59.5Z"),
        ("ce-type", "avi:confluence:created:page"),
        ("content-type", "application/json"),
        ("switchyard-webhook", "[%22a%22,[%22b%22,1]]"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    assert_eq!(sorted(event_headers(&full())), owned(&expected));
    let expected = [
        ("ce-cloudid", "site-1"),
        ("ce-id", "e1"),
        ("ce-source", "ari:cloud:jira::site/site-1"),
        ("ce-specversion", "1.0"),
        ("ce-type", "avi:jira:created:issue"),
        ("content-type", "application/json"),
    ];
    assert_eq!(sorted(event_headers(&bare())), owned(&expected));
}

#[test]
fn parked_record_has_these_envelope_headers() {
    let expected = [
        ("switchyard-cloud-id", "site-1"),
        ("switchyard-entity", "%C3%9C-1"),
        ("switchyard-event-id", "e%201"),
        ("switchyard-event-time", "2026-11-21T07:59:59.5Z"),
        ("switchyard-event-type", "avi:confluence:created:page"),
        ("switchyard-origin-app", "app-2"),
        ("switchyard-webhook", "[%22a%22,[%22b%22,1]]"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    assert_eq!(sorted(EnvelopeFormat::PARKED.write(&full())), owned(&expected));
    assert_eq!(EnvelopeFormat::PARKED.write(&bare()).len(), 3);
}

#[test]
fn dead_letter_of_a_delivery_has_these_envelope_headers() {
    let expected = [
        ("ce-cloudid", "site-1"),
        ("ce-id", "e%201"),
        ("ce-originapp", "app-2"),
        ("ce-subject", "%C3%9C-1"),
        ("ce-time", "2026-11-21T07:59:59.5Z"),
        ("ce-type", "avi:confluence:created:page"),
        ("switchyard-webhook", "[%22a%22,[%22b%22,1]]"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    assert_eq!(sorted(EnvelopeFormat::CLOUD_EVENTS.write(&full())), owned(&expected));
    assert_eq!(EnvelopeFormat::CLOUD_EVENTS.write(&bare()).len(), 3);
}

#[test]
fn dead_letter_of_an_event_keeps_the_headers_of_the_event() {
    let mut headers = sent(event_headers(&full()));
    headers.0.push(("x-other", "1".to_owned()));
    headers.0.retain(|(name, _)| *name != "ce-type");
    headers.0.push(("ce-type", "%ff".to_owned()));
    let mut expected = event_headers(&full());
    expected.retain(|(name, _)| *name != "ce-type");
    assert_eq!(sorted(forwarded_headers(&headers)), sorted(expected));
}

#[test]
fn envelope_is_read_back_from_each_format() {
    for format in [EnvelopeFormat::CLOUD_EVENTS, EnvelopeFormat::PARKED] {
        let whole = OriginalWebhook::Whole(Bytes::from_static(b"{ \"b\": \"\\ud83d\" }"));
        let spaced = OriginalWebhook::Delta {
            members: r#"["a"]"#.into(),
            between: Some("[\"{ \\\"a\\\": \",\"\\n}\"]".into()),
        };
        let with = |webhook| Envelope { webhook: Some(webhook), ..full() };
        for envelope in [full(), bare(), with(whole), with(spaced)] {
            let event = Event { envelope, body: Bytes::from_static(b"{\"a\":1}"), sequence: 7 };
            let stored = event.envelope.stored_body(event.body.clone());
            let again = format.read(&sent(format.write(&event.envelope)), stored, 7).unwrap();
            assert_eq!(again, event);
        }
    }
}

#[test]
fn missing_and_undecodable_headers_are_named() {
    let format = EnvelopeFormat::PARKED;
    for at in 0..3 {
        let mut headers = sent(format.write(&bare()));
        let (name, _) = headers.0.remove(at);
        assert_eq!(format.read(&headers, Bytes::new(), 0), Err(InvalidHeader(name)));
        headers.0.push((name, "%ff".to_owned()));
        assert_eq!(format.read(&headers, Bytes::new(), 0), Err(InvalidHeader(name)));
    }
    let headers = Sent(vec![("ce-id", "%ff".to_owned())]);
    let error = Attributes::read(&headers, AddressAttributes::default()).unwrap_err();
    assert_eq!(error.to_string(), "header `ce-id` does not decode to UTF-8 text");
}

#[test]
fn headers_take_precedence_over_the_address() {
    let address = AddressAttributes { cloud_id: Some("c-1"), event_type: Some("t") };
    let id = |headers: &[(&'static str, &str)]| {
        let headers = Sent(owned(headers));
        let attributes = Attributes::read(&headers, address).unwrap();
        [attributes.cloud_id, attributes.event_type, attributes.event_id]
            .map(|value| value.map(|value| value.into_owned()))
    };
    let some = |values: [&str; 3]| values.map(|value| Some(value.to_owned()));
    assert_eq!(id(&[]), [Some("c-1".to_owned()), Some("t".to_owned()), None]);
    assert_eq!(id(&[("nats-msg-id", "c-1/e")]), some(["c-1", "t", "e"]));
    assert_eq!(id(&[("nats-msg-id", "c-2/e")]), some(["c-1", "t", "c-2/e"]));
    let headers = [("ce-cloudid", "c-2"), ("ce-type", "u"), ("nats-msg-id", "c-2/e")];
    assert_eq!(id(&headers), some(["c-2", "u", "e"]));
    assert_eq!(id(&[("ce-id", "e%201"), ("nats-msg-id", "c-1/e")]), some(["c-1", "t", "e 1"]));
}

#[test]
fn printable_ascii_but_quote_and_percent_sign_is_not_encoded() {
    for byte in 0..=127_u8 {
        let text = char::from(byte).to_string();
        let is_kept = matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'%');
        let expected = if is_kept { text.clone() } else { format!("%{byte:02X}") };
        assert_eq!(encoded(&text), expected);
    }
    assert_eq!(encoded("avi:jira:created:issue"), "avi:jira:created:issue");
    assert_eq!(encoded("a b%\"é"), "a%20b%25%22%C3%A9");
}

#[test]
fn percent_signs_without_two_digits_are_kept() {
    for (raw, text) in [("100%", "100%"), ("%zz%4", "%zz%4"), ("%41%2", "A%2"), ("a%C3%bc", "aü")]
    {
        let headers = Sent(vec![("x", raw.to_owned())]);
        assert_eq!(decoded(&headers, "x").unwrap().as_deref(), Some(text));
    }
    assert_eq!(decoded(&Sent(vec![("x", String::new())]), "x"), Ok(None));
}

proptest! {
    #[test]
    fn encoded_values_are_printable_and_decode_to_the_same_text(text in ".+") {
        let value = encoded(&text);
        prop_assert!(value.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'"'), "{}", value);
        let headers = Sent(vec![("x", value)]);
        let value = decoded(&headers, "x").unwrap();
        prop_assert_eq!(value.as_deref(), Some(&*text));
    }
}
