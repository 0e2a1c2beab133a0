//! `split()` of String.

use super::search::charge_substring_search;
use crate::budget::Budget;
use crate::builtin::units::{built, part};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::{ListBuilder, build_list};
use crate::value::{Text, Type, Value};

/// `split` of String.
pub(super) struct Split;

impl Builtin for Split {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "split",
        parameters: "separator?: String",
        returns: Returns::Always(Type::List),
        doc: "The parts between separators; without one the whole text, with an empty one its \
            units.",
        steps: "search of both, 1 per part, new list",
        case: "doc-string-005",
        examples: &[
            ("'a,b'.split(',')", "[\"a\",\"b\"]"),
            ("'ab'.split('')", "[\"a\",\"b\"]"),
            ("'ab'.split()", "[\"ab\"]"),
        ],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        receiver: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (receiver.as_str(), machine.budget());
        match arguments.optional_text(0)?.map(Text::as_str) {
            None => build_list(vec![Value::String(receiver.clone())], budget),
            Some("") => split_units(text, budget),
            Some(separator) => {
                charge_substring_search(text, separator, budget)?;
                let mut parts = ListBuilder::default();
                for piece in text.split(separator) {
                    budget.charge(1)?;
                    let piece = part(receiver, piece, budget)?;
                    parts.push(piece, budget)?;
                }
                parts.finish(budget)
            }
        }
    }
}

fn split_units<'v>(text: &str, budget: &mut Budget) -> EvalResult<'v> {
    let mut units = ListBuilder::default();
    for unit in text.encode_utf16() {
        let unit = built(&String::from_utf16_lossy(&[unit]), budget)?;
        units.push(unit, budget)?;
    }
    units.finish(budget)
}
