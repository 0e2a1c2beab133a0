//! ID tokens of an OpenID Connect provider: verified with the keys that it publishes.
//!
//! A key has one kind, and an algorithm is accepted only with keys of its kind, so that algorithms cannot be confused. `none`
//! and algorithms with a shared secret do not exist here.
//!
//! **Source:** OpenID Connect Core 1.0, section 3.1.3.7; RFC 7517, RFC 7518.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Longest token that is parsed, in bytes. It may name many groups.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Most keys of a provider that are read.
const KEYS_MAX: usize = 64;
/// Seconds by which the clocks of provider and router may differ.
const SKEW_S: i64 = 60;
/// Oldest token that is accepted, in seconds since it was issued.
const AGE_S_MAX: i64 = 600;
/// First byte of a point of a curve that is not compressed.
const UNCOMPRESSED: u8 = 4;

/// Why a token is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum IdTokenError {
    /// It is no compact token, or too long.
    #[error("it has another form")]
    Malformed,
    /// The algorithm of its signature is not supported.
    #[error("its signature has an algorithm that is not supported")]
    Algorithm,
    /// The provider publishes no key with its key id.
    #[error("the provider publishes no key for it")]
    UnknownKey,
    /// The signature does not verify.
    #[error("its signature is wrong")]
    Signature,
    /// It is of another issuer.
    #[error("it is of another issuer")]
    Issuer,
    /// It is for another client.
    #[error("it is for another client")]
    Audience,
    /// It has expired, or was issued long ago or in the future.
    #[error("it has expired, or the clocks of provider and router differ")]
    Time,
    /// It belongs to another login.
    #[error("it belongs to another login")]
    Nonce,
    /// It lacks its subject.
    #[error("it has no subject")]
    Subject,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedToken<'e> {
    /// The provider.
    pub issuer: &'e str,
    /// The client that it is for.
    pub client_id: &'e str,
    /// The login that it belongs to.
    pub nonce: &'e str,
    /// Now, in seconds since the epoch.
    pub now_s: i64,
}

/// The keys of a provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderKeys(Vec<ProviderKey>);

#[derive(Clone, Debug)]
struct ProviderKey {
    kid: Option<String>,
    /// The only algorithm that it is for, if it says so.
    alg: Option<String>,
    material: KeyMaterial,
}

