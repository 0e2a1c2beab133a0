//! The Rust code of `docs/how-to/verify-signatures.md`, which shows everything below this line.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether a request was signed with the secret, and not more than five minutes ago.
pub(crate) fn verify<'a>(
    secret: &str,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now_s: u64,
) -> bool {
    let id = header("webhook-id").unwrap_or_default();
    let timestamp = header("webhook-timestamp").unwrap_or_default();
    let given = header("webhook-signature").unwrap_or_default();
    if !timestamp.parse().is_ok_and(|time_s: u64| now_s.abs_diff(time_s) <= 300) {
        return false;
    }
    let key = BASE64.decode(secret.trim_start_matches("whsec_").as_bytes());
    let Some(mut mac) = key.ok().and_then(|key| Hmac::<Sha256>::new_from_slice(&key).ok()) else {
        return false;
    };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    given.split(' ').any(|one| {
        let signature = one.strip_prefix("v1,").and_then(|one| BASE64.decode(one.as_bytes()).ok());
        signature.is_some_and(|signature| mac.clone().verify_slice(&signature).is_ok())
    })
}
