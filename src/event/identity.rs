//! Derived event ids and entity keys, for sources that send none.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::members::Members;
use super::sources::SOURCES;
use crate::domain::{CloudId, EventId, EventType};

/// Members that hold the entity of an event of any product, after those of the products.
const COMMON_ENTITIES: &[(&str, &str)] = &[("user", "accountId"), ("property", "key")];

/// Length of a derived event id.
const DERIVED_ID_BYTES: usize = 36;

/// Returns the key of the entity that the event object `body` is about: the issue key, else the id
/// of the entity; `None` if the event has no entity.
#[must_use]
pub fn entity_key(body: &Members<'_>) -> Option<Box<str>> {
    let mut entities = SOURCES.iter().flat_map(|source| source.entities()).chain(COMMON_ENTITIES);
    let named = entities.find_map(|(member, name)| body.object(member)?.id(name));
    named.or_else(|| body.id("id")).or_else(|| body.id("entityId")).map(String::into_boxed_str)
}

/// Returns a stable id for an event whose source sends none: the same change has the same id,
/// whenever and through whichever API it arrives.
///
/// UUID version 5 of site, event type, entity and the first of these that exists: the id of the
/// changelog, id and time of the revision, the sequence number, the time of the event, the hash of
/// the whole body.
#[must_use]
pub fn event_id(
    cloud_id: &CloudId,
    event_type: &EventType,
    time: Option<Timestamp>,
    body: &[u8],
) -> EventId {
    let members = std::str::from_utf8(body).ok().and_then(|text| Members::parse(text).ok());
    let members = members.unwrap_or_default();
    let entity = entity_key(&members).unwrap_or_default();
    let change = change_of(&members)
        .or_else(|| time.map(|time| format!("time {time}")))
        .unwrap_or_else(|| format!("body {}", HEXLOWER.encode(&Sha256::digest(body))));
    let site = Uuid::new_v5(&Uuid::NAMESPACE_URL, cloud_id.as_str().as_bytes());
    let name = format!("{event_type}\0{entity}\0{change}");
    EventId::from(Uuid::new_v5(&site, name.as_bytes()).to_string())
}

/// Returns whether an event id has the form of those that [`event_id`] derives: a UUID of version 5.
#[must_use]
pub fn is_derived(event_id: &str) -> bool {
    // The other forms of a UUID, such as with braces, are ids of sources.
    event_id.len() == DERIVED_ID_BYTES
        && Uuid::parse_str(event_id).is_ok_and(|id| id.get_version_num() == 5)
}

/// Returns what distinguishes this change of an entity from others, if the body has it.
fn change_of(body: &Members<'_>) -> Option<String> {
    if let Some(id) = body.object("changelog").and_then(|changelog| changelog.id("id")) {
        return Some(format!("changelog {id}"));
    }
    // An id without a time would give two changes of one version the same event id.
    let mut revisions = SOURCES.iter().flat_map(|source| source.revisions());
    let revision = revisions.find_map(|name| {
        let entity = body.object(name)?;
        Some(format!("{name} {} {}", entity.id("id")?, entity.id("updated")?))
    });
    revision.or_else(|| body.id("sequenceNumber").map(|number| format!("sequence {number}")))
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
    fn derived_id_is_stable_and_a_uuid() {
        let body = r#"{"issue":{"key":"A-1"},"changelog":{"id":"30"}}"#;
        let first = id("avi:jira:updated:issue", Some(1), body);
        assert_eq!(first, id("avi:jira:updated:issue", Some(2), body), "the changelog decides");
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
    fn derived_id_depends_on_site_type_entity_and_change() {
        let body = |issue: &str, log: &str| {
            format!(r#"{{"issue":{{"key":"{issue}"}},"changelog":{{"id":"{log}"}}}}"#)
        };
        let base = id("t", None, &body("A-1", "30"));
        assert_ne!(base, id("u", None, &body("A-1", "30")));
        assert_ne!(base, id("t", None, &body("A-2", "30")));
        assert_ne!(base, id("t", None, &body("A-1", "31")));
        let other = event_id(&"c2".into(), &"t".into(), None, body("A-1", "30").as_bytes());
        assert_ne!(base, other.to_string());
    }

    #[test]
    fn each_discriminator_is_used_when_those_before_it_are_missing() {
        let differ = |left: (Option<i64>, &str), right: (Option<i64>, &str)| {
            assert_ne!(id("t", left.0, left.1), id("t", right.0, right.1), "{left:?} {right:?}");
        };
        let same = |left: (Option<i64>, &str), right: (Option<i64>, &str)| {
            assert_eq!(id("t", left.0, left.1), id("t", right.0, right.1), "{left:?} {right:?}");
        };
        let comment =
            |updated: &str| format!(r#"{{"comment":{{"id":"1","updated":"{updated}"}}}}"#);
        same((Some(1), &comment("a")), (Some(2), &comment("a")));
        differ((Some(1), &comment("a")), (Some(1), &comment("b")));
        differ((Some(1), r#"{"sequenceNumber":1}"#), (Some(1), r#"{"sequenceNumber":2}"#));
        same((Some(1), r#"{"version":{"id":"1"}}"#), (Some(1), r#"{"version":{"id":"1"},"x":1}"#));
        differ((Some(1), r#"{"version":{"id":"1"}}"#), (Some(2), r#"{"version":{"id":"1"}}"#));
        differ((None, r#"{"x":1}"#), (None, r#"{"x":2}"#));
        differ((None, "no json"), (None, "none either"));
    }
}
