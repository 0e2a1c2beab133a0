//! Regular expressions that cannot be made slow: every byte they look at is charged.
//!
//! A pattern whose automaton is small is written out as tables, and then a byte costs one look-up.
//! Any other, and the groups of a match, are found by simulating all states at once, which costs by
//! the number of states. Neither ever goes back over text.

use std::ops::Range;

use regex_automata::dfa::{Automaton, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures, pikevm::PikeVM};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::fault::Fault;
use crate::limits::{REGEX_BYTES_MAX, REGEX_TABLE_BYTES_MAX};
use crate::meter::Meter;

/// Bytes that are charged for before they are looked at.
const CHUNK_BYTES: usize = 64;
/// Bytes that tables read for one step.
const TABLE_BYTES_PER_STEP: usize = 4;
/// Steps for eight bytes and states that are simulated.
const STEPS_PER_EIGHT_STATES: usize = 5;

/// Why a pattern is refused whose automaton passes the limit.
const TOO_LARGE: &str = "the pattern is too large";

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    tables: Option<Tables>,
    simulation: PikeVM,
}

/// Finds where a match ends, and then where it starts.
#[derive(Debug)]
struct Tables {
    ends: dense::DFA<Vec<u32>>,
    starts: dense::DFA<Vec<u32>>,
}

/// Places of a match and its groups; a group that took no part has none.
pub(super) type Places = Vec<Option<Range<usize>>>;

impl Pattern {
    /// Compiles a pattern that stands in a source and is used for many events.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(crate) fn for_many(pattern: &str) -> Result<Pattern, String> {
        let hir = syntax::parse(pattern).map_err(|error| last_line(&error.to_string()))?;
        let simulation = simulation(&automaton(&hir, WhichCaptures::All, false)?)?;
        let tables = Tables::of(simulation.get_nfa(), &hir);
        Ok(Pattern { tables, simulation })
    }

    /// Compiles a pattern that an expression makes while it runs, in less time.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(crate) fn for_once(pattern: &str) -> Result<Pattern, String> {
        let hir = syntax::parse(pattern).map_err(|error| last_line(&error.to_string()))?;
        let simulation = simulation(&automaton(&hir, WhichCaptures::All, false)?)?;
        Ok(Pattern { tables: None, simulation })
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tables = self.tables.as_ref();
        self.simulation.get_nfa().memory_usage()
            + tables.map_or(0, |tables| tables.ends.memory_usage() + tables.starts.memory_usage())
    }

    /// The first match from `from` on, with its groups.
    pub(super) fn find<'v>(
        &self,
        text: &str,
        from: usize,
        meter: &mut Meter,
    ) -> Result<Option<Places>, Fault<'v>> {
        let Some(tables) = &self.tables else {
            return self.simulate(Input::new(text).range(from..), meter);
        };
        let Some(whole) = tables.find(text, from, meter)? else { return Ok(None) };
        if self.simulation.get_nfa().group_info().explicit_slot_len() == 0 {
            return Ok(Some(vec![Some(whole)]));
        }
        self.simulate(Input::new(text).range(whole).anchored(Anchored::Yes), meter)
    }

    fn simulate<'v>(
        &self,
        input: Input<'_>,
        meter: &mut Meter,
    ) -> Result<Option<Places>, Fault<'v>> {
        let nfa = self.simulation.get_nfa();
        let slots = nfa.group_info().slot_len();
        // States carry the slots of the groups along.
        let states = nfa.states().len().saturating_mul(slots / 2);
        let visits = states.saturating_mul(input.get_span().len());
        meter.each(visits.saturating_mul(STEPS_PER_EIGHT_STATES) / 8)?;
        // Two sets of states, each with two numbers and the slots of every state.
        meter.build(2 * states.saturating_mul(size_of::<usize>() * 3))?;
        let mut cache = self.simulation.create_cache();
        let mut places = vec![None; slots];
        if self.simulation.search_slots(&mut cache, &input, &mut places).is_none() {
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
        Ok(Some(places.chunks(2).map(group).collect()))
    }
}

