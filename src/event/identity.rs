//! Derived event ids and entity keys, for sources that send none.
//!
//! Two events are the same change if their sources sent the same: site, event type, time and body.
//! No member of a body identifies a change by itself: an entity changes more than once in a
//! millisecond, and an id such as that of a changelog belongs to a change of one event type only.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::members::Members;
use super::sources::{SOURCES, source_of};
use crate::domain::{CloudId, EventId, EventType, Product, token};

/// Members that hold the entity of an event of any product, after those of the products.
const COMMON_ENTITIES: &[(&str, &str)] = &[("user", "accountId"), ("property", "key")];
/// Longest entity key in bytes; of a longer one the token is used. It is a header of every record.
const ENTITY_BYTES_MAX: usize = 256;

/// Length of a derived event id.
const DERIVED_ID_BYTES: usize = 36;

/// Returns the key of the entity that the event object `body` is about: the issue key, else the id
/// of the entity; `None` if the event has no entity.
#[must_use]
pub fn entity_key(body: &Members<'_>) -> Option<Box<str>> {
    let mut entities = SOURCES.iter().flat_map(|source| source.entities()).chain(COMMON_ENTITIES);
    let named = entities.find_map(|(member, name)| body.object(member)?.id(name));
    let key = named.or_else(|| body.id("id")).or_else(|| body.id("entityId"))?;
    Some(if key.len() > ENTITY_BYTES_MAX { token(&key).into() } else { key.into() })
}

/// Returns a stable id for an event whose source sends none: the same body with the same time has
/// the same id, whenever and through whichever API it arrives. Bodies that differ have different
/// ids; white space between their values is no difference.
#[must_use]
pub fn event_id(
    cloud_id: &CloudId,
    event_type: &EventType,
    time: Option<Timestamp>,
    body: &[u8],
) -> EventId {
    let time = time.map(|time| time.to_string()).unwrap_or_default();
    derived(cloud_id, &[event_type.as_str(), &time], body)
}

/// Returns a stable id for an event of a webhook that has none: as [`event_id`], of the webhook
/// as it was sent, since its event lacks some of what distinguishes it. `name` is the name it
/// entered with, which its body may lack.
#[must_use]
pub fn webhook_event_id(
    cloud_id: &CloudId,
    (product, name): (Product, &str),
    event_type: &EventType,
    webhook: &[u8],
) -> EventId {
    let product = source_of(product).name();
    derived(cloud_id, &["webhook", product, name, event_type.as_str()], webhook)
}

/// Returns the UUID version 5 of a site, the attributes and the body.
fn derived(cloud_id: &CloudId, attributes: &[&str], body: &[u8]) -> EventId {
    let site = Uuid::new_v5(&Uuid::NAMESPACE_URL, cloud_id.as_str().as_bytes());
    let name = format!("{}\0body {}", attributes.join("\0"), HEXLOWER.encode(&body_hash(body)));
    EventId::from(Uuid::new_v5(&site, name.as_bytes()).to_string())
}

/// Returns the identity of an event, `<site>/<event id>`: its message id on the broker. No two events of
/// different sites have one, whatever their ids are.
#[must_use]
pub fn of_event(cloud_id: &CloudId, event_id: &EventId) -> String {
    format!("{}/{event_id}", escaped_site(cloud_id.as_str()))
}

/// Returns a site id as the first part of an event identity, without `/`. No two ids have one form.
#[must_use]
pub fn escaped_site(cloud_id: &str) -> Cow<'_, str> {
    if cloud_id.contains(['/', '%']) {
        Cow::Owned(cloud_id.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(cloud_id)
    }
}

/// Splits an event identity into the site id and the event id; `None` without a `/`, which is not an
/// identity.
#[must_use]
pub fn split(identity: &str) -> Option<(Cow<'_, str>, &str)> {
    let (site, event_id) = identity.split_once('/')?;
    let is_escaped = site.contains('%');
    let site =
        if is_escaped { site.replace("%2F", "/").replace("%25", "%").into() } else { site.into() };
    Some((site, event_id))
}

/// Returns whether an event id has the form of those that [`event_id`] derives: a UUID of version 5.
#[must_use]
pub fn is_derived(event_id: &str) -> bool {
    // The other forms of a UUID, such as with braces, are ids of sources.
    event_id.len() == DERIVED_ID_BYTES
        && Uuid::parse_str(event_id).is_ok_and(|id| id.get_version_num() == 5)
}

