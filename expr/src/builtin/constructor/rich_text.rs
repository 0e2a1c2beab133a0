//! `new RichText()`.

use crate::budget::Budget;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::fault::Fault;
use crate::text::TextBuilder;
use crate::value::{Map, Text, Type, Value};
use crate::view::View;

/// `new RichText`.
pub(super) struct RichText;

impl Builtin for RichText {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "new RichText",
        parameters: "document: Map",
        returns: Returns::Always(Type::RichText),
        doc: "The text of an Atlassian document.",
        steps: "8 per node, new text",
        case: "collections-057",
        examples: &[(
            "new RichText({type: 'paragraph', content: [{type: 'text', text: 'a'}]})",
            "\"a\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let view = machine.view();
        rich_text(arguments.map(0)?, view, machine.budget())
    }
}

/// Steps for each node of a document, which pay for its lookups.
const STEPS_PER_BLOCK: u32 = 8;

/// `new RichText(document)`: the text of an Atlassian document, one line per block.
fn rich_text<'v, V: View>(document: &Map<'v>, view: &'v V, budget: &mut Budget) -> EvalResult<'v> {
    let mut out = TextBuilder::new(budget)?;
    write_document(document, view, budget, &mut out)?;
    let text = out.into_string();
    Ok(Value::RichText(Text::Built(text.trim_end().into())))
}

fn write_document<'v, V: View>(
    document: &Map<'v>,
    view: &'v V,
    budget: &mut Budget,
    out: &mut TextBuilder,
) -> Result<(), Fault<'v>> {
    budget.charge(STEPS_PER_BLOCK)?;
    let kind = document.get(view, "type");
    let kind = match &kind {
        Some(Value::String(kind)) => kind.as_str(),
        _ => "",
    };
    match (kind, document.get(view, "text")) {
        ("text", Some(Value::String(text))) => out.push(text.as_str(), budget)?,
        ("hardBreak", _) => out.push("\n", budget)?,
        _ => {}
    }
    if let Some(Value::List(content)) = document.get(view, "content") {
        for child in content.iter(view) {
            budget.charge(1)?;
            if let Value::Map(child) = child {
                write_document(&child, view, budget, out)?;
            }
        }
        if matches!(kind, "paragraph" | "heading" | "codeBlock") {
            out.push("\n", budget)?;
        }
    }
    Ok(())
}