impl Tables {
    /// None if they would be large: the number of states may grow beyond all measure.
    fn of(forward: &NFA, hir: &regex_syntax::hir::Hir) -> Option<Tables> {
        let config = dense::Config::new()
            .accelerate(false)
            .dfa_size_limit(Some(REGEX_TABLE_BYTES_MAX))
            .determinize_size_limit(Some(REGEX_TABLE_BYTES_MAX));
        let ends = config.clone().start_kind(regex_automata::dfa::StartKind::Unanchored);
        let ends = dense::Builder::new().configure(ends).build_from_nfa(forward).ok()?;
        let starts =
            config.start_kind(regex_automata::dfa::StartKind::Anchored).match_kind(MatchKind::All);
        let backward = automaton(hir, WhichCaptures::None, true).ok()?;
        let starts = dense::Builder::new().configure(starts).build_from_nfa(&backward).ok()?;
        Some(Tables { ends, starts })
    }

    fn find<'v>(
        &self,
        text: &str,
        mut from: usize,
        meter: &mut Meter,
    ) -> Result<Option<Range<usize>>, Fault<'v>> {
        while let Some(end) = self.end(text.as_bytes(), from, meter)? {
            let start = self.start(text.as_bytes(), from..end, meter)?;
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                return Ok(Some(start..end));
            }
            // Nothing was found inside of a character.
            from = next_char(text, end);
        }
        Ok(None)
    }

    /// Where the first match ends.
    fn end<'v>(
        &self,
        text: &[u8],
        from: usize,
        meter: &mut Meter,
    ) -> Result<Option<usize>, Fault<'v>> {
        let dfa = &self.ends;
        let input = Input::new(text).range(from..);
        let Ok(mut state) = dfa.start_state_forward(&input) else { return Ok(None) };
        let mut found = None;
        let mut at = from;
        for chunk in text.get(from..).unwrap_or_default().chunks(CHUNK_BYTES) {
            meter.each(chunk.len().div_ceil(TABLE_BYTES_PER_STEP))?;
            for byte in chunk {
                state = dfa.next_state(state, *byte);
                if dfa.is_special_state(state) {
                    // A match is told one byte late.
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

    /// Where the match that ends with `range` starts.
    fn start<'v>(
        &self,
        text: &[u8],
        range: Range<usize>,
        meter: &mut Meter,
    ) -> Result<usize, Fault<'v>> {
        let dfa = &self.starts;
        let (from, end) = (range.start, range.end);
        let input = Input::new(text).range(range).anchored(Anchored::Yes);
        let Ok(mut state) = dfa.start_state_reverse(&input) else { return Ok(end) };
        let mut found = end;
        let mut at = end;
        for chunk in text.get(from..end).unwrap_or_default().rchunks(CHUNK_BYTES) {
            meter.each(chunk.len().div_ceil(TABLE_BYTES_PER_STEP))?;
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
        // What stands before the place decides about `^` and `\b`.
        let before = from.checked_sub(1).and_then(|at| text.get(at));
        let last = match before {
            Some(byte) => dfa.next_state(state, *byte),
            None => dfa.next_eoi_state(state),
        };
        Ok(if dfa.is_match_state(last) { from } else { found })
    }
}

/// The place behind the character that `at` is at or in.
pub(super) fn next_char(text: &str, at: usize) -> usize {
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

fn simulation(nfa: &NFA) -> Result<PikeVM, String> {
    PikeVM::new_from_nfa(nfa.clone()).map_err(|error| last_line(&error.to_string()))
}

/// The last line of the parser's drawing says what is wrong.
fn last_line(drawing: &str) -> String {
    let line = drawing.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").into()
}

#[cfg(test)]
mod tests;
