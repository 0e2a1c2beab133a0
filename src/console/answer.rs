//! Members of answers of the operator API, as pages read them. A missing member reads as nothing.

use serde_json::Value;

/// Reads members of a JSON object.
pub(super) trait Members {
    /// Returns a text; "" if there is none.
    fn text(&self, name: &str) -> &str;
    /// Returns a number; 0 if there is none.
    fn number(&self, name: &str) -> u64;
    /// Returns a number with a fraction, if there is one.
    fn decimal(&self, name: &str) -> Option<f64>;
    /// Whether a member is `true`.
    fn flag(&self, name: &str) -> bool;
    /// Returns the elements of an array.
    fn list(&self, name: &str) -> &[Value];
    /// Returns a member; null if there is none.
    fn part(&self, name: &str) -> &Value;
    /// Returns the names and values of an object that is a member.
    fn entries(&self, name: &str) -> Vec<(&str, &Value)>;
}

impl Members for Value {
    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn decimal(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Value::as_f64)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn part(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }

    fn entries(&self, name: &str) -> Vec<(&str, &Value)> {
        let members = self.get(name).and_then(Value::as_object).into_iter().flatten();
        members.map(|(name, value)| (name.as_str(), value)).collect()
    }
}

/// Returns a JSON value as people read it: a text without quotes, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
