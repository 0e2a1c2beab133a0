//! Random credentials: bearer tokens and signing secrets. Only digests of tokens are stored.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rustls::crypto::aws_lc_rs;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::domain::Secret;

/// Random bytes in a token or secret.
const RANDOM_BYTES: usize = 32;

/// The system provides no random bytes.
#[derive(Debug, Error)]
#[error("the system provides no random bytes")]
pub struct NoRandomness;

/// Generates a bearer token of an installation: `sw_inst_` and 256 random bits in base64url.
///
/// # Errors
/// See [`NoRandomness`].
pub(super) fn new_token() -> Result<String, NoRandomness> {
    Ok(format!("sw_inst_{}", BASE64URL_NOPAD.encode(&random()?)))
}

/// Generates an access token of the operator API: `swa_` and 256 random bits in base64url.
///
/// # Errors
/// See [`NoRandomness`].
pub(super) fn new_access_token() -> Result<String, NoRandomness> {
    Ok(format!("swa_{}", BASE64URL_NOPAD.encode(&random()?)))
}

/// Generates a signing secret of an endpoint: `whsec_` and 256 random bits in base64.
///
/// **Source:** Standard Webhooks, symmetric secrets.
///
/// # Errors
/// See [`NoRandomness`].
pub(super) fn new_secret() -> Result<Secret, NoRandomness> {
    Ok(Secret::new(format!("whsec_{}", BASE64.encode(&random()?))))
}

/// Generates a signing secret of what is not registered: `whsec_` and 256 random bits in base64.
///
/// # Errors
/// See [`NoRandomness`].
pub fn new_signing_secret() -> Result<Secret, NoRandomness> {
    new_secret()
}

/// Generates a secret shared by a tenant and a Connect app: 256 random bits in base64url.
///
/// # Errors
/// See [`NoRandomness`].
pub(super) fn new_shared_secret() -> Result<Secret, NoRandomness> {
    Ok(Secret::new(BASE64URL_NOPAD.encode(&random()?)))
}

/// Returns the stored form of a bearer token: its SHA-256 in hex.
#[must_use]
pub fn digest(token: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(token))
}

fn random() -> Result<[u8; RANDOM_BYTES], NoRandomness> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_distinct_and_fit_a_header() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), "sw_inst_".len() + 43);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        let access = new_access_token().unwrap();
        assert!(access.starts_with("swa_") && access.len() == "swa_".len() + 43, "{access}");
    }

    #[test]
    fn digest_reveals_only_equality() {
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
        assert_eq!(digest("a").len(), 64);
    }
}
