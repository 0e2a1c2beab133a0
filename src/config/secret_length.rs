//! The length of secrets that an operator chooses. Messages never show the secret.

/// Fewest characters of such a secret.
const CHARS_MIN: usize = 32;

/// Refuses a secret that is empty or can be guessed; `path` is its key.
pub(super) fn check(path: &str, secret: &str) -> Result<(), String> {
    match secret.chars().count() {
        0 => Err(format!(
            "`{path}` is empty, so that it protects nothing; make one with `openssl rand -hex 32`, or remove the key"
        )),
        chars if chars < CHARS_MIN => Err(format!(
            "`{path}` has {chars} characters; it must have at least {CHARS_MIN}, such as from `openssl rand -hex 32`"
        )),
        _ => Ok(()),
    }
}

/// As [`check`]; an empty text means that there is no secret.
pub(super) fn check_optional(path: &str, secret: &str) -> Result<(), String> {
    if secret.is_empty() { Ok(()) } else { check(path, secret) }
}