/// Returns the SHA-256 of a JSON text without the white space between its values.
fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Start of the bytes that are not hashed yet.
    let mut start = 0;
    let mut at = 0;
    let mut is_in_text = false;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => is_in_text = !is_in_text,
            // What follows a backslash never ends the text.
            b'\\' if is_in_text => at += 1,
            b' ' | b'\t' | b'\r' | b'\n' if !is_in_text => {
                hash.update(body.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    hash.update(body.get(start..).unwrap_or_default());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(body: &str) -> Option<String> {
        entity_key(&Members::parse(body).unwrap()).map(String::from)
    }

    fn id(event_type: &str, time: Option<i64>, body: &str) -> String {
        let time = time.map(|ms| Timestamp::from_millisecond(ms).unwrap());
        event_id(&"c1".into(), &event_type.into(), time, body.as_bytes()).to_string()
    }

    fn webhook_id(product: Product, name: &str, event_type: &str, body: &str) -> String {
        let named = (product, name);
        webhook_event_id(&"c1".into(), named, &event_type.into(), body.as_bytes()).to_string()
    }

    #[test]
    fn issue_takes_precedence_as_the_entity() {
        assert_eq!(
            key(r#"{"comment":{"id":"1"},"issue":{"id":"2","key":"A-3"}}"#),
            Some("A-3".into())
        );
        assert_eq!(key(r#"{"issue":{"id":"2"}}"#), Some("2".into()));
        assert_eq!(key(r#"{"comment":{"id":"1"}}"#), Some("1".into()));
    }

    #[test]
    fn entity_id_may_be_a_number_or_a_top_level_member() {
        assert_eq!(key(r#"{"project":{"id":10000}}"#), Some("10000".into()));
        assert_eq!(key(r#"{"id":"70010","sourceIssueId":"1"}"#), Some("70010".into()));
        assert_eq!(key(r#"{"entityId":"e"}"#), Some("e".into()));
        assert_eq!(key(r#"{"query":"x"}"#), None);
    }

    #[test]
    fn long_entity_key_is_replaced_by_its_token() {
        let long = "K".repeat(ENTITY_BYTES_MAX + 1);
        let found = key(&format!(r#"{{"issue":{{"key":"{long}"}}}}"#)).unwrap();
        assert_eq!(found, token(&long));
    }

    #[test]
    fn derived_id_is_stable_and_a_uuid() {
        let body = r#"{"issue":{"key":"A-1"},"changelog":{"id":"30"}}"#;
        let first = id("avi:jira:updated:issue", Some(1), body);
        assert_eq!(first, id("avi:jira:updated:issue", Some(1), body));
        assert_eq!(Uuid::parse_str(&first).unwrap().get_version_num(), 5);
    }

    #[test]
    fn derived_ids_are_known_by_their_form() {
        assert!(is_derived(&id("t", None, "{}")));
        for other in ["", "7", "abc:avi:jira:updated:issue", "0b3f6f3e-3a57-4c1e-9d0f-2f4b8f0f8a11"]
        {
            assert!(!is_derived(other), "{other}");
        }
    }

    #[test]
    fn identities_of_two_sites_are_never_equal() {
        let identity = |site: &str, id: &str| format!("{}/{id}", escaped_site(site));
        let parts = ["a", "b", "a/b", "b/c", "a%2Fb", "a%b", "a%252Fb", "", "/", "%", "%2F"];
        let mut identities = std::collections::HashSet::new();
        for site in parts {
            for id in parts {
                let identity = identity(site, id);
                assert_eq!(split(&identity), Some((site.into(), id)), "{identity}");
                assert!(identities.insert(identity), "{site} {id}");
            }
        }
        assert_eq!(identity("0b3f6f3e-3a57", "w1:t"), "0b3f6f3e-3a57/w1:t");
        assert_eq!(split("w1"), None);
    }

    #[test]
    fn derived_id_depends_on_site_type_time_and_body() {
        let body = r#"{"issue":{"key":"A-1"}}"#;
        let base = id("t", None, body);
        assert_ne!(base, id("u", None, body));
        assert_ne!(base, id("t", Some(1), body));
        assert_ne!(id("t", Some(1), body), id("t", Some(2), body));
        let other = event_id(&"c2".into(), &"t".into(), None, body.as_bytes());
        assert_ne!(base, other.to_string());
    }

    #[test]
    fn bodies_that_differ_in_anything_have_different_ids() {
        // Of each pair one entity, one time, and, if it has one, one changelog or revision.
        for (left, right) in [
            (r#"{"user":{"accountId":"u","n":"a"}}"#, r#"{"user":{"accountId":"u","n":"b"}}"#),
            (r#"{"property":{"key":"a"}}"#, r#"{"property":{"key":"b"}}"#),
            (r#"{"changelog":{"id":"1","items":[1]}}"#, r#"{"changelog":{"id":"1","items":[2]}}"#),
            (
                r#"{"comment":{"id":"1","updated":"a","body":"x"}}"#,
                r#"{"comment":{"id":"1","updated":"a","body":"y"}}"#,
            ),
            (r#"{"sequenceNumber":1,"entityId":"a"}"#, r#"{"sequenceNumber":1,"entityId":"b"}"#),
            (r#"{"a":1.0}"#, r#"{"a":1.00}"#),
            (r#"{"a":"x y"}"#, r#"{"a":"xy"}"#),
            (r#"{"a":"\" "}"#, r#"{"a":"\""}"#),
            (r#"{"a":"\\"," b":1}"#, r#"{"a":"\\","b":1}"#),
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ud83c"}"#),
            ("no json", "none either"),
        ] {
            assert_ne!(id("t", Some(1), left), id("t", Some(1), right), "{left} {right}");
            let webhook = |body| webhook_id(Product::Jira, "n", "t", body);
            assert_ne!(webhook(left), webhook(right), "{left} {right}");
        }
    }

    #[test]
    fn white_space_between_values_is_no_difference() {
        let compact = r#"{"a":[1,"b \" c"],"d":{}}"#;
        let spaced = "{ \"a\" : [1,\r\n\t\"b \\\" c\"] , \"d\":{ } }\n";
        assert_eq!(id("t", None, compact), id("t", None, spaced));
    }

    #[test]
    fn webhooks_of_one_body_differ_by_product_name_and_event() {
        let base = webhook_id(Product::Jira, "a", "t", "{}");
        assert_eq!(base, webhook_id(Product::Jira, "a", "t", "{ }"));
        assert_ne!(base, webhook_id(Product::Confluence, "a", "t", "{}"));
        assert_ne!(base, webhook_id(Product::Jira, "b", "t", "{}"));
        assert_ne!(base, webhook_id(Product::Jira, "a", "u", "{}"));
        assert_ne!(base, id("t", None, "{}"));
    }
}
