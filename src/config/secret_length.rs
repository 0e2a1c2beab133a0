//! The length of secrets that an operator chooses. Messages never show the secret.

use crate::domain::{SECRET_CHARS_MIN, Secret};

/// Refuses a secret that is empty or can be guessed; `path` is its key.
pub(super) fn check(path: &str, secret: &Secret) -> Result<(), String> {
    match secret.chars() {
        0 => Err(format!(
            "`{path}` is empty, so that it protects nothing; make one with `openssl rand -hex 32`, or remove the key"
        )),
        chars if secret.is_short() => Err(format!(
            "`{path}` has {chars} characters; it must have at least {SECRET_CHARS_MIN}, such as from `openssl rand -hex 32`"
        )),
        _ => Ok(()),
    }
}

/// As [`check`]; an empty one means that there is no secret.
pub(super) fn check_optional(path: &str, secret: &Secret) -> Result<(), String> {
    if secret.is_empty() { Ok(()) } else { check(path, secret) }
}
