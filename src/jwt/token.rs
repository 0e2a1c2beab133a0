//! Connect tokens: parsing, verification and signing.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use sha2::Sha256;

use super::qsh;
use crate::domain::Secret;

/// The only accepted algorithm; any other, including `none`, is rejected before a key is looked up.
const ALGORITHM: &str = "HS256";
/// Header parameters that a token must not have: extensions to understand, and keys or places to get
/// a key from.
///
/// **Source:** RFC 7515, sections 4.1.2 to 4.1.6 and 4.1.11.
const REFUSED_PARAMETERS: [&str; 5] = ["crit", "jku", "jwk", "x5u", "x5c"];
/// Longest token that is parsed, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of audiences: the secret of each is tried before the token is verified.
const AUDIENCE_MAX: usize = 8;
/// Allowed clock difference, in seconds.
const LEEWAY_S: i64 = 60;
/// Longest accepted lifetime, in seconds; the default of one reference library.
const LIFE_S_MAX: i64 = 3600;
/// Lifetime of the tokens signed here, in seconds; the same as the vendor's.
const OWN_LIFE_S: i64 = 180;

/// Value of the claim `switchyard` of the tokens that we send to apps. Apps may sign with the same
/// secret and issuer, for the same path, so only this claim distinguishes our tokens. It
/// is no audience, because client libraries take the audience for the tenant, or refuse a token that
/// has one.
const OWN: &str = "call-to-app";

/// Why a token is rejected. Only metrics show it; callers do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Not a compact token.
    Malformed,
    /// Another algorithm, or no signature.
    Algorithm,
    /// The header has a parameter that is refused.
    HeaderParameter,
    /// A required claim is missing or has the wrong type.
    Claims,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    Early,
    /// Its lifetime is too long.
    LongLived,
    /// It covers another request.
    OtherRequest,
}

impl TokenError {
    /// Value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::HeaderParameter => "header_parameter",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::LongLived => "long_lived",
            Self::OtherRequest => "qsh",
        }
    }
}

/// A parsed token. Its claims are not trusted before [`ConnectToken::is_signed_with`] returns true; until
/// then they only select the secret to try.
#[derive(Debug)]
pub struct ConnectToken<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    aud: Audience,
    iat: i64,
    exp: i64,
    qsh: String,
    /// Set in the tokens that we send, see [`OWN`].
    #[serde(default, rename = "switchyard")]
    own: Option<IgnoredAny>,
}

/// One or several audiences. **Source:** RFC 7519, section 4.1.3.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<'t> ConnectToken<'t> {
    /// Parses a compact token without verifying it.
    ///
    /// # Errors
    /// It has another form, another algorithm, or lacks a claim.
    pub fn parse(text: &'t str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| TokenError::Malformed)?;
        if header.alg != ALGORITHM {
            return Err(TokenError::Algorithm);
        }
        if REFUSED_PARAMETERS.iter().any(|name| header.others.contains_key(*name)) {
            return Err(TokenError::HeaderParameter);
        }
        let claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| TokenError::Claims)?;
        let token = Self { signed, signature: decoded(signature)?, claims };
        if token.audience().len() > AUDIENCE_MAX { Err(TokenError::Claims) } else { Ok(token) }
    }

    /// Claimed issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// Claimed audiences; may be empty.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        match &self.claims.aud {
            Audience::One(name) => std::slice::from_ref(name),
            Audience::Many(names) => names,
        }
    }

    /// Whether we issued it, to call an app: such a token gives no access to our APIs.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.claims.own.is_some()
    }

    /// Claimed time of issue, seconds since the epoch.
    #[must_use]
    pub fn issued_s(&self) -> i64 {
        self.claims.iat
    }

    /// Last second in which the token is accepted, seconds since the epoch.
    #[must_use]
    pub fn accepted_until_s(&self) -> i64 {
        self.claims.exp.saturating_add(LEEWAY_S)
    }

    /// Whether `secret` made its signature, compared in constant time.
    #[must_use]
    pub fn is_signed_with(&self, secret: &Secret) -> bool {
        mac(secret, self.signed).is_ok_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }

    /// Checks its times and that it covers this request: `path` and `query` as sent.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        now_s: i64,
        method: &str,
        path: &str,
        query: &str,
    ) -> Result<(), TokenError> {
        let Claims { iat, exp, qsh, .. } = &self.claims;
        if now_s > exp.saturating_add(LEEWAY_S) {
            return Err(TokenError::Expired);
        }
        if *iat > now_s.saturating_add(LEEWAY_S) {
            return Err(TokenError::Early);
        }
        if exp.saturating_sub(*iat) > LIFE_S_MAX {
            return Err(TokenError::LongLived);
        }
        // A token for browsers has the text `context-qsh` here, which is not a hash.
        if qsh::covers(qsh, method, path, query) { Ok(()) } else { Err(TokenError::OtherRequest) }
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Malformed)
}

/// Returns a token from `issuer` that covers the request with this hash, valid from `now_s`.
///
/// # Errors
/// The secret cannot be a key; HMAC accepts keys of any length.
pub fn sign(secret: &Secret, issuer: &str, qsh: &str, now_s: i64) -> Result<String, InvalidLength> {
    sign_claims(
        secret,
        &json!({
            "iss": issuer, "iat": now_s, "exp": now_s.saturating_add(OWN_LIFE_S), "qsh": qsh,
            "switchyard": OWN,
        }),
    )
}

