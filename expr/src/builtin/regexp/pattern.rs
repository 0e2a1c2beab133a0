//! Regular expressions with bounded cost: every byte they read is charged.
//!
//! A pattern whose automaton is small is compiled to a DFA, and a byte costs one table lookup.
//! Other patterns, and the capture groups of a match, are found by NFA simulation, whose cost grows
//! with the number of states. Neither backtracks.

use std::ops::Range;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures, pikevm::PikeVM};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::budget::Budget;
use crate::fault::Fault;
use crate::limits::{REGEX_BYTES_MAX, REGEX_DFA_BYTES_MAX};

/// Bytes that are charged before they are read.
const CHUNK_BYTES: usize = 64;
/// Bytes that a DFA reads for one step.
const DFA_BYTES_PER_STEP: usize = 4;
/// Steps for eight visits of a state at a byte by the NFA simulation.
const STEPS_PER_EIGHT_STATES: usize = 5;

/// The error of a pattern whose automaton exceeds the limit.
const TOO_LARGE: &str = "the pattern is too large";

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    dfa: Option<DfaPair>,
    pike_vm: PikeVM,
}

/// A DFA that finds the end of a match, and a reverse DFA that finds its start.
#[derive(Debug)]
struct DfaPair {
    forward: dense::DFA<Vec<u32>>,
    reverse: dense::DFA<Vec<u32>>,
}

/// Byte ranges of a match and its groups; none for a group that did not participate.
pub(in crate::builtin) type CaptureSpans = Vec<Option<Range<usize>>>;

impl Pattern {
    /// Compiles a pattern literal of a source, which is used for many events.
    ///
    /// # Errors
    /// What is wrong with the pattern, in one line.
    pub(crate) fn with_dfa(pattern: &str) -> Result<Pattern, String> {
        let hir = syntax::parse(pattern).map_err(|error| last_line(&error.to_string()))?;
        let pike_vm = pike_vm(&automaton(&hir, WhichCaptures::All, false)?)?;
        let dfa = DfaPair::of(pike_vm.get_nfa(), &hir);
        Ok(Pattern { dfa, pike_vm })
    }

    /// Compiles a pattern that an expression builds during evaluation. It takes less time and
    /// searches slower.
    ///
    /// # Errors
    /// What is wrong with the pattern, in one line.
    pub(crate) fn without_dfa(pattern: &str) -> Result<Pattern, String> {
        let hir = syntax::parse(pattern).map_err(|error| last_line(&error.to_string()))?;
        let pike_vm = pike_vm(&automaton(&hir, WhichCaptures::All, false)?)?;
        Ok(Pattern { dfa: None, pike_vm })
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let dfa = self.dfa.as_ref();
        self.pike_vm.get_nfa().memory_usage()
            + dfa.map_or(0, |dfa| dfa.forward.memory_usage() + dfa.reverse.memory_usage())
    }

    /// Returns the first match from `from` on, with its groups.
    pub(in crate::builtin) fn find<'v>(
        &self,
        text: &str,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<CaptureSpans>, Fault<'v>> {
        let Some(dfa) = &self.dfa else {
            return self.run_nfa(Input::new(text).range(from..), budget);
        };
        let Some(whole) = dfa.find(text, from, budget)? else { return Ok(None) };
        if self.pike_vm.get_nfa().group_info().explicit_slot_len() == 0 {
            return Ok(Some(vec![Some(whole)]));
        }
        self.run_nfa(Input::new(text).range(whole).anchored(Anchored::Yes), budget)
    }

    fn run_nfa<'v>(
        &self,
        input: Input<'_>,
        budget: &mut Budget,
    ) -> Result<Option<CaptureSpans>, Fault<'v>> {
        let nfa = self.pike_vm.get_nfa();
        let slots = nfa.group_info().slot_len();
        // Each state carries the slots of all groups.
        let states = nfa.states().len().saturating_mul(slots / 2);
        let visits = states.saturating_mul(input.get_span().len());
        budget.charge_each(visits.saturating_mul(STEPS_PER_EIGHT_STATES) / 8)?;
        // Two sets of states, each with two indexes and the slots of every state.
        budget.charge_allocation(2 * states.saturating_mul(size_of::<usize>() * 3))?;
        let mut cache = self.pike_vm.create_cache();
        let mut captures = vec![None; slots];
        if self.pike_vm.search_slots(&mut cache, &input, &mut captures).is_none() {
            return Ok(None);
        }
        let group = |pair: &[Option<_>]| match pair {
            [Some(start), Some(end)] => {
                let (start, end): (&regex_automata::util::primitives::NonMaxUsize, _) =
                    (start, end);
                Some(start.get()..end.get())
            }
            _ => None,
        };
        Ok(Some(captures.chunks(2).map(group).collect()))
    }
}

