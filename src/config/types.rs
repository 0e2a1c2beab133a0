//! The type of a setting: that of its default.

use toml::Value;

/// Returns what is expected instead of `value`, if it is of another type than the default.
pub(super) fn mismatch(default: &Value, value: &Value) -> Option<String> {
    (!fits(default, value)).then(|| expected(default))
}

/// Says what a value is, without it: it may be a secret.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

/// Says what a value is expected to be, with the default as an example.
pub(super) fn expected(default: &Value) -> String {
    match default {
        Value::String(_) => "a text in quotation marks".into(),
        Value::Integer(_) | Value::Float(_) => {
            let kind = if default.is_integer() { "a whole number" } else { "a number" };
            format!("{kind}, such as {default} (the default)")
        }
        Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => kind(default).into(),
        Value::Array(items) if items.iter().any(Value::is_integer) => {
            format!("a list of whole numbers, such as {default} (the default)")
        }
        Value::Array(_) => "a list of texts, such as [\"a\", \"b\"]".into(),
    }
}

fn fits(default: &Value, value: &Value) -> bool {
    match (default, value) {
        // The elements of a list without a default are texts.
        (Value::Array(default), Value::Array(items)) => items
            .iter()
            .all(|item| default.first().map_or(item.is_str(), |default| fits(default, item))),
        (Value::Float(_), Value::Integer(_)) => true,
        (default, value) => default.same_type(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_type_of_the_default() {
        let read = |text: &str| -> Value {
            format!("v = {text}").parse::<toml::Table>().unwrap().remove("v").unwrap()
        };
        for (default, fitting, other) in [
            ("1", "2", "'2'"),
            ("0.5", "1", "'1'"),
            ("true", "false", "1"),
            ("''", "'x'", "1"),
            ("[]", "['x']", "[1]"),
            ("[1]", "[]", "['x']"),
        ] {
            assert_eq!(mismatch(&read(default), &read(fitting)), None, "{default}");
            assert!(mismatch(&read(default), &read(other)).is_some(), "{default}");
        }
    }
}
