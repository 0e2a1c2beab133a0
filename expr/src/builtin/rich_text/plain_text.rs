//! `plainText` of RichText.

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type, Value};

/// `plainText` of RichText.
pub(super) struct PlainText;

impl Builtin for PlainText {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "plainText",
        returns: Returns::Always(Type::String),
        doc: "The plain text of the document, one line per block.",
        case: "collections-057",
        examples: &[(
            "new RichText({type: 'paragraph', content: [{type: 'text', text: 'a'}]}).plainText",
            "\"a\"",
        )],
        ..Signature::PROPERTY
    };

    fn call<'v, M: Machine<'v>>(
        _: &mut M,
        text: &Text<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        Ok(Value::String(text.clone()))
    }
}