#[derive(Clone, Debug)]
enum KeyMaterial {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Name of the curve, and the point.
    Curve(Curve, Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Curve {
    P256,
    P384,
    Ed25519,
}

#[derive(Deserialize)]
struct StoredKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl ProviderKeys {
    /// Reads a JSON Web Key Set. Keys of other kinds, and keys that encrypt, are left out.
    ///
    /// # Errors
    /// It is no key set.
    pub fn of_jwks(text: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let set: KeySet = serde_json::from_slice(text)?;
        let keys = set.keys.into_iter().take(KEYS_MAX);
        let keys = keys.filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(keys.filter_map(ProviderKey::of).collect()))
    }

    /// Whether a token names a key that is not here, so that a newer set may have it.
    #[must_use]
    pub fn lacks_key_of(&self, token: &str) -> bool {
        header_of(token).is_ok_and(|header| self.of_header(&header).next().is_none())
    }

    fn of_header<'k>(&'k self, header: &'k Header) -> impl Iterator<Item = &'k ProviderKey> {
        self.0.iter().filter(move |key| {
            let is_named = header.kid.is_none() || header.kid == key.kid;
            is_named && key.alg.as_ref().is_none_or(|alg| *alg == header.alg)
        })
    }

    /// Returns the claims of a token, if all is as expected.
    ///
    /// # Errors
    /// See [`IdTokenError`].
    pub fn verify(
        &self,
        token: &str,
        expected: &ExpectedToken<'_>,
    ) -> Result<Map<String, Value>, IdTokenError> {
        let header = header_of(token)?;
        if header.others.contains_key("crit") {
            return Err(IdTokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
        let signature = decoded(signature)?;
        let mut error = IdTokenError::UnknownKey;
        let mut is_signed = false;
        for key in self.of_header(&header) {
            match key.verify(&header.alg, signed.as_bytes(), &signature) {
                Ok(()) => is_signed = true,
                Err(failed) => error = failed,
            }
        }
        if !is_signed {
            return Err(error);
        }
        let (_, claims) = signed.split_once('.').ok_or(IdTokenError::Malformed)?;
        let claims = serde_json::from_slice(&decoded(claims)?);
        let claims = claims.map_err(|_| IdTokenError::Malformed)?;
        check(&claims, expected)?;
        Ok(claims)
    }
}

impl ProviderKey {
    fn of(stored: StoredKey) -> Option<Self> {
        if stored.usage.is_some_and(|usage| usage != "sig") {
            return None;
        }
        let number = |text: Option<String>| BASE64URL_NOPAD.decode(text?.as_bytes()).ok();
        let material = match (stored.kty.as_str(), stored.crv.as_deref()) {
            ("RSA", _) => {
                KeyMaterial::Rsa { modulus: number(stored.n)?, exponent: number(stored.e)? }
            }
            ("EC", Some(name @ ("P-256" | "P-384"))) => {
                let curve = if name == "P-256" { Curve::P256 } else { Curve::P384 };
                let point = [vec![UNCOMPRESSED], number(stored.x)?, number(stored.y)?];
                KeyMaterial::Curve(curve, point.concat())
            }
            ("OKP", Some("Ed25519")) => KeyMaterial::Curve(Curve::Ed25519, number(stored.x)?),
            _ => return None,
        };
        Some(Self { kid: stored.kid, alg: stored.alg, material })
    }

    fn verify(&self, alg: &str, signed: &[u8], signature: &[u8]) -> Result<(), IdTokenError> {
        let wrong = |_| IdTokenError::Signature;
        match &self.material {
            KeyMaterial::Rsa { modulus, exponent } => {
                let how: &'static RsaParameters = match alg {
                    "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &RSA_PSS_2048_8192_SHA256,
                    _ => return Err(IdTokenError::Algorithm),
                };
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(how, signed, signature).map_err(wrong)
            }
            KeyMaterial::Curve(curve, point) => {
                let how: &'static dyn VerificationAlgorithm = match (alg, curve) {
                    ("ES256", Curve::P256) => &ECDSA_P256_SHA256_FIXED,
                    ("ES384", Curve::P384) => &ECDSA_P384_SHA384_FIXED,
                    ("EdDSA", Curve::Ed25519) => &ED25519,
                    _ => return Err(IdTokenError::Algorithm),
                };
                UnparsedPublicKey::new(how, point).verify(signed, signature).map_err(wrong)
            }
        }
    }
}

/// Checks what a token says.
fn check(claims: &Map<String, Value>, expected: &ExpectedToken<'_>) -> Result<(), IdTokenError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    if text("iss") != Some(expected.issuer) {
        return Err(IdTokenError::Issuer);
    }
    let is_ours = |value: &Value| value.as_str() == Some(expected.client_id);
    let (is_for_us, is_for_others) = match claims.get("aud") {
        Some(Value::Array(all)) => (all.iter().any(is_ours), all.len() > 1),
        Some(one) => (is_ours(one), false),
        None => (false, false),
    };
    let party = text("azp");
    let is_party = party.map_or(!is_for_others, |party| party == expected.client_id);
    if !is_for_us || !is_party {
        return Err(IdTokenError::Audience);
    }
    let (Some(expires_s), Some(issued_s)) = (number("exp"), number("iat")) else {
        return Err(IdTokenError::Time);
    };
    let seconds = |number: i64| number as f64;
    let is_valid = expires_s > seconds(expected.now_s - SKEW_S)
        && issued_s <= seconds(expected.now_s + SKEW_S)
        && issued_s >= seconds(expected.now_s - AGE_S_MAX - SKEW_S)
        && number("nbf").is_none_or(|from_s| from_s <= seconds(expected.now_s + SKEW_S));
    if !is_valid {
        return Err(IdTokenError::Time);
    }
    let nonce = text("nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(IdTokenError::Nonce);
    }
    text("sub").filter(|subject| !subject.is_empty()).ok_or(IdTokenError::Subject).map(drop)
}

fn header_of(token: &str) -> Result<Header, IdTokenError> {
    if token.len() > TOKEN_BYTES_MAX || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(IdTokenError::Malformed);
    }
    let (header, _) = token.split_once('.').ok_or(IdTokenError::Malformed)?;
    serde_json::from_slice(&decoded(header)?).map_err(|_| IdTokenError::Malformed)
}