impl DfaPair {
    /// Returns none if a DFA would exceed its limit: the number of states can grow exponentially.
    fn of(nfa: &NFA, hir: &regex_syntax::hir::Hir) -> Option<DfaPair> {
        let config = dense::Config::new()
            .accelerate(false)
            .dfa_size_limit(Some(REGEX_DFA_BYTES_MAX))
            .determinize_size_limit(Some(REGEX_DFA_BYTES_MAX));
        let unanchored = config.clone().start_kind(StartKind::Unanchored);
        let forward = dense::Builder::new().configure(unanchored).build_from_nfa(nfa).ok()?;
        let anchored = config.start_kind(StartKind::Anchored).match_kind(MatchKind::All);
        let backward = automaton(hir, WhichCaptures::None, true).ok()?;
        let reverse = dense::Builder::new().configure(anchored).build_from_nfa(&backward).ok()?;
        Some(DfaPair { forward, reverse })
    }

    fn find<'v>(
        &self,
        text: &str,
        mut from: usize,
        budget: &mut Budget,
    ) -> Result<Option<Range<usize>>, Fault<'v>> {
        while let Some(end) = self.end(text.as_bytes(), from, budget)? {
            let start = self.start(text.as_bytes(), from..end, budget)?;
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                return Ok(Some(start..end));
            }
            // An empty match inside a character is not a match.
            from = next_char(text, end);
        }
        Ok(None)
    }

    /// Returns the end of the first match.
    fn end<'v>(
        &self,
        text: &[u8],
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Fault<'v>> {
        let dfa = &self.forward;
        let input = Input::new(text).range(from..);
        let Ok(mut state) = dfa.start_state_forward(&input) else { return Ok(None) };
        let mut found = None;
        let mut at = from;
        for chunk in text.get(from..).unwrap_or_default().chunks(CHUNK_BYTES) {
            budget.charge_each(chunk.len().div_ceil(DFA_BYTES_PER_STEP))?;
            for byte in chunk {
                state = dfa.next_state(state, *byte);
                if dfa.is_special_state(state) {
                    // A DFA reports a match one byte late.
                    if dfa.is_match_state(state) {
                        found = Some(at);
                    } else if dfa.is_dead_state(state) {
                        return Ok(found);
                    }
                }
                at += 1;
            }
        }
        let at_end = dfa.is_match_state(dfa.next_eoi_state(state));
        Ok(if at_end { Some(text.len()) } else { found })
    }

    /// Returns the start of the match that ends with `range`.
    fn start<'v>(
        &self,
        text: &[u8],
        range: Range<usize>,
        budget: &mut Budget,
    ) -> Result<usize, Fault<'v>> {
        let dfa = &self.reverse;
        let (from, end) = (range.start, range.end);
        let input = Input::new(text).range(range).anchored(Anchored::Yes);
        let Ok(mut state) = dfa.start_state_reverse(&input) else { return Ok(end) };
        let mut found = end;
        let mut at = end;
        for chunk in text.get(from..end).unwrap_or_default().rchunks(CHUNK_BYTES) {
            budget.charge_each(chunk.len().div_ceil(DFA_BYTES_PER_STEP))?;
            for byte in chunk.iter().rev() {
                state = dfa.next_state(state, *byte);
                if dfa.is_special_state(state) {
                    if dfa.is_match_state(state) {
                        found = at;
                    } else if dfa.is_dead_state(state) {
                        return Ok(found);
                    }
                }
                at -= 1;
            }
        }
        // The byte before the range decides about `^` and `\b`.
        let before = from.checked_sub(1).and_then(|at| text.get(at));
        let last = match before {
            Some(byte) => dfa.next_state(state, *byte),
            None => dfa.next_eoi_state(state),
        };
        Ok(if dfa.is_match_state(last) { from } else { found })
    }
}

/// Returns the offset after the character that contains `at`.
pub(in crate::builtin) fn next_char(text: &str, at: usize) -> usize {
    (at + 1..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len().max(at + 1))
}

fn automaton(
    hir: &regex_syntax::hir::Hir,
    captures: WhichCaptures,
    reverse: bool,
) -> Result<NFA, String> {
    let config = thompson::Config::new()
        .nfa_size_limit(Some(REGEX_BYTES_MAX))
        .which_captures(captures)
        .reverse(reverse);
    let built = thompson::Compiler::new().configure(config).build_from_hir(hir);
    built.map_err(|error| match error.size_limit() {
        Some(_) => TOO_LARGE.into(),
        None => last_line(&error.to_string()),
    })
}

fn pike_vm(nfa: &NFA) -> Result<PikeVM, String> {
    PikeVM::new_from_nfa(nfa.clone()).map_err(|error| last_line(&error.to_string()))
}

/// The last line of the parser's message says what is wrong.
fn last_line(drawing: &str) -> String {
    let line = drawing.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").into()
}

#[cfg(test)]
mod tests;
