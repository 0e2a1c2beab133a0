//! Identifiers of installations, apps, sites, modules, events and deliveries.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

/// Longest id used unhashed in a NATS subject or KV key, in bytes.
const TOKEN_BYTES_MAX: usize = 64;
/// Characters kept of a base32 digest: 130 bits, enough that two ids never collide in practice.
const DIGEST_CHARS: usize = 26;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        string_id! {
            $(#[$doc])*
            $name of Arc<str>
        }
    };
    ($(#[$doc:meta])* $name:ident of $text:ty) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: long text is reference counted.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($text);

        impl $name {
            /// Wraps the text of an id without validation.
            #[must_use]
            pub fn new(text: impl Into<$text>) -> Self {
                Self(text.into())
            }

            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the id as one token of a NATS subject or KV key, see [`token`].
            #[must_use]
            pub fn token(&self) -> Cow<'_, str> {
                token(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

string_id! {
    /// One app installed in one tenant; the unit of registration, limits and isolation.
    InstallationId
}
string_id! {
    /// The vendor's product behind many installations: a Forge ARI or a Connect app key.
    AppId
}
string_id! {
    /// One Jira or Confluence site.
    CloudId
}
string_id! {
    /// Key of a module inside its installation, `[a-zA-Z0-9_-]+`. Keys of up to 23 bytes are stored
    /// inline: unlike other ids, a key is rarely shared between records.
    ModuleKey of SmolStr
}
string_id! {
    /// Type of an event, such as `avi:jira:created:issue`; opaque and case-sensitive.
    EventType
}
string_id! {
    /// Id of an event, unique inside its site (`ce-id`).
    EventId
}

/// A trigger module record of one installation, as operators name it: `<installation>/<key>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SubscriptionId {
    /// The installation that registered the module.
    pub installation: InstallationId,
    /// The module's key.
    pub key: ModuleKey,
}

impl SubscriptionId {
    /// Parses `<installation>/<key>`; the key contains no `/`, the installation id may.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (installation, key) = text.rsplit_once('/')?;
        Some(Self { installation: installation.into(), key: key.into() })
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.installation, self.key)
    }
}

/// Identifies one delivery: one event to one handler.
///
/// Derived from the event and the subscription, never random: a redelivered event, a duplicate
/// publish and a recovery all yield the same id, so that handlers can deduplicate.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DeliveryId(Arc<str>);

impl DeliveryId {
    /// Derives the id of the delivery of event `event` of site `cloud` to `subscription`: `dlv_`
    /// and 26 characters of lower-case base32.
    #[must_use]
    pub fn derive(cloud: &CloudId, event: &EventId, subscription: &SubscriptionId) -> Self {
        let mut hash = Sha256::new();
        hash.update(cloud.as_str());
        hash.update(b"/");
        hash.update(event.as_str());
        hash.update([0]);
        hash.update(subscription.installation.as_str());
        hash.update([0]);
        hash.update(subscription.key.as_str());
        let mut id = String::with_capacity(4 + DIGEST_CHARS);
        id.push_str("dlv_");
        id.push_str(&short_base32(&hash.finalize()));
        Self(id.into())
    }

    /// Wraps an id that was derived earlier and read from a parked record.
    #[must_use]
    pub fn from_record(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns an id as one token of a NATS subject or KV key.
///
/// Text of 1 to 64 characters of `[A-Za-z0-9_-]` is used unchanged; any other id (ARIs, dotted app
/// keys) becomes 26 characters of the lower-case base32 of its SHA-256.
#[must_use]
pub fn token(id: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=TOKEN_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(short_base32(&Sha256::digest(id)))
    }
}

/// Returns the first [`DIGEST_CHARS`] characters of the lower-case base32 of a digest.
fn short_base32(digest: &[u8]) -> String {
    let mut text = BASE32_NOPAD.encode(digest);
    text.truncate(DIGEST_CHARS);
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_id_is_its_own_token() {
        assert_eq!(token("inst-a_1"), "inst-a_1");
    }

    #[test]
    fn ari_becomes_a_stable_short_token() {
        let ari = "ari:cloud:ecosystem::app/11111111-aaaa-4aaa-8aaa-000000000001";
        let hashed = token(ari);
        assert_eq!(hashed.len(), DIGEST_CHARS);
        assert_eq!(hashed, token(ari));
        assert!(hashed.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
    }

    #[test]
    fn long_and_empty_ids_are_hashed() {
        assert_eq!(token(&"a".repeat(64)).len(), 64);
        assert_eq!(token(&"a".repeat(65)).len(), DIGEST_CHARS);
        assert_eq!(token("").len(), DIGEST_CHARS);
    }

    #[test]
    fn delivery_id_depends_on_every_part_and_on_nothing_else() {
        let id = |cloud: &str, event: &str, installation: &str, key: &str| {
            DeliveryId::derive(
                &cloud.into(),
                &event.into(),
                &SubscriptionId { installation: installation.into(), key: key.into() },
            )
        };
        let base = id("c", "e", "i", "k");
        assert_eq!(base, id("c", "e", "i", "k"));
        assert!(base.as_str().starts_with("dlv_") && base.as_str().len() == 30);
        for other in [
            id("d", "e", "i", "k"),
            id("c", "f", "i", "k"),
            id("c", "e", "j", "k"),
            id("c", "e", "i", "l"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn subscription_id_of_an_ari_installation_reads_back() {
        let id = SubscriptionId { installation: "ari:x/y".into(), key: "k-1".into() };
        assert_eq!(SubscriptionId::parse(&id.to_string()), Some(id));
        assert_eq!(SubscriptionId::parse("no-slash"), None);
    }
}
