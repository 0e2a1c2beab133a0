//! What of an answer is recorded: no secrets, no bodies of events, and no more than a bound.

use serde_json::{Map, Value};

use crate::audit::Content;

/// Most bytes of a resource in a record.
const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Shown in place of a secret.
const MASK: &str = "***";
/// Ends of the names of members whose texts are secrets. Names are compared in lower case.
const SECRET_ENDS: [&str; 6] =
    ["secret", "token", "password", "credential", "credentials", "authorization"];
/// Members with parts of events and of responses, which may be about people, and must leave with them.
const BODIES: [&str; 6] = ["body", "bodybase64", "headers", "payload", "response", "responses"];
/// Shown in place of these.
const NOT_RECORDED: &str = "(not recorded)";

/// Returns what is recorded of an answer.
pub(super) fn content(mut answer: Value) -> Content {
    redact(&mut answer);
    let bytes = answer.to_string().len();
    match bytes <= CONTENT_BYTES_MAX {
        true => Content::Value(answer),
        false => Content::Omitted(format!(
            "it has {bytes} bytes, more than the {CONTENT_BYTES_MAX} that are recorded"
        )),
    }
}

/// Replaces secrets and bodies. Recursion is bounded by the nesting of answers, which are ours.
fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => redact_members(members),
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn redact_members(members: &mut Map<String, Value>) {
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        if BODIES.contains(&name.as_str()) {
            *value = NOT_RECORDED.into();
        } else if SECRET_ENDS.iter().any(|end| name.ends_with(end)) {
            mask(value);
        } else {
            redact(value);
        }
    }
}

/// Replaces every text in a value.
fn mask(value: &mut Value) {
    match value {
        Value::String(_) => *value = MASK.into(),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => members.values_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_bodies_are_replaced_wherever_they_are() {
        let answer = json!({"id": "a", "token": "swa_1", "hasSecret": true,
            "endpoints": [{"key": "hook", "secret": "whsec_x", "previousSecret": {"value": "y", "untilMs": 1}}],
            "clientSecret": ["z"], "Authorization": "Bearer q", "tokens": 3, "letter": {"body": {"a": "b"},
            "headers": {"x": "y"}, "bodyBase64": "eA=="}});
        let Content::Value(recorded) = content(answer) else { panic!("it is short") };
        assert_eq!(
            recorded,
            json!({"id": "a", "token": "***", "hasSecret": true,
                "endpoints": [{"key": "hook", "secret": "***", "previousSecret": {"value": "***", "untilMs": 1}}],
                "clientSecret": ["***"], "Authorization": "***", "tokens": 3,
                "letter": {"body": "(not recorded)", "headers": "(not recorded)", "bodyBase64": "(not recorded)"}})
        );
    }

    #[test]
    fn content_beyond_the_bound_is_named_and_not_recorded() {
        let of = |bytes: usize| content(json!("x".repeat(bytes - 2)));
        assert!(matches!(of(CONTENT_BYTES_MAX), Content::Value(_)));
        let Content::Omitted(reason) = of(CONTENT_BYTES_MAX + 1) else { panic!("it is long") };
        assert_eq!(reason, "it has 65537 bytes, more than the 65536 that are recorded");
    }
}
