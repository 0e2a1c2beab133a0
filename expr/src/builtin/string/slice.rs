//! `slice()` of String.

use crate::builtin::number::slice_range;
use crate::builtin::units::{sliced, units};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// Steps of finding the ends of a slice.
const STEPS_PER_SLICE: u32 = 4;

/// `slice` of String.
pub(super) struct Slice;

impl Builtin for Slice {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "slice",
        parameters: "start: Number, end?: Number",
        returns: Returns::Always(Type::String),
        doc: "The units from start to end; negative positions count from the end.",
        steps: "4, search",
        case: "doc-string-011",
        examples: &[("'abcd'.slice(1, -1)", "\"bc\""), ("'abcd'.slice(-2)", "\"cd\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        receiver: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (receiver.as_str(), machine.budget());
        budget.charge(STEPS_PER_SLICE)?;
        let (start, end) = (arguments.number(0)?, arguments.optional_number(1)?);
        budget.charge_search(text.len())?;
        sliced(receiver, slice_range(start, end, units(text)), budget)
    }
}
