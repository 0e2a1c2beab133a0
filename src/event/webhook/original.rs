//! The webhook that an event was made from, kept with the event so that webhook handlers get it as it
//! was sent, byte for byte.
//!
//! An event has most members of its webhook. Where a [`delta`] of them is small, it is kept in headers:
//! the members, and the text between their values. Otherwise the whole webhook is kept in the body of
//! the message, as the last member of the event object, [`MEMBER`]. A header can have 64 KiB at most; a
//! body has room for it, and routers that do not know the member read the event all the same.

use bytes::Bytes;

use super::delta;
use crate::event::codec::encoded;
use crate::event::members::{Members, ObjectWriter};

/// The member with the ids of an app's dynamic webhooks that the event matches.
pub(super) const MATCHED: &str = "matchedWebhookIds";
/// The member of a stored event object that holds its webhook.
pub const MEMBER: &str = "switchyardWebhook";
/// Largest delta in bytes, as header values.
const DELTA_BYTES_MAX: usize = 16 * 1024;

/// A webhook, in the form it is kept in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OriginalWebhook {
    /// What it has in addition to its event.
    Delta {
        /// Its members.
        members: Box<str>,
        /// The text between their values; none if it is what we would write.
        between: Option<Box<str>>,
    },
    /// All of it, as it was sent.
    Whole(Bytes),
}

impl OriginalWebhook {
    /// Returns the delta from `event` to `webhook`, if it restores the webhook exactly and fits into
    /// headers.
    #[must_use]
    pub fn delta(webhook: &Members<'_>, sent: &[u8], event: &Members<'_>) -> Option<Self> {
        let members = delta::encode(webhook, event, DELTA_BYTES_MAX)?;
        let is_exact = |between: Option<&str>| {
            delta::apply(&members, between, event).is_some_and(|found| found.as_bytes() == sent)
        };
        let between = match is_exact(None) {
            true => None,
            false => {
                let text = std::str::from_utf8(sent).ok()?;
                let between = delta::text_between(text, webhook)?;
                is_exact(Some(&between)).then_some(())?;
                Some(between.into_boxed_str())
            }
        };
        let delta = Self::Delta { members, between };
        (delta.stored_bytes() <= DELTA_BYTES_MAX).then_some(delta)
    }

    /// Returns what it adds to the body of its event when the event is stored, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        match self {
            Self::Delta { members, between } => {
                encoded(members).len() + between.as_deref().map_or(0, |text| encoded(text).len())
            }
            Self::Whole(webhook) => webhook.len() + before().len(),
        }
    }

    /// Returns the value of the header that announces it.
    #[must_use]
    pub fn header(&self) -> String {
        match self {
            Self::Delta { members, .. } => members.to_string(),
            Self::Whole(webhook) => format!("{WHOLE}{}", webhook.len()),
        }
    }

    /// Returns the value of the header with the text between the values of its members, if it has one.
    #[must_use]
    pub fn text_header(&self) -> Option<String> {
        match self {
            Self::Delta { between, .. } => between.as_deref().map(str::to_owned),
            Self::Whole(_) => None,
        }
    }

    /// Returns the body of the message that stores `event` together with it.
    #[must_use]
    pub fn stored_with(&self, event: Bytes) -> Bytes {
        let Self::Whole(webhook) = self else { return event };
        let Some(open) = event.trim_ascii_end().strip_suffix(b"}") else { return event };
        [open, before().as_bytes(), webhook, b"}"].concat().into()
    }

    /// Splits the body of a message whose header announces a whole webhook into the event and the
    /// webhook. `None` if it has no such webhook.
    #[must_use]
    pub fn split(header: &str, stored: &Bytes) -> Option<(Bytes, Bytes)> {
        let bytes: usize = header.strip_prefix(WHOLE)?.parse().ok()?;
        let end = stored.len().checked_sub(1)?;
        let start = end.checked_sub(bytes)?;
        let event = stored.get(..start)?.strip_suffix(before().as_bytes())?;
        Some(([event, b"}"].concat().into(), stored.slice(start..end)))
    }

    /// Returns the webhook as it was sent to us, except that `matched` (the ids of the dynamic webhooks
    /// it is sent for) replaces the ids it arrived with. `None` if it is not one of this event.
    #[must_use]
    pub fn restore(&self, event: &Members<'_>, matched: Option<&str>) -> Option<Bytes> {
        let webhook = match self {
            Self::Delta { members, between } => {
                Bytes::from(delta::apply(members, between.as_deref(), event)?)
            }
            Self::Whole(webhook) => webhook.clone(),
        };
        Some(with_matched(&webhook, matched).map_or(webhook, Bytes::from))
    }
}

