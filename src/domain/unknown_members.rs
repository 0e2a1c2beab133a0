//! Members of a stored record that this release does not know.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Unknown members of a stored record, kept so that a rewrite does not erase what a newer release
/// stored in the same format. Each stored struct has one, flattened; it takes one pointer.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UnknownMembers(Option<Box<Map<String, Value>>>);

impl UnknownMembers {
    /// Returns the name of one of them, if there are any.
    #[must_use]
    pub fn first_name(&self) -> Option<&str> {
        self.0.as_ref()?.keys().next().map(String::as_str)
    }
}

impl fmt::Debug for UnknownMembers {
    /// Prints names only: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().flat_map(|members| members.keys())).finish()
    }
}

impl Serialize for UnknownMembers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(members) => members.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

impl<'de> Deserialize<'de> for UnknownMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(deserializer)?;
        Ok(Self((!members.is_empty()).then(|| Box::new(members))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_written_as_they_were_read_and_never_printed() {
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct Record {
            known: u8,
            #[serde(flatten)]
            unknown: UnknownMembers,
        }
        let text = r#"{"known":1,"later":{"a":[1,null]}}"#;
        let read: Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.unknown.first_name(), Some("later"));
        assert!(!format!("{read:?}").contains("null"));
        let read: Record = serde_json::from_str(r#"{"known":1}"#).unwrap();
        assert_eq!(read.unknown, UnknownMembers(None));
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"known":1}"#);
    }
}
