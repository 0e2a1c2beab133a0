//! Rules for the secrets in requests of operators.

use data_encoding::BASE64;

use crate::domain::{ISSUED_SECRET_CHARS_MIN, SECRET_CHARS_MIN, Secret};
use crate::registry::model::{ENCRYPTED, Problem, code};

/// Prefix of a secret of Standard Webhooks, which is not part of the key.
const PREFIX: &str = "whsec_";

/// Returns the problem of a signing secret that an operator chooses. Without one, one is generated.
///
/// **Source:** Standard Webhooks: a key of at least 24 bytes, so 32 characters of base64.
pub(crate) fn signing_secret_problem(secret: Option<&Secret>, path: &str) -> Option<Problem> {
    let text = secret?.reveal();
    let key = text.strip_prefix(PREFIX).unwrap_or(text);
    let problem = |message: String| {
        let help = "leave it out, and a secret is generated";
        Some(Problem::new(code::FORM, path, message).with_help(help))
    };
    let chars = key.chars().count();
    if chars < SECRET_CHARS_MIN {
        return problem(format!(
            "a secret has at least {SECRET_CHARS_MIN} characters, without `{PREFIX}`; this one has {chars}"
        ));
    }
    match BASE64.decode(key.as_bytes()) {
        Ok(_) => None,
        Err(_) => problem(format!(
            "a secret is base64 with padding, with or without `{PREFIX}` before it, as the libraries of Standard Webhooks read it"
        )),
    }
}

/// Returns the problem of a secret that a vendor issued.
pub(crate) fn issued_secret_problem(secret: Option<&Secret>, path: &str) -> Option<Problem> {
    let secret = secret?;
    if secret.reveal().starts_with(ENCRYPTED) {
        let message =
            format!("a secret does not begin with `{ENCRYPTED}`, which marks encrypted ones");
        return Some(Problem::new(code::FORM, path, message));
    }
    let chars = secret.chars();
    (chars < ISSUED_SECRET_CHARS_MIN).then(|| {
        let message = format!(
            "a secret has at least {ISSUED_SECRET_CHARS_MIN} characters; this one has {chars}"
        );
        Problem::new(code::FORM, path, message)
    })
}

/// Returns the warning of a secret that a vendor issued and that is short.
pub(crate) fn issued_secret_warning(secret: Option<&Secret>, path: &str) -> Option<Problem> {
    let secret = secret?;
    secret.is_short().then(|| {
        let message = format!(
            "the secret has {} characters; with less than {SECRET_CHARS_MIN} it may be guessed",
            secret.chars()
        );
        Problem::new(code::FORM, path, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Option<String> {
        signing_secret_problem(Some(&Secret::new(text)), "p").map(|problem| problem.sentence())
    }

    #[test]
    fn chosen_secret_is_long_enough_and_readable_by_receivers() {
        let key = BASE64.encode(&[7; 24]);
        for good in [key.clone(), format!("whsec_{key}"), BASE64.encode(&[7; 64])] {
            assert_eq!(message(&good), None, "{good}");
        }
        for short in ["", "whsec_", "short", &key[1..], "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="] {
            let found = message(short).unwrap();
            assert!(
                found.contains("at least 32 characters") && found.contains("generated"),
                "{found}"
            );
            assert!(short.len() < 8 || !found.contains(short), "{found}");
        }
        let odd = message("not base64, but a long text of words");
        assert!(odd.unwrap().contains("base64"));
        assert_eq!(signing_secret_problem(None, "p"), None);
    }

    #[test]
    fn issued_secret_is_refused_below_8_and_warned_of_below_32_characters() {
        let found = |length: usize| {
            let secret = Secret::new("x".repeat(length));
            let problem = issued_secret_problem(Some(&secret), "p").is_some();
            (problem, issued_secret_warning(Some(&secret), "p").is_some())
        };
        assert_eq!(
            [0, 7, 8, 31, 32].map(found).map(|(problem, _)| problem),
            [true, true, false, false, false]
        );
        assert_eq!([8, 31, 32].map(found).map(|(_, warning)| warning), [true, true, false]);
    }
}
