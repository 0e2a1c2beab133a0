//! The identity of an event as 128 bits.

use sha2::{Digest, Sha256};

use crate::event::identity;

/// The first 128 bits of the SHA-256 of a message id, `<cloudId>/<ce-id>`.
///
/// Equal hashes count as equal ids. Among 2^33 ids, two differing ones are equal with a probability
/// below 10^-18, and no site can find an id that equals one of another site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RepeatId(pub(super) u128);

impl RepeatId {
    /// Returns the hash of a message id; `None` if its event id is derived from the event.
    ///
    /// An id that no source chose is no promise of the source: an equal body hours later may be
    /// another event, so such ids are left to the window of the broker.
    pub(super) fn of(message_id: &str) -> Option<Self> {
        let (_, event_id) = message_id.split_once('/').unwrap_or(("", message_id));
        if event_id.is_empty() || identity::is_derived(event_id) {
            return None;
        }
        let digest = Sha256::digest(message_id);
        let first = digest.first_chunk::<16>()?;
        Some(Self(u128::from_be_bytes(*first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_sources_are_remembered_and_derived_ones_are_not() {
        let webhook = RepeatId::of("c1/abc:avi:jira:updated:issue");
        assert!(webhook.is_some());
        assert_ne!(webhook, RepeatId::of("c2/abc:avi:jira:updated:issue"), "of another site");
        assert_ne!(webhook, RepeatId::of("c1/abc:avi:jira:assigned:issue"), "the other of a pair");
        let random = "c1/0b3f6f3e-3a57-4c1e-9d0f-2f4b8f0f8a11";
        assert!(RepeatId::of(random).is_some(), "a version 4 UUID is chosen by its source");
        let derived = identity::event_id(&"c1".into(), &"t".into(), None, b"{}");
        assert_eq!(RepeatId::of(&format!("c1/{derived}")), None);
        assert!(RepeatId::of(&format!("c1/batch/{derived}")).is_some(), "ends as a derived one");
        assert_eq!(RepeatId::of(""), None);
        assert_eq!(RepeatId::of("c1/"), None);
    }
}
