//! The id of a session, which the browser has, and its key, by which it is stored.

use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::domain::Secret;
use crate::sessions::{Credential, SessionKey};

/// Random bytes of an id and of other secrets.
const SECRET_BYTES: usize = 32;
/// Hex digits of the digest of an owner.
const OWNER_DIGITS: usize = 32;

/// Returns a random text.
///
/// # Errors
/// The system provides no random bytes.
pub(super) fn random_text() -> Result<Secret, String> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes).map_err(|_| "the system provides no random bytes".to_owned())?;
    Ok(Secret::new(BASE64URL_NOPAD.encode(&bytes)))
}

/// Returns the SHA-256 of a text, in hex.
pub(super) fn digest(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Returns the digest of whose session it is.
pub(super) fn owner(credential: &Credential, caller: &str) -> String {
    let (kind, name) = match credential {
        Credential::Token { .. } => ("token", caller),
        Credential::Oidc { subject, .. } => ("oidc", subject.as_str()),
    };
    let mut digits = digest(&format!("{kind}\n{name}"));
    digits.truncate(OWNER_DIGITS);
    digits
}

/// Returns the value of the cookie of a session.
pub(super) fn cookie_value(id: &Secret, owner: &str) -> String {
    format!("{}.{owner}", id.reveal())
}

/// Returns where the session of a cookie is stored; none if it has another form.
pub(super) fn key_of(cookie: &str) -> Option<SessionKey> {
    let (id, owner) = cookie.split_once('.')?;
    let is_id =
        BASE64URL_NOPAD.decode(id.as_bytes()).is_ok_and(|bytes| bytes.len() == SECRET_BYTES);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_owner = owner.len() == OWNER_DIGITS && owner.bytes().all(is_hex);
    (is_id && is_owner).then(|| SessionKey { owner: owner.to_owned(), id: digest(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_leads_to_the_digest_of_its_id() {
        let (id, other) = (random_text().unwrap(), random_text().unwrap());
        assert_ne!(id, other);
        let credential = Credential::Token { sha256: "x".into() };
        let owner = owner(&credential, "ci");
        let value = cookie_value(&id, &owner);
        let key = key_of(&value).unwrap();
        assert_eq!((key.owner, key.id), (owner, digest(id.reveal())));
        assert!(!value.contains(&digest(id.reveal())));
        for wrong in
            ["", ".", "x.y", &value[1..], &value[..value.len() - 1], "a.b.*", &format!("{value}>")]
        {
            assert_eq!(key_of(wrong), None, "{wrong}");
        }
    }
}
