//! `matchAll()` of String.

use crate::builtin::regexp::{PatternMatches, compiled_pattern, groups};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::ListBuilder;
use crate::value::{Text, Type};

/// `matchAll` of String.
pub(super) struct MatchAll;

impl Builtin for MatchAll {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "matchAll",
        parameters: "pattern: String",
        returns: Returns::Always(Type::List),
        takes_pattern: true,
        doc: "All matches, each with its groups.",
        steps: "search by pattern, new lists",
        case: "strings-042",
        examples: &[("'a1b2'.matchAll('[0-9]')", "[[\"1\"],[\"2\"]]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let text = text.as_str();
        let mut matches = PatternMatches::new(compiled_pattern(machine, arguments)?, text);
        let mut all = ListBuilder::default();
        while let Some((_, captures)) = matches.next(machine.budget())? {
            let groups = groups(text, &captures, machine.budget())?;
            all.push(groups, machine.budget())?;
        }
        all.finish(machine.budget())
    }
}
