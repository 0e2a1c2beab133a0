//! Searches the submitted data of a module without building a tree of it: lists search those of all modules.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::module_fields::ModuleFields;

impl ModuleFields {
    /// Whether a string of the data, at any depth, has `text` in it; names of members do not count.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        // All texts are written by one serializer, so that what it writes for a part of a string is in what it writes
        // for the string. Nearly all modules are left out by this.
        let written = serde_json::Value::from(text).to_string();
        let Some(written) = written.get(1..written.len().saturating_sub(1)) else { return false };
        self.text().contains(written) && self.has_string_with(text)
    }

    fn has_string_with(&self, text: &str) -> bool {
        let mut reader = serde_json::Deserializer::from_str(self.text());
        // Data that cannot be read has no strings.
        HasText(text).deserialize(&mut reader).unwrap_or(false)
    }
}

/// Finds a string that has a text. The parser bounds the nesting.
#[derive(Clone, Copy)]
struct HasText<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for HasText<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HasText<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, found: &str) -> Result<bool, E> {
        Ok(found.contains(self.0))
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut has_text = false;
        while let Some(found) = items.next_element_seed(self)? {
            has_text |= found;
        }
        Ok(has_text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut has_text = false;
        while members.next_key::<IgnoredAny>()?.is_some() {
            has_text |= members.next_value_seed(self)?;
        }
        Ok(has_text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn strings_at_any_depth_are_searched_and_names_are_not() {
        let Value::Object(data) = json!({
            "key": "k\"1", "list": [1, -2, 1.5, null, true, {"deep": ["line\nbreak", "é"]}],
        }) else {
            panic!("an object")
        };
        let data = ModuleFields::from(data);
        for text in ["k\"1", "k", "line\nbreak", "e\nb", "é", ""] {
            assert!(data.has_text(text), "{text:?}");
        }
        for text in ["list", "deep", "key", "true", "1.5", "null", "k1", "\\n"] {
            assert!(!data.has_text(text), "{text:?}");
        }
    }
}
