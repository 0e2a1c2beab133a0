//! Tests of states that the compiler rules out: they fail the evaluation instead of changing it.

use std::sync::Arc;

use super::{EvalScratch, Verdict};
use crate::diagnostic::Code;
use crate::env::Env;
use crate::frontend::compile;
use crate::profile::CheckProfile;
use crate::program::{Op, ProgramTemplate};
use crate::tape::{Tape, TapeLimits};

/// The code that a filter fails with, after `damage` to its compiled form.
fn code_of(source: &str, damage: fn(&mut ProgramTemplate)) -> Option<Code> {
    let mut program = compile(source, CheckProfile::Filter).unwrap().program;
    damage(Arc::get_mut(&mut program.template).unwrap());
    let mut event = Tape::new();
    event.parse(br#"{"a": "x", "xs": [1]}"#, &TapeLimits::default()).unwrap();
    match program.verdict(&event, &Env::at(0), &mut EvalScratch::new()) {
        Verdict::Failed(error) => Some(error.code),
        Verdict::Match | Verdict::NoMatch => None,
    }
}

#[test]
fn an_index_outside_of_its_table_is_an_internal_error() {
    let filter = "let y = 1.5; event.a == 'x' && [null].includes(event.xs.map(x => y).length)";
    assert_eq!(code_of(filter, |_| {}), None);
    let damages: [fn(&mut ProgramTemplate); 6] = [
        |template| template.names = Box::default(),
        |template| template.literals = Box::default(),
        |template| template.lists = Box::default(),
        |template| template.variables = Box::default(),
        |template| template.lambdas = Box::default(),
        |template| template.main.start = u32::MAX,
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        assert_eq!(code_of(filter, damage), Some(Code::Internal), "{at}");
    }
}

#[test]
fn try_does_not_catch_an_internal_error() {
    let filter = "try { event.a == 1.5 } catch (e) { true }";
    let damage = |template: &mut ProgramTemplate| template.literals = Box::default();
    assert_eq!(code_of(filter, damage), Some(Code::Internal));
}

#[test]
fn an_operator_without_operands_is_an_internal_error() {
    let damage = |template: &mut ProgramTemplate| {
        let binary = template.ops.iter().find(|op| matches!(op, Op::Binary(_))).copied();
        template.ops = binary.into_iter().collect();
        template.spans = template.spans.iter().take(1).copied().collect();
    };
    assert_eq!(code_of("event.a == 'x'", damage), Some(Code::Internal));
}
