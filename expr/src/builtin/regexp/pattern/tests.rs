//! Compares the engine with the `regex` crate, which shares its syntax but not its search code:
//! both must find the same matches and groups from every offset of a text.

use proptest::prelude::*;

use super::{CaptureSpans, Pattern, TOO_LARGE};
use crate::budget::Budget;
use crate::limits::STEPS_MAX;

/// Parts of generated patterns: classes, Unicode, every assertion.
const ATOMS: [&str; 26] = [
    "a",
    "b",
    "ab",
    "é",
    "😀",
    "1",
    " ",
    "\\n",
    "[a-c]",
    "[^a]",
    "[^\\n\\r\\x{2028}\\x{2029}]",
    "[0-9A-Za-z_]",
    "[a-c&&[^b]]",
    "\\s",
    "\\S",
    "\\p{L}",
    "\\W",
    "",
    "^",
    "$",
    "\\A",
    "\\z",
    "(?m:^)",
    "(?m:$)",
    "(?-u:\\b)",
    "(?-u:\\B)",
];

/// Assertions that no DFA supports: these patterns use NFA simulation.
const SIMULATED: [&str; 4] = ["\\b", "\\B", "\\b{start}", "\\b{end-half}"];

const REPEATS: [&str; 10] = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}?", "{2,}"];

const GROUPS: [&str; 8] = ["(", "(", "(?:", "(?i:", "(?s:", "(?m:", "(?U:", "(?<n>"];

fn pattern() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        20 => prop::sample::select(ATOMS.to_vec()),
        1 => prop::sample::select(SIMULATED.to_vec()),
    ];
    atom.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        let group = (prop::sample::select(GROUPS.to_vec()), inner.clone());
        let repeat = (inner.clone(), prop::sample::select(REPEATS.to_vec()));
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner, 2..4)
                .prop_map(|parts| format!("(?:{})", parts.join("|"))),
            3 => group.prop_map(|(open, inner)| format!("{open}{inner})")),
            3 => repeat.prop_map(|(inner, repeat)| format!("(?:{inner}){repeat}")),
        ]
    })
}

/// Short texts, and texts longer than the chunk that is charged at once.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "a", "b", "c", "ab", "A", "1", " ", "\n", "\r\n", "é", "É", "😀", "x", "_",
    ]);
    let short = prop::collection::vec(piece.clone(), 0..10).prop_map(|pieces| pieces.concat());
    let long = prop::collection::vec(piece, 60..140).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => short, 1 => long]
}

fn oracle(regex: &regex::Regex, text: &str, from: usize) -> Option<CaptureSpans> {
    let captures = regex.captures_at(text, from)?;
    Some(captures.iter().map(|group| group.map(|group| group.range())).collect())
}

proptest! {
    #[test]
    fn finds_what_the_regex_crate_finds(pattern in pattern(), text in text()) {
        let theirs = regex::Regex::new(&pattern);
        let (many, once) = (Pattern::with_dfa(&pattern), Pattern::without_dfa(&pattern));
        if matches!(&many, Err(why) if why == TOO_LARGE) {
            return Ok(());
        }
        // Both reject a repeated group name.
        prop_assert_eq!((many.is_ok(), once.is_ok()), (theirs.is_ok(), theirs.is_ok()));
        let (Ok(regex), Ok(many), Ok(once)) = (theirs, many, once) else { return Ok(()) };
        let captures = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        for from in captures {
            let wanted = oracle(&regex, &text, from);
            for pattern in [&many, &once] {
                let mut budget = Budget::new(100 * STEPS_MAX);
                let Ok(found) = pattern.find(&text, from, &mut budget) else {
                    // NFA simulation with groups on a long text may exceed the memory limit.
                    continue;
                };
                prop_assert_eq!(&found, &wanted, "from {}", from);
            }
        }
    }
}

#[test]
fn both_ways_of_searching_are_taken() {
    let has_dfa = |pattern| Pattern::with_dfa(pattern).unwrap().dfa.is_some();
    assert!(has_dfa("(?-u:\\b)[a-z]+(?-u:\\B)"));
    assert!(!has_dfa("\\bab\\B"), "letters of all scripts end words");
    assert!(!has_dfa("(?:a|b)*a[ab]{12}"), "the automaton would be large");
}
