//! The arguments of a call.

use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::value::{Function, Map, Text, Value};

/// Arguments of a builtin, type-checked on access.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a, 'v> {
    /// Name of the builtin, for messages.
    of: &'static str,
    values: &'a [Value<'v>],
}

impl<'a, 'v> Arguments<'a, 'v> {
    /// The arguments of a call of the builtin `of`.
    pub(super) fn new(of: &'static str, values: &'a [Value<'v>]) -> Self {
        Arguments { of, values }
    }

    /// The argument at `at`, if present.
    pub(crate) fn get(self, at: usize) -> Option<&'a Value<'v>> {
        self.values.get(at)
    }

    /// The argument at `at`.
    pub(crate) fn value(self, at: usize) -> Result<&'a Value<'v>, Fault<'v>> {
        self.get(at).ok_or_else(|| {
            let plural = if at == 0 { "" } else { "s" };
            let message = format!("`{}` needs {} argument{plural}", self.of, at + 1);
            Fault::new(Code::BadArgument, message)
        })
    }

    fn wrong(self, needed: &str, found: &Value<'v>) -> Fault<'v> {
        let found = found.type_of().name();
        Fault::new(Code::BadArgument, format!("`{}` needs a {needed}, found {found}", self.of))
    }

    /// A String argument.
    pub(crate) fn text(self, at: usize) -> Result<&'a Text<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong("String", other)),
        }
    }

    /// A String argument, if present.
    pub(crate) fn optional_text(self, at: usize) -> Result<Option<&'a Text<'v>>, Fault<'v>> {
        if self.get(at).is_none() { Ok(None) } else { self.text(at).map(Some) }
    }

    /// A Number argument.
    pub(crate) fn number(self, at: usize) -> Result<f64, Fault<'v>> {
        match self.value(at)? {
            Value::Number(number) => Ok(*number),
            other => Err(self.wrong("Number", other)),
        }
    }

    /// A Number argument, if present.
    pub(crate) fn optional_number(self, at: usize) -> Result<Option<f64>, Fault<'v>> {
        if self.get(at).is_none() { Ok(None) } else { self.number(at).map(Some) }
    }

    /// A Function argument.
    pub(crate) fn function(self, at: usize) -> Result<&'a Function<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::Function(function) => Ok(function),
            other => Err(self.wrong("Function", other)),
        }
    }

    /// A Map argument.
    pub(crate) fn map(self, at: usize) -> Result<&'a Map<'v>, Fault<'v>> {
        match self.value(at)? {
            Value::Map(map) => Ok(map),
            other => Err(self.wrong("Map", other)),
        }
    }
}
