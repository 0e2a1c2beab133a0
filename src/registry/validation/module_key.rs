//! Validation of module keys.

use crate::registry::model::{Problem, code};

/// Longest accepted module key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Returns the problem of a module key chosen by its author, if there is one.
#[must_use]
pub fn key_problem(key: &str, path: &str) -> Option<Problem> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(legal);
    (!fits).then(|| {
        let message = format!("a key is 1 to {KEY_BYTES_MAX} letters, digits, `_` and `-`");
        Problem::new(code::FORM, path, message)
    })
}

/// Returns the problem of the key of a module that is stored and never routed, if there is one: the key
/// is only shown, so descriptors with other keys than those of the schema load.
pub(super) fn stored_key_problem(key: &str, path: &str) -> Option<Problem> {
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
    (!fits).then(|| {
        let message =
            format!("a key is 1 to {KEY_BYTES_MAX} characters without control characters");
        Problem::new(code::FORM, path, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_stored_modules_may_have_other_characters() {
        for good in ["a.b", "a b", "ä", "{{key}}-panel"] {
            assert!(stored_key_problem(good, "key").is_none(), "{good}");
        }
        for bad in ["", "a\nb", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(stored_key_problem(bad, "key").is_some(), "{bad}");
        }
    }

    #[test]
    fn keys_are_short_and_of_plain_characters() {
        assert!(key_problem("a-B_9", "key").is_none());
        assert!(key_problem(&"k".repeat(KEY_BYTES_MAX), "key").is_none());
        for bad in ["", "a b", "a/b", "ä", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(key_problem(bad, "key").is_some(), "{bad}");
        }
    }
}
