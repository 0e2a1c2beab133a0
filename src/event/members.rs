//! A JSON object as its members: names are read, values stay the bytes they arrived as.
//!
//! What this module does not look into it does not change: numbers keep their digits, objects their
//! order. Neither reading nor writing recurses, whatever the nesting.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Where the members of an object stand: their names, unescaped, and the bytes of their values, in
/// the order written.
pub type MemberSpans<'a> = Vec<(Cow<'a, str>, Range<usize>)>;

/// The members of one JSON object, in the order written.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object; its values are checked to be JSON but not taken apart.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Members in the order written, values as JSON text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// Where they stand in `text`, which they were read from.
    #[must_use]
    pub fn member_spans(&self, text: &str) -> MemberSpans<'_> {
        let offset = |value: &str| value.as_ptr().addr() - text.as_ptr().addr();
        let span = |value: &str| offset(value)..offset(value) + value.len();
        self.iter().map(|(name, value)| (Cow::Borrowed(name), span(value))).collect()
    }

    /// The value of `name` as JSON text; of repeated names the last counts.
    #[must_use]
    pub fn json(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }

    /// The value of `name` if it is an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Members<'a>> {
        self.json(name).and_then(|json| Self::parse(json).ok())
    }

    /// The values in the list `name`; empty if there is no such list.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.json(name).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// The value of `name` if it is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<String> {
        self.json(name).and_then(|json| serde_json::from_str(json).ok())
    }

    /// The value of `name` if it is an id: text that is not empty, or a number as written. Jira
    /// writes the same id now as one, now as the other.
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
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Writes a JSON object member by member.
#[derive(Debug)]
pub struct ObjectWriter(String);

impl ObjectWriter {
    /// An empty object with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes.saturating_add(2));
        text.push('{');
        Self(text)
    }

    /// Adds a member whose value is JSON already.
    pub fn json(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
    }

    /// Adds a member whose value is text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.json(name, &quoted(text));
    }

    /// The object.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Text as a JSON string.
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
    fn id_is_text_or_a_number_as_written() {
        let members = Members::parse(r#"{"n":10000,"s":"10000","e":"","o":{},"b":true}"#).unwrap();
        assert_eq!(members.id("n").as_deref(), Some("10000"));
        assert_eq!(members.id("s").as_deref(), Some("10000"));
        for name in ["e", "o", "b", "missing"] {
            assert_eq!(members.id(name), None, "{name}");
        }
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
        assert_eq!(Members::parse(&deep).unwrap().list("a").len(), 1);
    }

    #[test]
    fn text_that_is_no_object_is_refused() {
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
