//! Submitted data of a module, stored as text.

use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::error;

/// The JSON object submitted for a module, including `key`.
///
/// Shared text: a tree of maps takes ten times the memory, and after compilation only listings read
/// it. Two values are equal if their texts are equal; all texts are written by one serializer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModuleFields(Arc<str>);

impl ModuleFields {
    /// Serializes a value that is an object.
    ///
    /// # Errors
    /// It does not serialize to an object.
    pub(crate) fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        match serde_json::to_value(value)? {
            Value::Object(data) => Ok(data.into()),
            _ => Err(<serde_json::Error as serde::ser::Error>::custom(
                "the data of a module is an object",
            )),
        }
    }

    /// Returns the text of the object.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Parses the object, for a reader who can do nothing about an error.
    #[must_use]
    pub fn read(&self) -> Map<String, Value> {
        self.parse().unwrap_or_else(|error| {
            error!(%error, "stored data of a module cannot be parsed");
            Map::new()
        })
    }

    /// Parses the object.
    ///
    /// # Errors
    /// It is not one that this program accepts, such as a number out of range.
    pub(crate) fn parse(&self) -> Result<Map<String, Value>, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Parses the part described by `T`; none if it does not match.
    pub(crate) fn part<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

impl From<Map<String, Value>> for ModuleFields {
    fn from(data: Map<String, Value>) -> Self {
        Self(Value::Object(data).to_string().into())
    }
}

impl Serialize for ModuleFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ModuleFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if text.get().starts_with('{') {
            Ok(Self(text.get().into()))
        } else {
            Err(D::Error::custom("the data of a module is an object"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_keeps_the_submitted_bytes() {
        let text = r#"{"a":1.50,"b":{"c":[1,"é\n",null]},"key":"k"}"#;
        let data: ModuleFields = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        assert_eq!(Value::Object(data.read())["b"], json!({"c": [1, "é\n", null]}));
        assert_eq!(serde_json::to_value(&data).unwrap()["key"], "k");
    }

    #[test]
    fn data_that_was_stored_equals_the_same_registered_again() {
        let Value::Object(map) = json!({"key": "k", "events": ["e"], "n": 1}) else { panic!() };
        let data = ModuleFields::from(map.clone());
        let stored = serde_json::to_vec(&data).unwrap();
        assert_eq!(serde_json::from_slice::<ModuleFields>(&stored).unwrap(), data);
        assert_eq!(data.read(), map);
    }

    #[test]
    fn only_an_object_is_data() {
        for text in ["[]", "null", "\"{}\"", "1", "{"] {
            assert!(serde_json::from_str::<ModuleFields>(text).is_err(), "{text}");
        }
    }
}
