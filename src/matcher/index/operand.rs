//! An operand that no test describes, as a column of its own: it is evaluated once an event for all
//! filters that ask it, and leads to them if it holds.
//!
//! Only filters that nothing else leads to are asked so: they would be evaluated for each event. If
//! the operand fails, the column is in trouble and they are.

use switchyard_expr::{CheckProfile, Env, EvalScratch, Program, Verdict, compile, operands};

use super::column::States;
use super::dictionary::{Entry, Symbol};
use crate::event::Decoder;

/// Most steps of an evaluation; one that needs more is trouble, since the filter that it is part of
/// could run out of steps where it alone does not.
pub(super) const STEPS_MAX: u32 = 512;
/// Most operands of one filter. With so few steps each, they cannot use up the memory that an
/// evaluation of all of them may take.
pub(super) const COUNT_MAX: usize = 8;
/// Longest filter whose operands may hold a function. Trees are no higher than their text is long,
/// so that none of it reaches the bound on active functions, alone or together.
const WITH_FUNCTION_BYTES_MAX: usize = 256;

/// The symbol of an operand that holds.
pub(super) const HOLDS: Symbol = 0;

/// A compiled operand.
#[derive(Debug)]
pub(super) struct Operand {
    program: Program,
    /// Start of the run of rows that it leads to.
    run: u32,
}

/// The texts of the operands of the top-level `&&` of a filter; none if there are not as many as
/// `count`, or if one alone could say something else than as part of the filter.
pub(super) fn texts(source: &str, count: usize) -> Vec<String> {
    let texts = operands(source).unwrap_or_default();
    // A function that is alone cannot call itself.
    let may_hold_function = source.len() <= WITH_FUNCTION_BYTES_MAX;
    let functions_max = usize::from(may_hold_function);
    let is_plain = |text: &String| text.matches("=>").count() <= functions_max;
    if texts.len() == count && texts.iter().all(is_plain) { texts } else { Vec::new() }
}

/// The program of an operand, if it says the same to all apps.
pub(super) fn compiled(text: &str) -> Option<Program> {
    let program = compile(text, CheckProfile::Filter).ok()?.program;
    (!program.reads_self_generated()).then_some(program)
}

impl Operand {
    pub(super) fn new(program: Program, run: u32) -> Self {
        Self { program, run }
    }

    /// Evaluates it and appends the state of its column.
    pub(super) fn read(
        &self,
        decoder: &Decoder,
        env: &Env,
        scratch: &mut EvalScratch,
        states: &mut States,
    ) {
        let env = Env { steps_max: env.steps_max.min(STEPS_MAX), ..*env };
        match self.program.verdict(&decoder.view(false), &env, scratch) {
            Verdict::Match => states.operand(Some(Entry { symbol: HOLDS, run: self.run })),
            Verdict::NoMatch => states.operand(None),
            Verdict::Failed(_) => states.trouble(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.program.heap_bytes()
    }
}
