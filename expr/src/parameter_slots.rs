//! The positions of parameters in a source. Sources that differ only there have one template.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use crate::builtin::Member;
use crate::lex::{Token, TokenKind, lex};
use crate::parameters::{BYTES_MAX, Parameter, Parameters, is_short_number};
use crate::span::{Span, slice, to_u32};

/// The span of one parameter, without quotes.
#[derive(Clone, Copy, Debug)]
struct ParameterSlot {
    start: u32,
    end: u32,
    is_number: bool,
}

impl ParameterSlot {
    fn text(self, source: &str) -> &str {
        Span { start: self.start, end: self.end }.text(source)
    }
}

/// The parameter spans of a source, in order.
#[derive(Debug, Default)]
pub(crate) struct ParameterSlots(Box<[ParameterSlot]>);

impl ParameterSlots {
    /// Finds candidates for parameters: strings and numbers that the program only pushes. The
    /// compiler confirms each of them.
    pub(crate) fn of(source: &str) -> ParameterSlots {
        let lexed = lex(source);
        if !lexed.errors.is_empty() || source.len() > BYTES_MAX {
            return ParameterSlots::default();
        }
        let tokens = lexed.tokens;
        let slot = |at: usize| {
            let token = tokens.get(at)?;
            let span = token.span;
            match &token.kind {
                // Parsing any other number on each push would take too long.
                TokenKind::Number(_) if is_short_number(span.text(source)) => {
                    let start = number_start(&tokens, at)?;
                    Some(ParameterSlot { start, end: span.end, is_number: true })
                }
                TokenKind::String(value) if !is_part_of_template(&tokens, at) => {
                    let (start, end) = (span.start + 1, span.end.saturating_sub(1));
                    let slot = ParameterSlot { start, end, is_number: false };
                    // The text of a string with escapes differs from its value.
                    (slot.text(source) == &**value).then_some(slot)
                }
                _ => None,
            }
        };
        ParameterSlots((0..tokens.len()).filter_map(slot).collect())
    }

    /// Number of slots.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The slots of `count` literals that fill `span`, if each literal has a slot.
    pub(crate) fn slots_in_span(&self, count: usize, span: Span) -> Option<Range<usize>> {
        let start = self.0.partition_point(|slot| slot.start < span.start);
        let end = self.0.partition_point(|slot| slot.end <= span.end);
        (start + count == end).then_some(start..end)
    }

