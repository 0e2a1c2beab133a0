//! Where constants stand in a source. Filters that differ in nothing else have one shape.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use crate::check::is_pattern_method;
use crate::constants::{BYTES_MAX, Constants, is_short_number};
use crate::lex::{Token, TokenKind, lex};
use crate::span::Span;

/// The place of one constant, quotes excluded.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    end: u32,
    is_number: bool,
}

impl Slot {
    fn text(self, source: &str) -> &str {
        Span { start: self.start, end: self.end }.text(source)
    }
}

/// The places of the constants of a source, in order.
#[derive(Debug, Default)]
pub(crate) struct Slots(Box<[Slot]>);

impl Slots {
    /// Finds what may be a constant: texts and numbers that the program does nothing with but
    /// push. It is a guess that the compiler confirms.
    pub(crate) fn of(source: &str) -> Slots {
        let lexed = lex(source);
        if !lexed.errors.is_empty() || source.len() > BYTES_MAX {
            return Slots::default();
        }
        let tokens = lexed.tokens;
        let slot = |at: usize| {
            let token = tokens.get(at)?;
            let span = token.span;
            match &token.kind {
                // Others take too long to read each time.
                TokenKind::Number(_) if is_short_number(span.text(source)) => {
                    Some(Slot { start: span.start, end: span.end, is_number: true })
                }
                TokenKind::String(value) if !is_part_of_shape(&tokens, at) => {
                    let (start, end) = (span.start + 1, span.end.saturating_sub(1));
                    let slot = Slot { start, end, is_number: false };
                    // With escapes, what is written is not what it means.
                    (slot.text(source) == &**value).then_some(slot)
                }
                _ => None,
            }
        };
        Slots((0..tokens.len()).filter_map(slot).collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The slots of `count` literals that fill a span, if each of them has one.
    pub(crate) fn holding(&self, count: usize, span: Span) -> Option<Range<usize>> {
        let start = self.0.partition_point(|slot| slot.start < span.start);
        let end = self.0.partition_point(|slot| slot.end <= span.end);
        (start + count == end).then_some(start..end)
    }

    /// The constants of the source with these slots.
    pub(crate) fn constants(&self, source: &str) -> Option<Constants> {
        Constants::pack(self.0.iter().map(|slot| (slot.text(source), slot.is_number)))
    }

    /// What stands between the slots of `source`; one more than there are slots.
    fn between<'s>(&self, source: &'s str) -> impl Iterator<Item = &'s str> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|slot| slot.end));
        let ends = self.0.iter().map(|slot| slot.start as usize);
        let spans = starts.zip(ends.chain(std::iter::once(source.len())));
        spans.map(|(start, end)| source.get(start as usize..end).unwrap_or_default())
    }

    /// Hashes what sources of one shape have in common.
    pub(crate) fn hash_shape(&self, source: &str, state: &mut impl Hasher) {
        self.between(source).for_each(|part| part.hash(state));
        self.0.iter().for_each(|slot| slot.is_number.hash(state));
    }

    /// Whether `source` with these slots and `other` with its own differ in constants only.
    pub(crate) fn same_shape(&self, source: &str, others: &Slots, other: &str) -> bool {
        let kinds = |slots: &Slots| slots.0.iter().map(|slot| slot.is_number).collect::<Vec<_>>();
        self.len() == others.len()
            && self.between(source).eq(others.between(other))
            && kinds(self) == kinds(others)
    }

    /// The parts of the source that has `constants` in these slots of `source`.
    fn parts<'s>(
        &'s self,
        source: &'s str,
        constants: &'s Constants,
    ) -> impl Iterator<Item = &'s str> {
        let filled = (0..self.len()).map(|at| constants.text(at)).chain(std::iter::once(""));
        self.between(source).zip(filled).flat_map(|(between, constant)| [between, constant])
    }

    /// The source that has `constants` in these slots of `source`.
    pub(crate) fn filled(&self, source: &str, constants: &Constants) -> String {
        self.parts(source, constants).collect()
    }

    /// Whether `other` is the source that has `constants` in these slots of `source`.
    pub(crate) fn is_filled(&self, source: &str, constants: &Constants, other: &str) -> bool {
        let rest =
            self.parts(source, constants).try_fold(other, |rest, part| rest.strip_prefix(part));
        rest == Some("")
    }

    /// By how much a place moves once `constants` are in these slots: behind none of them, behind
    /// the first, and so on.
    pub(crate) fn shifts(&self, constants: &Constants) -> Box<[i32]> {
        let mut shift = 0_i32;
        let behind = self.0.iter().enumerate().map(|(at, slot)| {
            let len = i32::try_from(constants.text(at).len()).unwrap_or_default();
            shift += len - (slot.end - slot.start).cast_signed();
            shift
        });
        std::iter::once(0).chain(behind).collect()
    }

    /// Where a span of the source stands with these [`Self::shifts`].
    pub(crate) fn moved(&self, span: Span, shifts: &[i32]) -> Span {
        if span == Span::NONE {
            return span;
        }
        let moved = |place: u32| {
            let before = self.0.partition_point(|slot| slot.end <= place);
            place.saturating_add_signed(shifts.get(before).copied().unwrap_or_default())
        };
        Span { start: moved(span.start), end: moved(span.end) }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Whether a text looks like one that the checker reads: a member name, a key of a map, a pattern.
fn is_part_of_shape(tokens: &[Token<'_>], at: usize) -> bool {
    let before =
        |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at)).map(|token| &token.kind);
    let is_key = matches!(before(1), Some(TokenKind::Sign("{" | ",")))
        && matches!(tokens.get(at + 1).map(|token| &token.kind), Some(TokenKind::Sign(":")));
    match (before(2), before(1)) {
        _ if is_key => true,
        // Behind a value, a bracket asks for a member; else it starts a list.
        (Some(TokenKind::Sign(")" | "]" | "}" | "?.")), Some(TokenKind::Sign("["))) => true,
        (Some(TokenKind::Word(_) | TokenKind::String(_)), Some(TokenKind::Sign("["))) => true,
        (Some(TokenKind::Word(word)), Some(TokenKind::Sign("("))) => is_pattern_method(word),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        Slots::of(source).0.iter().map(|slot| slot.text(source)).collect()
    }

    #[test]
    fn constants_are_found() {
        let source = r#"event.a == 'x' && ["y", 25].includes(event['b']) && c('p') == """#;
        assert_eq!(texts(source), ["x", "y", "25", "p", ""]);
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
    fn places_move_with_the_constants() {
        let (first, second) = ("a == 'x' || b > 1 + c", "a == 'long' || b > 234 + c");
        let (slots, others) = (Slots::of(first), Slots::of(second));
        assert!(slots.same_shape(first, &others, second));
        let constants = others.constants(second).unwrap();
        assert_eq!(slots.filled(first, &constants), second);
        assert!(slots.is_filled(first, &constants, second));
        assert!(!slots.is_filled(first, &constants, first));
        for word in ["a", "'x'", "||", "b", "1", "+", "c", first] {
            let at = first.find(word).unwrap();
            let span = slots.moved(Span::new(at, at + word.len()), &slots.shifts(&constants));
            let expected = match word {
                "'x'" => "'long'",
                "1" => "234",
                word if word == first => second,
                word => word,
            };
            assert_eq!(span.text(second), expected);
        }
        assert_eq!(slots.moved(Span::NONE, &slots.shifts(&constants)), Span::NONE);
    }
}