fn decoded(part: &str) -> Result<Vec<u8>, IdTokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| IdTokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    use serde_json::json;

    use super::*;
    use crate::jwt::{KeyRecord, KeyRing};

    const NOW_S: i64 = 1_796_000_000;
    const EXPECTED: ExpectedToken<'static> =
        ExpectedToken { issuer: "https://op", client_id: "us", nonce: "n-1", now_s: NOW_S };

    fn claims() -> Value {
        json!({"iss": "https://op", "aud": "us", "sub": "ada", "nonce": "n-1", "iat": NOW_S, "exp": NOW_S + 300})
    }

    fn ring() -> KeyRing {
        let ring = KeyRing::default();
        ring.apply(&[KeyRecord::generate().unwrap()]).unwrap();
        ring
    }

    fn keys_of(ring: &KeyRing) -> ProviderKeys {
        ProviderKeys::of_jwks(ring.jwks().to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_claim_is_checked() {
        let ring = ring();
        let keys = keys_of(&ring);
        let verify = |changes: Value| {
            let mut claims = claims();
            let members = claims.as_object_mut().unwrap();
            members.extend(changes.as_object().unwrap().clone());
            members.retain(|_, value| !value.is_null());
            keys.verify(&ring.sign(&claims, 0).unwrap(), &EXPECTED)
                .map(|claims| claims["sub"].clone())
        };
        for accepted in [
            json!({}),
            json!({"aud": ["us"]}),
            json!({"aud": ["us", "them"], "azp": "us"}),
            json!({"exp": NOW_S - SKEW_S + 1, "iat": NOW_S - AGE_S_MAX}),
            json!({"iat": NOW_S + SKEW_S, "nbf": NOW_S + SKEW_S}),
        ] {
            assert_eq!(verify(accepted.clone()), Ok(json!("ada")), "{accepted}");
        }
        for (changes, error) in [
            (json!({"iss": "https://op/"}), IdTokenError::Issuer),
            (json!({"iss": null}), IdTokenError::Issuer),
            (json!({"aud": "them"}), IdTokenError::Audience),
            (json!({"aud": null}), IdTokenError::Audience),
            (json!({"aud": ["us", "them"]}), IdTokenError::Audience),
            (json!({"azp": "them"}), IdTokenError::Audience),
            (json!({"exp": NOW_S - SKEW_S}), IdTokenError::Time),
            (json!({"exp": null}), IdTokenError::Time),
            (json!({"iat": NOW_S + SKEW_S + 1}), IdTokenError::Time),
            (json!({"iat": NOW_S - AGE_S_MAX - SKEW_S - 1}), IdTokenError::Time),
            (json!({"nbf": NOW_S + SKEW_S + 1}), IdTokenError::Time),
            (json!({"nonce": "n-2"}), IdTokenError::Nonce),
            (json!({"nonce": null}), IdTokenError::Nonce),
            (json!({"sub": ""}), IdTokenError::Subject),
        ] {
            assert_eq!(verify(changes.clone()), Err(error), "{changes}");
        }
    }

    #[test]
    fn token_of_another_key_or_with_another_algorithm_is_refused() {
        let (ring, other) = (ring(), ring());
        let keys = keys_of(&ring);
        let foreign = other.sign(&claims(), 0).unwrap();
        assert_eq!(keys.verify(&foreign, &EXPECTED), Err(IdTokenError::UnknownKey));
        assert!(keys.lacks_key_of(&foreign));
        let own = ring.sign(&claims(), 0).unwrap();
        assert!(!keys.lacks_key_of(&own));
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let (_, rest) = own.split_once('.').unwrap();
        let kid = ring.jwks()["keys"][0]["kid"].clone();
        // Keys that do not say which algorithm they are for.
        let mut set = ring.jwks();
        set["keys"][0].as_object_mut().unwrap().remove("alg");
        let any = ProviderKeys::of_jwks(set.to_string().as_bytes()).unwrap();
        for (header, error) in [
            (json!({"alg": "none", "kid": kid}), IdTokenError::Algorithm),
            (json!({"alg": "HS256", "kid": kid}), IdTokenError::Algorithm),
            (json!({"alg": "ES256", "kid": kid}), IdTokenError::Algorithm),
            (json!({"alg": "PS256", "kid": kid}), IdTokenError::Signature),
            (json!({"alg": "RS256", "kid": kid, "x": 1}), IdTokenError::Signature),
            (json!({"alg": "RS256", "kid": kid, "crit": ["x"]}), IdTokenError::Malformed),
        ] {
            let token = format!("{}.{rest}", part(&header));
            assert_eq!(any.verify(&token, &EXPECTED), Err(error), "{header}");
        }
        let changed = own.replacen(&part(&claims()), &part(&json!({"sub": "eve"})), 1);
        assert_eq!(keys.verify(&changed, &EXPECTED), Err(IdTokenError::Signature));
        for text in ["", "a.b", "a.b.c.d", &own[..own.len() - 1], &"x".repeat(TOKEN_BYTES_MAX + 1)]
        {
            assert!(keys.verify(text, &EXPECTED).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_of_curves_verify_and_keys_that_encrypt_do_not() {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let curve =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let edwards = Ed25519KeyPair::generate().unwrap();
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = curve.public_key().as_ref();
        let set = |usage: &str| {
            let set = json!({"keys": [
                {"kty": "EC", "crv": "P-256", "kid": "c", "use": usage, "x": text(&point[1..33]), "y": text(&point[33..])},
                {"kty": "OKP", "crv": "Ed25519", "kid": "e", "use": usage, "x": text(edwards.public_key().as_ref())},
                {"kty": "oct", "k": "AAAA"}, {"other": 1}]});
            ProviderKeys::of_jwks(set.to_string().as_bytes()).unwrap()
        };
        let signed = |header: Value| {
            format!(
                "{}.{}",
                text(header.to_string().as_bytes()),
                text(claims().to_string().as_bytes())
            )
        };
        let part = signed(json!({"alg": "ES256", "kid": "c"}));
        let signature = curve.sign(&random, part.as_bytes()).unwrap();
        let of_curve = format!("{part}.{}", text(signature.as_ref()));
        let part = signed(json!({"alg": "EdDSA", "kid": "e"}));
        let of_edwards = format!("{part}.{}", text(edwards.sign(part.as_bytes()).as_ref()));
        for token in [&of_curve, &of_edwards] {
            assert!(set("sig").verify(token, &EXPECTED).is_ok());
            assert_eq!(set("enc").verify(token, &EXPECTED), Err(IdTokenError::UnknownKey));
        }
        assert!(ProviderKeys::of_jwks(b"{}").is_err());
    }
}
