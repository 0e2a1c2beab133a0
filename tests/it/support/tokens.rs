//! Tokens as the libraries of Connect apps sign them.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use switchyard::domain::Secret;

/// Returns the token of an app, named by `issuer`, for the request with this hash.
pub(crate) fn app_token(secret: &Secret, issuer: &str, qsh: &str, now_s: i64) -> String {
    let header = json!({"typ": "JWT", "alg": "HS256"});
    let claims = json!({"iss": issuer, "iat": now_s, "exp": now_s + 180, "qsh": qsh});
    let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes any key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}
