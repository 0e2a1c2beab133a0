//! Webhooks of any bytes, through the forms that the broker stores: mapped, stored, read, parked, read,
//! restored.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::codec::{Attributes, EnvelopeFormat, HeaderList, encoded, event_headers};
use crate::event::members::Members;

struct Stored(HeaderList);

impl HeaderLookup for Stored {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
    }
}

fn stored(headers: HeaderList) -> Stored {
    Stored(headers.into_iter().map(|(name, value)| (name, encoded(&value))).collect())
}

fn bytes_of(stored: &Stored) -> usize {
    stored.0.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// Returns what an app gets of a webhook once its event was stored, read, parked and read again.
fn delivered(sent: &Bytes, limits: WebhookLimits) -> Result<Bytes, WebhookMappingError> {
    let (product, cloud_id) = (Product::Jira, "c1".into());
    let headers = &Stored(Vec::new());
    let body = sent.clone();
    let incoming = IncomingWebhook { product, cloud_id: &cloud_id, headers, url_name: None, body };
    let (envelope, body) = map_webhook(&incoming, limits)?.swap_remove(0);
    let headers = stored(event_headers(&envelope));
    let message = envelope.stored_body(body);
    assert!(message.len() + bytes_of(&headers) <= limits.message, "fits into a message");
    let attributes = Attributes::from_headers(&headers).unwrap();
    let event = Decoder::new(limits.event, false).decode(attributes, message, 7).unwrap();
    assert_eq!(event.envelope, envelope);
    let headers = stored(EnvelopeFormat::PARKED.write(&event.envelope));
    let record = event.envelope.stored_body(event.body.clone());
    let parked = EnvelopeFormat::PARKED.read(&headers, record, 7).unwrap();
    assert_eq!((&parked.envelope, &parked.body), (&event.envelope, &event.body));
    let members = Members::parse(std::str::from_utf8(&parked.body).unwrap()).unwrap();
    Ok(parked.envelope.webhook.unwrap().restore(&members, None).unwrap())
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1.0".to_owned()),
        Just("-0".to_owned()),
        Just("1E+2".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        Just(r#""\ud83d\udd25\/ \u0000 %41 @9""#.to_owned()),
        Just("\"\u{7f}\u{2028} é\"".to_owned()),
        (1_usize..9_000).prop_map(|bytes| format!("\"{}\"", "x y".repeat(bytes / 3))),
        Just("{\"a\" : 1,\t\"a\":2 }".to_owned()),
        Just("{\"accountId\":\"u\"}".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(|items| format!("[ {}]", items.join(" ,\n")))
    })
}

fn any_body() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("issue"),
        Just("user"),
        Just("changelog"),
        Just("comment"),
        Just("attachment"),
        Just("issueLink"),
        Just("eventType"),
        Just("switchyardWebhook"),
        Just("switchyardCut"),
        Just("iss\\u0075e"),
        Just("\\ud800"),
        Just(""),
        Just("timestamp"),
    ];
    let event = prop_oneof![
        Just("jira:issue_updated"),
        Just("jira:issue_created"),
        Just("issuelink_created"),
        Just("lantern.lit *>"),
    ];
    let members = prop::collection::vec((name, any_value()), 0..8);
    (event, members, "[ \r\n\t]{0,2}", any::<bool>()).prop_map(|(event, members, gap, is_last)| {
        let mut list: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{gap}\"{name}\"{gap}:{gap}{value}"))
            .collect();
        let named = format!("\"webhookEvent\":\"{event}\"");
        list.insert(if is_last { list.len() } else { 0 }, named);
        format!("{gap}{{{}{gap}}}{gap}", list.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_webhook_is_delivered_byte_for_byte(
        body in any_body(),
        event in prop_oneof![Just(1_usize << 20), 2_000_usize..40_000],
        spare in prop_oneof![Just(1_usize << 20), 0_usize..40_000],
    ) {
        let sent = Bytes::from(body);
        let limits = WebhookLimits { event, message: HEADERS_BYTES_MAX + sent.len() + spare };
        match delivered(&sent, limits) {
            Ok(delivered) => prop_assert_eq!(delivered, sent),
            Err(error) => {
                prop_assert!(matches!(error, WebhookMappingError::Unstorable { .. }), "{error}");
            }
        }
    }
}
