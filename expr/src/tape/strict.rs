//! The position at which a text stops being JSON, as `serde_json` reports it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::TapeError;

/// Returns the error of a text that is not JSON. Recurses as deep as the part before the error
/// nests, which the tape has bounded.
#[cold]
pub(super) fn error_of(text: &str) -> TapeError {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    match Strict::deserialize(&mut reader).and_then(|_| reader.end()) {
        Err(error) => from_serde(&error),
        Ok(()) => TapeError::Syntax { line: 0, column: 0 },
    }
}

/// Returns the error that `serde_json` reports.
pub(super) fn from_serde(error: &serde_json::Error) -> TapeError {
    let (line, column) = (error.line(), error.column());
    // Its kind is not public.
    match error.to_string().starts_with("number out of range") {
        true => TapeError::Number { line, column },
        false => TapeError::Syntax { line, column },
    }
}

/// Any JSON value, read completely and discarded.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_key::<Strict>()?.is_some() {
            items.next_value::<Strict>()?;
        }
        Ok(self)
    }
}
