//! Signs deliveries so that handlers can authenticate the sender.
//!
//! **Source:** Standard Webhooks 1.0.0, symmetric signatures `v1`.

use data_encoding::{BASE64, HEXLOWER};
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::domain::{Secret, SigningSecrets};

/// Prefix of a symmetric secret.
const PREFIX: &str = "whsec_";

/// The secret is not a Standard Webhooks secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the signing secret is not base64, with or without `whsec_` before it")]
pub struct BadSecret;

/// Returns the value of `webhook-signature`: `v1,` and the base64 of the HMAC-SHA256 of
/// `<id>.<timestamp>.<body>`.
///
/// # Errors
/// The secret is not base64. Like the reference libraries, this accepts a secret without prefix.
pub fn sign(
    secret: &Secret,
    delivery_id: &str,
    unix_seconds: i64,
    body: &[u8],
) -> Result<String, BadSecret> {
    let text = secret.reveal();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    let key = BASE64.decode(text.as_bytes()).map_err(|_| BadSecret)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| BadSecret)?;
    mac.update(delivery_id.as_bytes());
    mac.update(b".");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut signature = String::from("v1,");
    BASE64.encode_append(&mac.finalize().into_bytes(), &mut signature);
    Ok(signature)
}

/// Returns the value of `x-hub-signature` of a webhook: `sha256=` and the HMAC-SHA256 of the body in hexadecimal.
///
/// **Source:** WebSub, section 7.
///
/// # Errors
/// The secret cannot be a key; HMAC accepts keys of any length.
pub fn hub_signature(secret: &Secret, body: &[u8]) -> Result<String, InvalidLength> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())?;
    let digest = mac.chain_update(body).finalize().into_bytes();
    Ok(format!("sha256={}", HEXLOWER.encode(&digest)))
}

/// Returns the value of `webhook-signature` with one signature for each secret that is valid at this
/// time, separated by spaces, the newest first. A receiver accepts a request if one of them fits.
///
/// # Errors
/// As [`sign`], for any of them.
pub fn sign_with_all(
    secrets: &SigningSecrets,
    delivery_id: &str,
    unix_seconds: i64,
    body: &[u8],
) -> Result<String, BadSecret> {
    let valid = secrets.at(unix_seconds.saturating_mul(1000));
    let signatures: Vec<String> = valid
        .map(|secret| sign(secret, delivery_id, unix_seconds, body))
        .collect::<Result<_, _>>()?;
    Ok(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signed(secret: &str, id: &str, body: &str) -> Result<String, BadSecret> {
        sign(&Secret::new(secret), id, 1_614_265_330, body.as_bytes())
    }

    #[test]
    fn signs_as_the_reference_libraries_do() {
        let signature =
            signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secret_without_prefix_is_the_same_secret() {
        let bare = SECRET.trim_start_matches(PREFIX);
        assert_eq!(signed(SECRET, "a", "b"), signed(bare, "a", "b"));
    }

    #[test]
    fn signature_covers_id_and_body() {
        assert_ne!(signed(SECRET, "a", "b"), signed(SECRET, "b", "b"));
        assert_ne!(signed(SECRET, "a", "b"), signed(SECRET, "a", "c"));
    }

    #[test]
    fn both_secrets_sign_while_one_replaces_the_other() {
        let (old, new) = (Secret::new(SECRET), Secret::new("whsec_b3RoZXI="));
        let previous = Some((old.clone(), 2_000));
        let secrets = SigningSecrets { current: new.clone(), previous };
        let alone = |secret, at_s| sign(secret, "a", at_s, b"b").unwrap();
        let both = sign_with_all(&secrets, "a", 1, b"b").unwrap();
        assert_eq!(both, format!("{} {}", alone(&new, 1), alone(&old, 1)));
        assert_eq!(sign_with_all(&secrets, "a", 2, b"b").unwrap(), alone(&new, 2));
    }

    #[test]
    fn rejects_a_secret_that_is_not_base64() {
        assert_eq!(signed("whsec_not base64", "a", "b"), Err(BadSecret));
    }
}
