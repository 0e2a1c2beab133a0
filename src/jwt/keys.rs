//! RSA signing keys of this installation: rotation, the published key set, signing and
//! verification.
//!
//! All replicas hold the same keys and read the same clock, so they sign with the same one. A new
//! key is published before it signs, because verifiers cache the key set; an old key stays
//! published until every token it signed has expired.
//!
//! **Source:** RFC 7517 (key sets), RFC 7518 section 3.3 (RS256), RFC 7638 (key ids).

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::domain::{Secret, UnknownMembers};

/// Signature algorithm of these keys.
const ALGORITHM: &str = "RS256";
/// Longest token that is parsed, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Time between the publication of a new key and its first signature, in milliseconds.
const LEAD_MS: i64 = 3600 * 1000;
/// Time an old key stays published after the next key signs, in milliseconds; longer than any token
/// lives.
const OVERLAP_MS: i64 = 24 * 3600 * 1000;
/// Maximum number of keys; further rotations within the overlap drop the oldest.
const KEYS_MAX: usize = 8;
/// Characters on a line of a PEM file.
const PEM_LINE: usize = 64;

/// A signing key as stored. It holds the private half.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// Key id: the thumbprint of the public half.
    pub kid: String,
    /// Time of its first signature, milliseconds since the epoch.
    pub signs_from_ms: i64,
    /// Both halves, PKCS #8 in base64.
    #[serde(serialize_with = "in_clear")]
    pkcs8: Secret,
    /// Members that this release does not know.
    #[serde(flatten)]
    unknown: UnknownMembers,
}

/// A key cannot be generated or parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the RSA key cannot be made or read")]
pub struct InvalidKey;

impl KeyRecord {
    /// Generates a key of 2048 bits; takes tens to hundreds of milliseconds.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn generate() -> Result<Self, InvalidKey> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| InvalidKey)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| InvalidKey)?;
        let pkcs8 = Secret::new(BASE64.encode(pkcs8.as_ref()));
        let unknown = UnknownMembers::default();
        Ok(Self { kid: thumbprint(&pair), signs_from_ms: 0, pkcs8, unknown })
    }

    /// Returns the private half, for those who store it encrypted.
    pub(crate) fn private_half(&mut self) -> &mut Secret {
        &mut self.pkcs8
    }
}

fn in_clear<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.reveal())
}

impl std::fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRecord").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// How a new key replaces the current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// The new key is published first and the old one stays published: no token is rejected.
    Gentle,
    /// The new key signs at once and all old keys are removed, because one of them is compromised.
    Revoking,
}

/// Appends `fresh` to `keys`, which are in signing order.
pub fn rotate(keys: &mut Vec<KeyRecord>, fresh: KeyRecord, how: Rotation, now_ms: i64) {
    if how == Rotation::Revoking {
        keys.clear();
    }
    let signs_from_ms = if keys.is_empty() { now_ms } else { now_ms.saturating_add(LEAD_MS) };
    keys.push(KeyRecord { signs_from_ms, ..fresh });
    let surplus = keys.len().saturating_sub(KEYS_MAX);
    keys.drain(..surplus);
}

/// Whether the newest key has signed for `life_ms`, or there is no key.
#[must_use]
pub fn is_rotation_due(keys: &[KeyRecord], life_ms: i64, now_ms: i64) -> bool {
    keys.last().is_none_or(|newest| newest.signs_from_ms.saturating_add(life_ms) <= now_ms)
}

/// Number of leading keys that no valid token needs any more.
#[must_use]
pub fn retired(keys: &[KeyRecord], now_ms: i64) -> usize {
    let took_over = |key: &&KeyRecord| key.signs_from_ms.saturating_add(OVERLAP_MS) <= now_ms;
    keys.iter().skip(1).take_while(took_over).count()
}

/// A parsed key pair.
struct SigningKey {
    kid: String,
    signs_from_ms: i64,
    pair: KeyPair,
}

/// The keys that this replica signs and verifies with.
#[derive(Default)]
pub struct KeyRing {
    keys: ArcSwap<Vec<SigningKey>>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kids = self.keys.load().iter().map(|key| key.kid.clone()).collect::<Vec<_>>();
        f.debug_struct("KeyRing").field("kids", &kids).finish()
    }
}

