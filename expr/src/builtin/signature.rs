//! The signature of a builtin, and the trait that its file implements.

use std::fmt;

use super::arguments::Arguments;
use super::machine::{EvalResult, Machine};
use crate::value::Type;

/// A builtin property, method, function or constructor: one file each.
pub(super) trait Builtin {
    /// The type of the receiver; `()` for functions and constructors.
    type Receiver<'v>;

    /// What the checker, the index, the cost formula and the manual need to know.
    const SIGNATURE: Signature;

    /// Evaluates the builtin. Both evaluators call it, so both charge the same steps.
    ///
    /// # Errors
    /// Arguments of a wrong type, and exceeded limits.
    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        receiver: &Self::Receiver<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v>;
}

/// The signature of a builtin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    /// The name in the source: `trim`, `JSON.parse`, `new Date`.
    pub(crate) name: &'static str,
    /// How the builtin is used.
    pub(crate) form: Form,
    /// The parameters, for the manual: `start: Number, end?: Number`.
    pub(crate) parameters: &'static str,
    /// The result.
    pub(crate) returns: Returns,
    /// How it calls a function argument.
    pub(crate) callback: Callback,
    /// Whether its first argument is a regular expression.
    pub(crate) takes_pattern: bool,
    /// The test that an index can make of it.
    pub(crate) index: Option<IndexTest>,
    /// One sentence for the manual.
    pub(crate) doc: &'static str,
    /// Steps in addition to those of the member and the call, for the manual.
    pub(crate) steps: &'static str,
    /// The case of the corpus that shows it; empty if its own examples have to do.
    pub(crate) case: &'static str,
    /// Expressions with their values as JSON; tests evaluate them.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// How a builtin is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Read: `text.length`.
    Property,
    /// Called: `text.trim()`, `Number(x)`, `new Date()`.
    Call,
}

/// The result of a builtin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Returns {
    /// Always a value of this type.
    Always(Type),
    /// A value of this type, or null.
    Nullable(Type),
    /// The checker infers no type; the manual shows this text.
    Uninferred(&'static str),
}

/// How a builtin calls a function argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Callback {
    /// Not at all, or not for the elements of a list.
    None,
    /// For each element of the receiver.
    EachElement,
    /// For each element until the result has this truth, which is then the result.
    Until(bool),
}

/// A test that an index can make in place of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexTest {
    /// A test of the receiver with a constant argument.
    Method(MethodTest),
    /// Whether an item of a list has constant members.
    Some,
}

/// A method that tests its receiver with one argument, and that an index can decide if the argument
/// is a constant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MethodTest {
    /// `includes`: list membership, or substring search if both are text.
    Includes,
}

/// Formats the name of the method.
impl fmt::Display for MethodTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MethodTest::Includes => "includes",
        })
    }
}

impl Signature {
    /// A call without parameters; a file sets the fields that differ.
    pub(super) const CALL: Signature = Signature {
        name: "",
        form: Form::Call,
        parameters: "",
        returns: Returns::Uninferred("any"),
        callback: Callback::None,
        takes_pattern: false,
        index: None,
        doc: "",
        steps: "",
        case: "",
        examples: &[],
    };

    /// A property.
    pub(super) const PROPERTY: Signature = Signature { form: Form::Property, ..Signature::CALL };
}

/// Defines the table of a family: the signatures in the order of the manual, and the call of a
/// builtin by its index there.
macro_rules! builtins {
    ($receiver:ty; $($file:ident::$name:ident),+ $(,)?) => {
        #[derive(Clone, Copy)]
        enum Row { $($name),+ }

        const ROWS: &[Row] = &[$(Row::$name),+];

        /// The signatures of the family, in the order of the manual.
        pub(super) const SIGNATURES: &[&$crate::builtin::Signature] =
            &[$(&<$file::$name as $crate::builtin::Builtin>::SIGNATURE),+];

        /// Calls the builtin at `index`.
        pub(super) fn call<'v, M: $crate::builtin::Machine<'v>>(
            index: u8,
            machine: &mut M,
            receiver: &$receiver,
            arguments: &[$crate::value::Value<'v>],
        ) -> $crate::builtin::EvalResult<'v> {
            use $crate::builtin::{Arguments, Builtin};
            match ROWS.get(usize::from(index)) {
                $(Some(Row::$name) => {
                    let arguments = Arguments::new($file::$name::SIGNATURE.name, arguments);
                    $file::$name::call(machine, receiver, arguments)
                })+
                None => Err($crate::fault::Fault::internal("a builtin is not in its table")),
            }
        }
    };
}

pub(super) use builtins;
