//! JSON objects as lists of members: names are parsed, values stay raw bytes.
//!
//! Values that are not read are not changed: numbers keep their digits, objects their member order.
//! Neither reading nor writing recurses.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object in source order: unescaped name and byte range of the value.
pub type MemberSpans<'a> = Vec<(Cow<'a, str>, Range<usize>)>;

/// Number of members up to which a look-up compares name by name.
const UNSORTED_MAX: usize = 16;

/// The members of one JSON object in source order.
///
/// A look-up in a large object uses an index, so that no object makes its readers quadratic: the
/// senders of webhooks choose how many members there are.
#[derive(Debug, Default)]
pub struct Members<'a> {
    in_order: Vec<(String, &'a RawValue)>,
    /// Positions sorted by name, members of equal names in source order; built by the first look-up.
    by_name: OnceLock<Box<[usize]>>,
}

impl<'a> Members<'a> {
    /// Parses an object; its values are validated but not parsed further.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Iterates over the members in source order; values are JSON text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.in_order.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// Returns the byte ranges of the values in `text`, which must be the parsed text.
    #[must_use]
    pub fn member_spans(&self, text: &str) -> MemberSpans<'_> {
        let offset = |value: &str| value.as_ptr().addr() - text.as_ptr().addr();
        let span = |value: &str| offset(value)..offset(value) + value.len();
        self.iter().map(|(name, value)| (Cow::Borrowed(name), span(value))).collect()
    }

    /// Returns the value of `name` as JSON text; of repeated names the last counts.
    #[must_use]
    pub fn json(&self, name: &str) -> Option<&'a str> {
        self.last(name).map(RawValue::get)
    }

    fn last(&self, name: &str) -> Option<&'a RawValue> {
        if self.in_order.len() <= UNSORTED_MAX {
            let found = self.in_order.iter().rev().find(|(key, _)| key == name);
            return found.map(|(_, value)| *value);
        }
        let name_at = |at: usize| self.in_order.get(at).map(|(name, _)| name.as_str());
        let by_name = self.by_name.get_or_init(|| {
            let mut positions: Box<[usize]> = (0..self.in_order.len()).collect();
            positions.sort_by_key(|at| name_at(*at));
            positions
        });
        let after = by_name.partition_point(|at| name_at(*at) <= Some(name));
        let (key, value) = self.in_order.get(*by_name.get(after.checked_sub(1)?)?)?;
        (key == name).then_some(*value)
    }

    /// Returns the value of `name` if it is an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Members<'a>> {
        self.json(name).and_then(|json| Self::parse(json).ok())
    }

    /// Returns the elements of the list `name`; empty if there is no such list.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.json(name).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Returns the value of `name` if it is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<String> {
        self.json(name).and_then(|json| serde_json::from_str(json).ok())
    }

    /// Returns the value of `name` if it is an id: a string that is not empty, or a number as
    /// written. Jira writes the same id sometimes as one, sometimes as the other.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<String> {
        let json = self.json(name)?;
        let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let id = if is_number { Some(json.to_owned()) } else { self.string(name) };
        id.filter(|id| !id.is_empty())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members { in_order: members, by_name: OnceLock::new() })
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Writes a JSON object member by member.
#[derive(Debug)]
pub struct ObjectWriter(String);

impl ObjectWriter {
    /// Returns an empty object with capacity for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes.saturating_add(2));
        text.push('{');
        Self(text)
    }

    /// Appends a member whose value is JSON text.
    pub fn json(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
    }

    /// Appends a member whose value is a string.
    pub fn text(&mut self, name: &str, text: &str) {
        self.json(name, &quoted(text));
    }

    /// Returns the finished object.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Returns `text` as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_bytes_and_order() {
        let text = r#"{"b": 1.50, "a" : {"z":1,"y":12345678901234567890123}}"#;
        let members = Members::parse(text).unwrap();
        let read: Vec<_> = members.iter().collect();
        assert_eq!(read, [("b", "1.50"), ("a", r#"{"z":1,"y":12345678901234567890123}"#)]);
    }

    #[test]
    fn last_of_repeated_names_counts() {
        assert_eq!(Members::parse(r#"{"a":1,"a":2}"#).unwrap().json("a"), Some("2"));
    }

    #[test]
    fn look_up_in_a_large_object_equals_a_search_from_the_end() {
        let names: Vec<String> = (0..200).map(|n| format!("m{}", n % 150)).collect();
        let text: Vec<String> =
            names.iter().enumerate().map(|(at, name)| format!("\"{name}\":{at}")).collect();
        let text = format!("{{{}}}", text.join(","));
        let members = Members::parse(&text).unwrap();
        for name in names.iter().map(String::as_str).chain(["", "a", "m", "m1000", "z"]) {
            let last = names.iter().rposition(|other| other == name).map(|at| at.to_string());
            assert_eq!(members.json(name), last.as_deref(), "{name}");
        }
        assert!(members.by_name.get().is_some(), "a large object is not searched name by name");
    }

    #[test]
    fn id_is_text_or_a_number_as_written() {
        let members = Members::parse(r#"{"n":10000,"s":"10000","e":"","o":{},"b":true}"#).unwrap();
        assert_eq!(members.id("n").as_deref(), Some("10000"));
        assert_eq!(members.id("s").as_deref(), Some("10000"));
        for name in ["e", "o", "b", "missing"] {
            assert_eq!(members.id(name), None, "{name}");
        }
    }

    #[test]
    fn deep_nesting_is_parsed_without_recursion() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
        assert_eq!(Members::parse(&deep).unwrap().list("a").len(), 1);
    }

    #[test]
    fn text_that_is_not_an_object_is_rejected() {
        for text in ["[]", "1", "", "{", "{} x", "nul"] {
            assert!(Members::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writer_escapes_names_and_text() {
        let mut writer = ObjectWriter::with_capacity(0);
        writer.text("a\"b", "c\nd");
        writer.json("n", "[1]");
        assert_eq!(writer.finish(), r#"{"a\"b":"c\nd","n":[1]}"#);
    }
}
