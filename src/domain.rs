//! Identifiers, event types and handlers: the types that every stage shares. Imports no other
//! module of this crate.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use data_encoding::{Encoding, Specification};
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

fn short_base32(digest: &[u8]) -> String {
    let mut text = lower_base32().encode(digest);
    text.truncate(DIGEST_CHARS);
    text
}

fn lower_base32() -> &'static Encoding {
    static ENCODING: std::sync::OnceLock<Encoding> = std::sync::OnceLock::new();
    ENCODING.get_or_init(|| {
        let mut specification = Specification::new();
        specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        // The alphabet is a constant of the right length, so this cannot fail.
        specification.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
    })
}

/// Product of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Jira, Jira Software, Jira Service Management.
    Jira,
    /// Confluence.
    Confluence,
}

/// What the router does with an event whose filter could not be evaluated.
///
/// **Source:** Forge trigger module, `filter.onError`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OnError {
    /// Not delivered, not logged.
    Ignore,
    /// Not delivered, logged.
    #[default]
    IgnoreAndLog,
    /// Delivered with the error, not logged.
    Receive,
    /// Delivered with the error, logged.
    ReceiveAndLog,
}

impl OnError {
    /// Returns whether the event is delivered although its filter failed.
    #[must_use]
    pub fn delivers(self) -> bool {
        matches!(self, Self::Receive | Self::ReceiveAndLog)
    }

    /// Returns whether the failure is written to the log.
    #[must_use]
    pub fn logs(self) -> bool {
        matches!(self, Self::IgnoreAndLog | Self::ReceiveAndLog)
    }
}

/// How failed attempts are classified and when they are retried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryProfile {
    /// Switchyard's own profile: the configured schedule; statuses that a retry cannot fix are
    /// dead-lettered at once.
    #[default]
    Router,
    /// Like the vendor's webhooks: five retries, 5 to 15 minutes apart.
    Webhook,
    /// Like the vendor's remotes: four retries a minute apart, whatever the status.
    ForgeRemote,
    /// Like the vendor's functions: four retries, a second apart unless the function asks for more.
    ForgeFunction,
}

/// A signing secret; its `Debug` form hides the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the secret in clear text, for signing and for the one response that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where matched events are delivered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Handler {
    /// An HTTP endpoint of the app.
    Http {
        /// Where to post.
        url: url::Url,
        /// Signs every delivery to this endpoint.
        secret: Secret,
    },
    /// A function of the app that replies on a NATS subject.
    Function {
        /// `<prefix>.fn.<installation token>.<function>`.
        subject: Arc<str>,
    },
    /// A webhook of a Connect app.
    Webhook(WebhookHandler),
    /// The backend of a Forge app.
    ForgeRemote(Box<ForgeRemote>),
}

/// The backend of a Forge app, called by the vendor's protocol for remotes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ForgeRemote {
    /// URL that deliveries are posted to.
    pub url: url::Url,
    /// Signs every delivery, in addition to the invocation token.
    pub secret: Secret,
    /// Key of the endpoint.
    pub endpoint: Box<str>,
    /// Version of the app.
    pub app_version: Box<str>,
    /// `PRODUCTION`, `STAGING` or `DEVELOPMENT`.
    pub environment: Box<str>,
    /// Product of the site.
    pub product: Product,
    /// Whether the event is wrapped in a `payload` member.
    pub wraps_body: bool,
    /// Whether requests carry a token for calling the API back.
    pub wants_system_token: bool,
}

/// Where and how a webhook is posted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WebhookHandler {
    /// The app's base URL; tokens cover the path below it.
    pub base: url::Url,
    /// Path below the base URL, or a whole URL; may contain variables such as `{issue.key}`.
    pub address: Box<str>,
    /// Event names that the app subscribed with, such as `jira:issue_created`.
    pub names: Box<[Box<str>]>,
    /// Client key of the tenant, the issuer of the request's token.
    pub client_key: Box<str>,
    /// Secret shared by tenant and app.
    pub secret: Secret,
    /// Whether it is posted without a body.
    pub excludes_body: bool,
    /// Id of a dynamic webhook. All dynamic webhooks that match an event share one delivery.
    pub number: Option<u64>,
}

/// Why a filter could not be evaluated on an event; sent to handlers that asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilterError {
    /// `type`, `runtime` or `limit`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// Position in the expression, UTF-8 bytes from its start.
    pub offset: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in Unicode scalar values, from 1.
    pub column: u32,
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
