//! Shared subexpressions: a conjunct that has no test becomes a column of its own. It is evaluated
//! once per event for all filters that contain it, and leads to them if it is true.
//!
//! Used only for filters without another access predicate, which would be evaluated for every
//! event. If the subexpression fails, the column is undetermined and these filters are evaluated.

use std::sync::Arc;

use switchyard_expr::predicate::Conjunct;
use switchyard_expr::{CheckProfile, Env, EvalScratch, Program, Verdict, compile};

use super::dictionary::ConstantEntry;
use super::ids::{ConstantId, RowId};
use super::values::EventValues;
use crate::event::Decoder;

/// Budget of one evaluation. A subexpression that needs more is undetermined, since the filter
/// could exceed its budget where the subexpression alone does not.
pub(super) const STEPS_MAX: u32 = 512;
/// Most subexpressions of one filter. With budgets this small, they cannot use up the memory limit
/// of an evaluation of the whole filter.
pub(super) const COUNT_MAX: usize = 8;
/// Longest filter whose conjuncts may contain a function. The height of a tree is bounded by the
/// length of its text, so none of them reaches the limit on active functions, alone or together.
const WITH_FUNCTION_BYTES_MAX: usize = 256;

/// A compiled subexpression.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct SharedSubexpression {
    program: Arc<Program>,
    /// Start of its posting list.
    postings: RowId,
}

/// Returns the conjuncts of a filter; none unless there are `count` and each has the same outcome
/// alone as in the filter.
pub(super) fn conjuncts(program: &Program, count: usize) -> Vec<Conjunct> {
    let conjuncts = program.conjuncts();
    // A single function cannot call itself.
    let may_hold_function = program.source_len() <= WITH_FUNCTION_BYTES_MAX;
    let functions_max = usize::from(may_hold_function);
    let is_plain = |conjunct: &Conjunct| conjunct.functions <= functions_max;
    if conjuncts.len() == count && conjuncts.iter().all(is_plain) { conjuncts } else { Vec::new() }
}

/// Compiles a conjunct; none if its value differs between apps.
pub(super) fn compiled(text: &str) -> Option<Program> {
    let program = compile(text, CheckProfile::Filter).ok()?.program;
    (!program.is_app_specific()).then_some(program)
}

impl SharedSubexpression {
    /// The constant of a subexpression that is true: the only one of its column.
    pub(super) fn true_constant() -> ConstantId {
        ConstantId::default()
    }

    pub(super) fn new(program: Arc<Program>, postings: RowId) -> Self {
        Self { program, postings }
    }

    /// Evaluates it and appends the value of its column.
    pub(super) fn read(
        &self,
        decoder: &Decoder,
        env: &Env,
        scratch: &mut EvalScratch,
        values: &mut EventValues,
    ) {
        let start = values.entries.len();
        let env = Env { steps_max: env.steps_max.min(STEPS_MAX), ..*env };
        match self.program.verdict(&decoder.view(false), &env, scratch) {
            Verdict::Match => {
                let constant = Self::true_constant();
                values.entries.push(ConstantEntry { constant, postings: self.postings });
            }
            Verdict::NoMatch => {}
            Verdict::Failed(_) => return values.push_undetermined(),
        }
        values.push_entries_from(start);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Program>() + self.program.heap_bytes()
    }
}