/// Begins the header of a whole webhook; its length follows. No delta begins so.
const WHOLE: char = '@';

/// Returns what is between an event and its webhook in a message.
fn before() -> String {
    format!(",\"{MEMBER}\":")
}

/// Returns a webhook with other ids of dynamic webhooks, and every other byte as it is; `None` if it
/// has the right ones.
fn with_matched(webhook: &[u8], matched: Option<&str>) -> Option<String> {
    let text = std::str::from_utf8(webhook).ok()?;
    if matched.is_none() && !text.contains(MATCHED) {
        return None;
    }
    // A name that no parser accepts does not keep an app from its ids.
    let Ok(members) = Members::parse(text) else { return appended(text, matched?) };
    let spans = members.member_spans(text);
    let mut kept = String::with_capacity(text.len() + matched.map_or(0, str::len));
    let mut is_replaced = false;
    let (mut copied, mut end) = (0, text.find('{')? + 1);
    for (at, (name, value)) in spans.iter().enumerate() {
        if name == MATCHED {
            match matched.filter(|_| !is_replaced) {
                Some(ids) => {
                    kept.push_str(text.get(copied..value.start)?);
                    kept.push_str(ids);
                    copied = value.end;
                    is_replaced = true;
                }
                None => {
                    // Without the comma before it, or, of the first member, the comma behind it.
                    kept.push_str(text.get(copied..end)?);
                    let next = spans.get(at + 1).filter(|_| kept.trim_ascii_end().ends_with('{'));
                    let comma = |_| Some(value.end + text.get(value.end..)?.find(',')? + 1);
                    copied = next.and_then(comma).unwrap_or(value.end);
                }
            }
        }
        end = value.end.max(copied);
    }
    kept.push_str(text.get(copied..)?);
    match matched.filter(|_| !is_replaced) {
        Some(ids) => appended(&kept, ids),
        None => Some(kept),
    }
}