/// Returns a bearer token for the receiver of a webhook, valid from `now_s`. It has no audience and
/// no issuer: none is documented, and libraries reject one that they do not expect.
///
/// **Source:** Jira Cloud platform, "Webhooks": authentication of webhooks of OAuth 2.0 apps.
///
/// # Errors
/// The secret cannot be a key; HMAC accepts keys of any length.
pub fn sign_bearer(secret: &Secret, now_s: i64) -> Result<String, InvalidLength> {
    let expires_s = now_s.saturating_add(OWN_LIFE_S);
    sign_claims(secret, &json!({"iat": now_s, "exp": expires_s, "switchyard": OWN}))
}

fn sign_claims(secret: &Secret, claims: &serde_json::Value) -> Result<String, InvalidLength> {
    let header = json!({"typ": "JWT", "alg": ALGORITHM});
    let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = mac(secret, &signed)?.finalize().into_bytes();
    let signature = BASE64URL_NOPAD.encode(&signature);
    Ok(format!("{signed}.{signature}"))
}

/// Starts the signature of `signed`.
fn mac(secret: &Secret, signed: &str) -> Result<Hmac<Sha256>, InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())?;
    mac.update(signed.as_bytes());
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const VECTORS: &str = include_str!("../../tests/cases/registration/jwt-vectors.json");

    fn accepts(token: &str, secret: &Secret, now_s: i64, method: &str, url: &str) -> bool {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        ConnectToken::parse(token).is_ok_and(|token| {
            token.is_signed_with(secret) && token.check(now_s, method, path, query).is_ok()
        })
    }

    #[test]
    fn recorded_tokens_are_accepted_and_refused_as_recorded() {
        let document: Value = serde_json::from_str(VECTORS).unwrap();
        let secret = Secret::new(document["secret"].as_str().unwrap());
        let vectors = document["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 8);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            assert!(!ConnectToken::parse(text("token")).is_ok_and(|token| token.is_own()));
            let now = vector["now"].as_i64().unwrap();
            let accepted = accepts(text("token"), &secret, now, text("method"), text("url"));
            assert_eq!(accepted, vector["accept"], "{}", vector["why"]);
        }
    }

    #[test]
    fn own_token_reads_back_and_covers_its_request_alone() {
        let secret = Secret::new("s");
        let made = sign(&secret, "tenant-1", &qsh::hash("POST", "/hook", "a=1"), 1000).unwrap();
        let token = ConnectToken::parse(&made).unwrap();
        assert_eq!(token.issuer(), "tenant-1");
        assert!(token.is_own());
        assert!(accepts(&made, &secret, 1000, "POST", "/hook?a=1"));
        assert!(!accepts(&made, &secret, 1000, "POST", "/hook?a=2"));
        assert!(!accepts(&made, &Secret::new("t"), 1000, "POST", "/hook?a=1"));
    }

    #[test]
    fn token_with_too_many_audiences_is_rejected_before_verification() {
        let read = |count: usize| {
            let claims =
                json!({"iss": "a", "aud": vec!["t"; count], "iat": 0, "exp": 9, "qsh": ""});
            let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
            let token = format!("{}.{}.AA", part(json!({"alg": ALGORITHM})), part(claims));
            ConnectToken::parse(&token).map(|token| token.audience().len())
        };
        assert_eq!(read(0), Ok(0));
        assert_eq!(read(AUDIENCE_MAX), Ok(AUDIENCE_MAX));
        assert_eq!(read(AUDIENCE_MAX + 1), Err(TokenError::Claims));
        assert_eq!(read(1500), Err(TokenError::Claims));
    }

    #[test]
    fn altered_signature_algorithm_and_size_are_refused() {
        let secret = Secret::new("s");
        let made = sign(&secret, "a", "q", 0).unwrap();
        let (signed, _) = made.rsplit_once('.').unwrap();
        assert!(!ConnectToken::parse(&format!("{signed}.")).unwrap().is_signed_with(&secret));
        let claims = signed.split_once('.').unwrap().1;
        for alg in ["none", "None", "hs256", "HS512", "RS256", ""] {
            let header =
                BASE64URL_NOPAD.encode(json!({"alg": alg, "kid": "../x"}).to_string().as_bytes());
            let read = ConnectToken::parse(&format!("{header}.{claims}.")).err();
            assert_eq!(read, Some(TokenError::Algorithm), "{alg}");
        }
        for name in REFUSED_PARAMETERS {
            let header = json!({"alg": ALGORITHM, name: []}).to_string();
            let token = format!("{}.{claims}.", BASE64URL_NOPAD.encode(header.as_bytes()));
            assert_eq!(ConnectToken::parse(&token).err(), Some(TokenError::HeaderParameter));
        }
        let long = format!("{made}{}", "A".repeat(TOKEN_BYTES_MAX));
        assert_eq!(ConnectToken::parse(&long).err(), Some(TokenError::Malformed));
        for noise in ["", "..", "a.b", "a.b.c", "....", "e30.e30.e30"] {
            assert!(ConnectToken::parse(noise).is_err(), "{noise}");
        }
    }
}
