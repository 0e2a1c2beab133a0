//! `includes()` of String.

use super::search::search_argument;
use crate::builtin::{
    Arguments, Builtin, EvalResult, IndexTest, Machine, MethodTest, Returns, Signature,
};
use crate::value::{Text, Type, Value};

/// `includes` of String.
pub(super) struct Includes;

impl Builtin for Includes {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "includes",
        parameters: "part: String",
        returns: Returns::Always(Type::Boolean),
        index: Some(IndexTest::Method(MethodTest::Includes)),
        doc: "Whether the text contains the part.",
        steps: "search of both",
        case: "strings-021",
        examples: &[("'abc'.includes('b')", "true"), ("'abc'.includes('')", "true")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (text.as_str(), machine.budget());
        Ok(Value::Bool(text.contains(search_argument(text, arguments, budget)?)))
    }
}