impl KeyRing {
    /// Replaces the keys by stored ones, in signing order.
    ///
    /// # Errors
    /// A key cannot be parsed; the ring keeps its keys.
    pub fn apply(&self, records: &[KeyRecord]) -> Result<(), InvalidKey> {
        let read = |record: &KeyRecord| {
            let pkcs8 = BASE64.decode(record.pkcs8.reveal().as_bytes()).map_err(|_| InvalidKey)?;
            let pair = KeyPair::from_pkcs8(&pkcs8).map_err(|_| InvalidKey)?;
            let (kid, signs_from_ms) = (record.kid.clone(), record.signs_from_ms);
            Ok(SigningKey { kid, signs_from_ms, pair })
        };
        self.keys.store(Arc::new(records.iter().map(read).collect::<Result<_, InvalidKey>>()?));
        Ok(())
    }

    /// Returns a compact token with these claims, signed by the current key; takes about a
    /// millisecond. None while there is no key.
    #[must_use]
    pub fn sign(&self, claims: &Value, now_ms: i64) -> Option<String> {
        let keys = self.keys.load();
        let begun = keys.iter().rfind(|key| key.signs_from_ms <= now_ms);
        // The first key signs even if the clock of this machine is behind.
        let key = begun.or_else(|| keys.first())?;
        let header = json!({"typ": "JWT", "alg": ALGORITHM, "kid": key.kid});
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; key.pair.public_modulus_len()];
        let random = SystemRandom::new();
        key.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    /// Returns the claims of a token that one of these keys signed. The caller checks the times.
    #[must_use]
    pub fn verify<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        let keys = self.keys.load();
        // The key id selects one of our own keys; it never names a location to fetch a key from.
        let key = keys.iter().find(|key| key.kid == header.kid)?;
        if header.alg != ALGORITHM {
            return None;
        }
        let public = key.pair.public_key();
        let public = aws_lc_rs::signature::UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            public.as_ref(),
        );
        public.verify(signed.as_bytes(), &decoded(signature)?).ok()?;
        serde_json::from_slice(&decoded(claims)?).ok()
    }

    /// Returns the public halves as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys = self.keys.load();
        let key = |key: &SigningKey| {
            let (n, e) = public_numbers(&key.pair);
            json!({"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": key.kid, "n": n, "e": e})
        };
        json!({"keys": keys.iter().map(key).collect::<Vec<_>>()})
    }

    /// Returns the public half of the key with this id as a PEM file.
    #[must_use]
    pub fn pem(&self, kid: &str) -> Option<String> {
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.kid == kid)?;
        let der: PublicKeyX509Der<'_> = key.pair.public_key().as_der().ok()?;
        let text = BASE64.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Some(pem)
    }

    /// Returns key ids with the times of their first signatures, in signing order.
    #[must_use]
    pub fn key_ids(&self) -> Vec<(String, i64)> {
        self.keys.load().iter().map(|key| (key.kid.clone(), key.signs_from_ms)).collect()
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(part.as_bytes()).ok()
}

/// Modulus and exponent as a key set encodes them.
fn public_numbers(pair: &KeyPair) -> (String, String) {
    let public = pair.public_key();
    let number = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let modulus = number(public.modulus().big_endian_without_leading_zero());
    (modulus, number(public.exponent().big_endian_without_leading_zero()))
}