    /// The parameter in the slot at `at` of `source`.
    pub(crate) fn parameter<'s>(&self, at: usize, source: &'s str) -> Option<Parameter<'s>> {
        let slot = self.0.get(at)?;
        Some(Parameter::of(slot.text(source), slot.is_number))
    }

    /// The parameters of `source`, which has these slots.
    pub(crate) fn parameters(&self, source: &str) -> Option<Parameters> {
        Parameters::pack(self.0.iter().map(|slot| (slot.text(source), slot.is_number)))
    }

    /// The text between the slots of `source`: one item more than there are slots.
    fn between<'s>(&self, source: &'s str) -> impl Iterator<Item = &'s str> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|slot| slot.end));
        let ends = self.0.iter().map(|slot| slot.start as usize);
        let spans = starts.zip(ends.chain(std::iter::once(source.len())));
        spans.map(|(start, end)| slice(source, start as usize..end))
    }

    /// Hashes the part of `source` that all sources of its template share.
    pub(crate) fn hash_template(&self, source: &str, state: &mut impl Hasher) {
        self.between(source).for_each(|part| part.hash(state));
        self.0.iter().for_each(|slot| slot.is_number.hash(state));
    }

    /// Whether `source` with these slots and `other` with its slots differ only in parameters.
    pub(crate) fn same_template(&self, source: &str, others: &ParameterSlots, other: &str) -> bool {
        let kinds =
            |slots: &ParameterSlots| slots.0.iter().map(|slot| slot.is_number).collect::<Vec<_>>();
        self.len() == others.len()
            && self.between(source).eq(others.between(other))
            && kinds(self) == kinds(others)
    }

    /// The pieces of `source` with `parameters` filled into these slots.
    fn parts<'s>(
        &'s self,
        source: &'s str,
        parameters: &'s Parameters,
    ) -> impl Iterator<Item = &'s str> {
        let filled = (0..self.len()).map(|at| parameters.text(at)).chain(std::iter::once(""));
        self.between(source).zip(filled).flat_map(|(between, parameter)| [between, parameter])
    }

    /// The text of `source` with `parameters` filled into these slots.
    pub(crate) fn fill(&self, source: &str, parameters: &Parameters) -> String {
        self.parts(source, parameters).collect()
    }

    /// Whether `other` equals `source` with `parameters` filled into these slots.
    pub(crate) fn matches_source(
        &self,
        source: &str,
        parameters: &Parameters,
        other: &str,
    ) -> bool {
        let rest =
            self.parts(source, parameters).try_fold(other, |rest, part| rest.strip_prefix(part));
        rest == Some("")
    }

    /// Returns how far an offset moves when `parameters` are filled in: before the first slot,
    /// after the first slot, and so on.
    pub(crate) fn offset_shifts(&self, parameters: &Parameters) -> Box<[i32]> {
        let mut shift = 0_i32;
        let behind = self.0.iter().enumerate().map(|(at, slot)| {
            let len = to_u32(parameters.text(at).len()).cast_signed();
            shift += len - (slot.end - slot.start).cast_signed();
            shift
        });
        std::iter::once(0).chain(behind).collect()
    }

    /// Moves a span of the template's source by these [`Self::offset_shifts`].
    pub(crate) fn relocate(&self, span: Span, offset_shifts: &[i32]) -> Span {
        if span == Span::NONE {
            return span;
        }
        let relocated = |offset: u32| {
            let before = self.0.partition_point(|slot| slot.end <= offset);
            let shift = offset_shifts.get(before).copied();
            debug_assert!(shift.is_some(), "there is a shift for each slot and one before");
            offset.saturating_add_signed(shift.unwrap_or_default())
        };
        Span { start: relocated(span.start), end: relocated(span.end) }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// The start of the constant that ends with the number at `at`: that of its sign, if it has one. None
/// if the number is only a part of what the checker reads as a constant, or may be.
fn number_start(tokens: &[Token<'_>], at: usize) -> Option<u32> {
    let number = tokens.get(at)?.span.start;
    let before = |at: usize| at.checked_sub(1).and_then(|at| Some((at, tokens.get(at)?)));
    let is = |token: &Token<'_>, sign: &str| matches!(token.kind, TokenKind::Punct(p) if p == sign);
    // `-(5)` is a constant, too.
    let mut first = at;
    while let Some((outer, token)) = before(first)
        && is(token, "(")
    {
        first = outer;
    }
    let Some((sign, minus)) = before(first).filter(|(_, token)| is(token, "-")) else {
        return Some(number);
    };
    let has_operand_before = match before(sign).map(|(_, token)| &token.kind) {
        Some(TokenKind::Word(word)) => !matches!(*word, "return" | "throw" | "typeof"),
        Some(TokenKind::Punct(before)) => matches!(*before, ")" | "]" | "}"),
        Some(TokenKind::Number(_) | TokenKind::String(_) | TokenKind::TemplateEnd) => true,
        _ => false,
    };
    if has_operand_before {
        return Some(number);
    }
    // `-5?.a` negates the member, not the number.
    let is_head = tokens
        .get(at + 1)
        .is_some_and(|next| [".", "?.", "[", "("].iter().any(|link| is(next, link)));
    let is_adjacent = first == at && minus.span.end == number;
    (is_adjacent && !is_head).then_some(minus.span.start)
}

/// Whether the checker reads the string: a member name, a map key, or a pattern. Such a string is
/// part of the template.
fn is_part_of_template(tokens: &[Token<'_>], at: usize) -> bool {
    let before =
        |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at)).map(|token| &token.kind);
    let is_key = matches!(before(1), Some(TokenKind::Punct("{" | ",")))
        && matches!(tokens.get(at + 1).map(|token| &token.kind), Some(TokenKind::Punct(":")));
    match (before(2), before(1)) {
        _ if is_key => true,
        // After a value `[` is a member access; otherwise it starts a list.
        (Some(TokenKind::Punct(")" | "]" | "}" | "?.")), Some(TokenKind::Punct("["))) => true,
        (Some(TokenKind::Word(_) | TokenKind::String(_)), Some(TokenKind::Punct("["))) => true,
        (Some(TokenKind::Word(word)), Some(TokenKind::Punct("("))) => {
            Member::named(word).is_some_and(Member::takes_pattern)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        ParameterSlots::of(source).0.iter().map(|slot| slot.text(source)).collect()
    }

    #[test]
    fn constants_are_found() {
        let source = r#"event.a == 'x' && ["y", 25].includes(event['b']) && c('p') == """#;
        assert_eq!(texts(source), ["x", "y", "25", "p", ""]);
    }

    #[test]
    fn a_sign_is_part_of_a_constant_unless_it_subtracts() {
        for (source, expected) in [
            ("[-1, 2, -30].includes(a)", vec!["-1", "2", "-30"]),
            ("a == -5 && -7 < b && c(-1)", vec!["-5", "-7", "-1"]),
            ("a -5 == (b) -6 - l[0] -7", vec!["5", "6", "0", "7"]),
            ("'a' -5 + 6 -7 - -8 * --9", vec!["a", "5", "6", "7", "-8", "-9"]),
            ("`${-5}` -6", vec!["-5", "6"]),
            ("x => { return -5 }", vec!["-5"]),
            ("a - (5)", vec!["5"]),
            ("((5))", vec!["5"]),
            ("- 5", vec![]),
            ("-(5)", vec![]),
            ("- ((5))", vec![]),
            ("-/**/5", vec![]),
            ("-5?.a", vec![]),
            ("-5.5", vec![]),
            ("-1234567890", vec![]),
        ] {
            assert_eq!(texts(source), expected, "{source}");
        }
    }

    #[test]
    fn names_keys_patterns_escapes_and_long_numbers_are_no_constants() {
        for source in [
            "event['a']",
            "event?.['a']",
            "{'a': event}",
            "event.match('a+')",
            r"event == 'a\n'",
            "event > 2.5",
            "event < 1234567890",
        ] {
            assert_eq!(texts(source), [""; 0], "{source}");
        }
    }

    #[test]
    fn offsets_move_with_the_constants() {
        let (first, second) = ("a == 'x' || b > 1 + c", "a == 'long' || b > 234 + c");
        let (slots, others) = (ParameterSlots::of(first), ParameterSlots::of(second));
        assert!(slots.same_template(first, &others, second));
        let parameters = others.parameters(second).unwrap();
        assert_eq!(slots.fill(first, &parameters), second);
        assert!(slots.matches_source(first, &parameters, second));
        assert!(!slots.matches_source(first, &parameters, first));
        for word in ["a", "'x'", "||", "b", "1", "+", "c", first] {
            let at = first.find(word).unwrap();
            let span =
                slots.relocate(Span::new(at, at + word.len()), &slots.offset_shifts(&parameters));
            let expected = match word {
                "'x'" => "'long'",
                "1" => "234",
                word if word == first => second,
                word => word,
            };
            assert_eq!(span.text(second), expected);
        }
        assert_eq!(slots.relocate(Span::NONE, &slots.offset_shifts(&parameters)), Span::NONE);
    }
}
