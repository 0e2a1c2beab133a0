//! `JSON.parse()`.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::budget::Budget;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::STEPS_PER_ERROR;
use crate::operator::{ListBuilder, build_map};
use crate::value::{Text, Value};

/// `JSON.parse`.
pub(super) struct JsonParse;

impl Builtin for JsonParse {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "JSON.parse",
        parameters: "text: String",
        returns: Returns::Uninferred("any"),
        doc: "The value of a JSON text.",
        steps: "128, 1 per byte, new values",
        case: "doc-json-002",
        examples: &[("JSON.parse('[1, {\"a\": null}]')", "[1,{\"a\":null}]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        parse(arguments.text(0)?.as_str(), machine.budget())
    }
}

/// Parses JSON text to a value. serde_json limits the nesting to 128.
fn parse<'v>(text: &str, budget: &mut Budget) -> EvalResult<'v> {
    budget.charge(STEPS_PER_ERROR)?;
    budget.charge_each(text.len())?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut fault = None;
    let seed = ValueSeed { budget, fault: &mut fault };
    let parsed = seed.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    });
    parsed.map_err(|error| {
        fault.unwrap_or_else(|| Fault::new(Code::BadJson, format!("The text is not JSON: {error}")))
    })
}

/// Builds values during deserialization. Evaluation errors are kept next to serde_json's errors.
struct ValueSeed<'m, 'v> {
    budget: &'m mut Budget,
    fault: &'m mut Option<Fault<'v>>,
}

impl<'v> ValueSeed<'_, 'v> {
    fn reborrow(&mut self) -> ValueSeed<'_, 'v> {
        ValueSeed { budget: &mut *self.budget, fault: &mut *self.fault }
    }

    fn checked<E: Error>(self, outcome: EvalResult<'v>) -> Result<Value<'v>, E> {
        outcome.map_err(|fault| {
            *self.fault = Some(fault);
            E::custom("limit")
        })
    }

    fn text<E: Error>(self, text: &str) -> Result<Value<'v>, E> {
        let charged = self.budget.charge_text_allocation(text.len());
        self.checked(charged.map(|()| Value::text(text)))
    }
}

impl<'de, 'v> DeserializeSeed<'de> for ValueSeed<'_, 'v> {
    type Value = Value<'v>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'v>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, 'v> Visitor<'de> for ValueSeed<'_, 'v> {
    type Value = Value<'v>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'v>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value<'v>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value<'v>, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of the language are doubles")]
        let number = number as f64;
        Ok(Value::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value<'v>, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of the language are doubles")]
        let number = number as f64;
        Ok(Value::Number(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value<'v>, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'v>, E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value<'v>, A::Error> {
        let mut values = ListBuilder::default();
        while let Some(value) = items.next_element_seed(self.reborrow())? {
            let pushed = values.push(value, self.budget).map(|()| Value::Null);
            self.reborrow().checked(pushed)?;
        }
        let list = values.finish(self.budget);
        self.checked(list)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut items: A) -> Result<Value<'v>, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = items.next_key::<String>()? {
            let charged = self.budget.charge_text_allocation(name.len());
            let charged = charged.and_then(|()| self.budget.charge_growth(2)).map(|()| Value::Null);
            self.reborrow().checked(charged)?;
            let value = items.next_value_seed(self.reborrow())?;
            entries.push((Text::Built(name.into()), value));
        }
        let map = build_map(entries, self.budget);
        self.checked(map)
    }
}
