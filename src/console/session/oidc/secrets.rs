//! What one login is recognised by: made of one secret, which the browser keeps in a cookie.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::domain::Secret;

/// The values of one login.
pub(super) struct LoginSecrets {
    /// The provider returns it in the address.
    pub(super) state: String,
    /// The provider returns it in the token.
    pub(super) nonce: String,
    /// Shows the provider that who has the code began the login.
    pub(super) verifier: Secret,
    /// What the provider gets of the verifier before.
    pub(super) challenge: String,
}

impl LoginSecrets {
    /// Derives the values of a secret, for a login that leads to the page `next`. None says anything of the secret or of
    /// another value.
    pub(super) fn of(secret: &Secret, next: &str) -> Self {
        let derived = |label: &str, of: &str| {
            let text = format!("switchyard oidc\n{label}\n{}\n{of}", secret.reveal());
            BASE64URL_NOPAD.encode(&Sha256::digest(text))
        };
        let verifier = derived("verifier", "");
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&verifier));
        let page = BASE64URL_NOPAD.encode(next.as_bytes());
        let state = format!("{}.{page}", derived("state", next));
        Self { state, nonce: derived("nonce", ""), verifier: Secret::new(verifier), challenge }
    }
}

/// Returns the page that a state leads to; the caller compares the whole state.
pub(super) fn page_of(state: &str) -> Option<String> {
    let (_, page) = state.split_once('.')?;
    String::from_utf8(BASE64URL_NOPAD.decode(page.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ_from_each_other_and_by_secret_and_page() {
        let one = LoginSecrets::of(&Secret::new("a"), "/x");
        assert_eq!(page_of(&one.state).as_deref(), Some("/x"));
        assert_eq!(one.verifier.reveal().len(), 43, "RFC 7636: 43 to 128 characters");
        let other = LoginSecrets::of(&Secret::new("b"), "/x");
        let page = LoginSecrets::of(&Secret::new("a"), "/y");
        assert_ne!(one.state, other.state);
        assert_ne!(one.state, page.state);
        assert_ne!(one.nonce, other.nonce);
        assert_ne!(one.nonce, one.verifier.reveal());
        assert_eq!(one.nonce, page.nonce);
        assert_eq!(page_of("x"), None);
        assert_eq!(page_of("x.!"), None);
    }
}