/// Returns an object with the ids as its last member.
fn appended(object: &str, ids: &str) -> Option<String> {
    let open = object.trim_ascii_end().strip_suffix('}')?;
    let separator = if open.trim_ascii_end().ends_with('{') { "" } else { "," };
    let mut ids_member = ObjectWriter::with_capacity(ids.len() + MATCHED.len());
    ids_member.json(MATCHED, ids);
    Some(format!("{open}{separator}{}", ids_member.finish().strip_prefix('{')?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Members<'_> {
        Members::parse(text).unwrap()
    }

    fn whole(text: &str) -> OriginalWebhook {
        OriginalWebhook::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn delta_is_kept_only_if_it_restores_every_byte() {
        let event = r#"{"eventType":"avi:x","issue":{"id":"1", "n":1.50}}"#;
        let kept = |webhook: &str| {
            OriginalWebhook::delta(&members(webhook), webhook.as_bytes(), &members(event))
        };
        let webhook = r#"{"webhookEvent":"x","issue":{"id":"1", "n":1.50},"a":"\ud83d"}"#;
        let restored = kept(webhook).unwrap().restore(&members(event), None).unwrap();
        assert_eq!(restored, webhook.as_bytes());
        for spaced in [
            "{\"webhookEvent\": \"x\"}",
            "{\"webhookEvent\":\"x\"}\n",
            " {\n\t\"issue\" : {\"id\":\"1\", \"n\":1.50}\r\n}",
            r#"{"a":1,"b":2,"a":3, "c":4}"#,
            r#"{"webhook\u0045vent":"x"}"#,
            "{ }",
        ] {
            let kept = kept(spaced).unwrap();
            assert!(kept.text_header().is_some(), "{spaced}");
            assert_eq!(kept.restore(&members(event), None).unwrap(), spaced.as_bytes());
        }
        let long = format!(r#"{{"a":"{}"}}"#, "\u{e9}".repeat(DELTA_BYTES_MAX / 4));
        assert_eq!(kept(&long), None, "its header would be three times as long");
    }

    #[test]
    fn whole_webhook_is_split_from_the_stored_event() {
        let event = Bytes::from_static(br#"{"eventType":"avi:x"}"#);
        for text in ["{ \"a\": [1]\n}\n", "{}", "not read", ""] {
            let original = whole(text);
            let stored = original.stored_with(event.clone());
            assert_eq!(stored.len(), event.len() + original.stored_bytes());
            let (again, webhook) = OriginalWebhook::split(&original.header(), &stored).unwrap();
            assert_eq!((again, webhook), (event.clone(), Bytes::from(text)));
        }
        let delta = OriginalWebhook::Delta { members: "[]".into(), between: None };
        assert_eq!(delta.stored_with(event.clone()), event);
        for header in ["[]", "@", "@1", "@9999", "@-1", "@18446744073709551615"] {
            assert_eq!(OriginalWebhook::split(header, &event), None, "{header}");
        }
        assert_eq!(OriginalWebhook::split("@0", &Bytes::new()), None);
    }

    #[test]
    fn stored_event_with_its_webhook_is_one_json_object() {
        let event = Bytes::from_static(br#"{"eventType":"avi:x"}"#);
        let stored = whole("{ \"a\" : 1 }").stored_with(event);
        let text = std::str::from_utf8(&stored).unwrap();
        assert_eq!(members(text).json("eventType"), Some("\"avi:x\""));
        assert_eq!(members(text).json(MEMBER), Some("{ \"a\" : 1 }"));
    }

    #[test]
    fn ids_of_dynamic_webhooks_are_replaced_and_nothing_else() {
        for (sent, matched, expected) in [
            ("{ \"a\" : 1 }", None, "{ \"a\" : 1 }"),
            ("{ \"a\" : 1 }\n", Some("[3]"), "{ \"a\" : 1 ,\"matchedWebhookIds\":[3]}"),
            ("{}", Some("[3]"), "{\"matchedWebhookIds\":[3]}"),
            ("{ \"matchedWebhookIds\" : [1] }", Some("[3]"), "{ \"matchedWebhookIds\" : [3] }"),
            ("{ \"matchedWebhookIds\":[1] }", None, "{ }"),
            ("{\"matchedWebhookIds\":[1], \"a\":1}", None, "{ \"a\":1}"),
            ("{\"a\":1, \"matchedWebhookIds\":[1,2] , \"b\":2}", None, "{\"a\":1 , \"b\":2}"),
            ("{\"matchedWebhookIds\":1,\"matchedWebhookIds\":2,\"b\":2}", None, "{\"b\":2}"),
            (
                "{\"matchedWebhookIds\":1,\"b\":2,\"matchedWebhookIds\":2}",
                Some("[3]"),
                "{\"matchedWebhookIds\":[3],\"b\":2}",
            ),
            ("{\"a\":\"matchedWebhookIds\"}", None, "{\"a\":\"matchedWebhookIds\"}"),
        ] {
            let found = whole(sent).restore(&Members::default(), matched).unwrap();
            assert_eq!(found, expected.as_bytes(), "{sent} {matched:?}");
        }
    }

    proptest! {
        #[test]
        fn any_members_are_kept_byte_for_byte_around_the_ids(
            names in prop::collection::vec(prop_oneof!["[ab]", Just(MATCHED.to_owned())], 0..6),
            gap in "[ \n]{0,2}",
            matched in prop::option::of(Just("[7,9]")),
        ) {
            let list: Vec<String> =
                names.iter().enumerate().map(|(at, name)| format!("{gap}\"{name}\"{gap}:{gap}[{at}, 1]{gap}")).collect();
            let sent = format!("{{{}}}", list.join(","));
            let found = whole(&sent).restore(&Members::default(), matched).unwrap();
            let found = std::str::from_utf8(&found).unwrap();
            let others = |text| -> Vec<(String, String)> {
                let all = members(text);
                let others = all.iter().filter(|(name, _)| *name != MATCHED);
                others.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
            };
            prop_assert_eq!(others(found), others(&sent));
            prop_assert_eq!(members(found).json(MATCHED), matched);
            let ids = members(found).iter().filter(|(name, _)| *name == MATCHED).count();
            prop_assert_eq!(ids, usize::from(matched.is_some()));
        }
    }
}