/// Digest of the required members, ordered by name.
fn thumbprint(pair: &KeyPair) -> String {
    let (n, e) = public_numbers(pair);
    let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    BASE64URL_NOPAD.encode(&Sha256::digest(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn header_of(token: &str) -> Value {
        let header = decoded(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice(&header).unwrap()
    }

    fn ring(keys: &[KeyRecord]) -> KeyRing {
        let ring = KeyRing::default();
        ring.apply(keys).unwrap();
        ring
    }

    #[test]
    fn new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire() {
        let mut keys = Vec::new();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, 0);
        let old = ring(&keys).sign(&json!({"n": 1}), 0).unwrap();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, DAY_MS);
        let both = ring(&keys);
        assert_eq!(both.jwks()["keys"].as_array().unwrap().len(), 2);
        let signer = |now_ms| header_of(&both.sign(&json!({}), now_ms).unwrap())["kid"].clone();
        assert_eq!(signer(DAY_MS), keys[0].kid);
        assert_eq!(signer(DAY_MS + LEAD_MS - 1), keys[0].kid);
        assert_eq!(signer(DAY_MS + LEAD_MS), keys[1].kid);
        assert_eq!(both.verify(&old), Some(json!({"n": 1})));
        assert_eq!(retired(&keys, DAY_MS + LEAD_MS + OVERLAP_MS - 1), 0);
        assert_eq!(retired(&keys, DAY_MS + LEAD_MS + OVERLAP_MS), 1);
        assert!(ring(&keys[1..]).verify::<Value>(&old).is_none());
    }

    #[test]
    fn revoked_keys_are_removed_at_once_and_the_new_one_signs() {
        let mut keys = Vec::new();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, 0);
        let leaked = ring(&keys).sign(&json!({}), 0).unwrap();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Revoking, 5);
        let ring = ring(&keys);
        assert!(ring.verify::<Value>(&leaked).is_none());
        assert_eq!(header_of(&ring.sign(&json!({}), 5).unwrap())["kid"], keys[0].kid);
    }

    #[test]
    fn rotation_is_due_when_the_newest_key_reaches_its_lifetime() {
        let mut keys = Vec::new();
        assert!(is_rotation_due(&keys, DAY_MS, 0));
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, 0);
        assert!(!is_rotation_due(&keys, DAY_MS, DAY_MS - 1));
        assert!(is_rotation_due(&keys, DAY_MS, DAY_MS));
    }

    #[test]
    fn token_of_another_key_algorithm_or_text_is_refused() {
        let mut keys = Vec::new();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, 0);
        let ring = ring(&keys);
        let good = ring.sign(&json!({"a": 1}), 0).unwrap();
        let (_, rest) = good.split_once('.').unwrap();
        for header in [
            json!({"alg": "none", "kid": keys[0].kid}),
            json!({"alg": "HS256", "kid": keys[0].kid}),
            json!({"alg": "RS256", "kid": "https://evil.example/key"}),
            json!({"alg": "RS256"}),
        ] {
            let header = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
            assert!(ring.verify::<Value>(&format!("{header}.{rest}")).is_none());
        }
        let other = KeyRing::default();
        other.apply(&[KeyRecord::generate().unwrap()]).unwrap();
        assert!(other.verify::<Value>(&good).is_none());
        for noise in ["", ".", "..", "a.b.c", &good[..good.len() - 4], &"x".repeat(9000)] {
            assert!(ring.verify::<Value>(noise).is_none(), "{noise}");
        }
    }

    #[test]
    fn replicas_agree_and_stored_keys_are_never_printed() {
        let mut keys = Vec::new();
        rotate(&mut keys, KeyRecord::generate().unwrap(), Rotation::Gentle, 0);
        let stored = serde_json::to_string(&keys).unwrap();
        let read: Vec<KeyRecord> = serde_json::from_str(&stored).unwrap();
        let (one, other) = (ring(&keys), ring(&read));
        assert_eq!(one.jwks(), other.jwks());
        assert!(other.verify::<Value>(&one.sign(&json!({}), 0).unwrap()).is_some());
        assert_eq!(one.pem(&keys[0].kid), other.pem(&keys[0].kid));
        assert!(one.pem("other").is_none());
        assert!(!format!("{keys:?} {one:?}").contains(keys[0].pkcs8.reveal()));
    }

    #[test]
    fn ring_without_a_key_signs_nothing_and_keys_are_bounded() {
        assert_eq!(KeyRing::default().sign(&json!({}), 0), None);
        let key = KeyRecord::generate().unwrap();
        let mut keys = Vec::new();
        for now_ms in 0..20 {
            rotate(&mut keys, key.clone(), Rotation::Gentle, now_ms);
        }
        assert_eq!(keys.len(), KEYS_MAX);
    }
}
