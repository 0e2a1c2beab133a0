//! Compares `match`, `matchAll` and `replace` with the `regex` crate iterated by the rules of
//! JavaScript.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::syntax::translate;
use crate::cases::{CaseOutcome, compiled, reference};
use crate::{Env, Tape, TapeLimits};

const PATTERNS: [&str; 24] = [
    "a",
    "(a)|(b)",
    "a*",
    "b*?",
    "(a*)(b)?",
    ".",
    ".+",
    "\\d+",
    "\\D",
    "\\w+",
    "\\W",
    "\\s*",
    "\\S+",
    "[\\s\\w]",
    "\\b",
    "\\B",
    "\\bab\\b",
    "^a|b$",
    "[&&a]",
    "[a[]",
    "[!--]",
    "é?",
    "(?i:AB|É)",
    "(😀)|(\\d)(\\w)?",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "ab", "A", "1", "22", " ", "\n", "\u{85}", "\u{feff}", "é", "😀", "-", "&", "[",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The groups of all matches, in order, with the range of the whole match.
fn matches(pattern: &str, text: &str) -> Vec<(std::ops::Range<usize>, Vec<Json>)> {
    let regex = regex::Regex::new(&translate(pattern)).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(captures) = (at <= text.len()).then(|| regex.captures_at(text, at)).flatten() {
        let whole = captures.get(0).unwrap().range();
        let step = text.get(whole.end..).and_then(|rest| rest.chars().next());
        at = whole.end + if whole.is_empty() { step.map_or(1, char::len_utf8) } else { 0 };
        let groups = captures.iter().map(|group| json!(group.map(|group| group.as_str())));
        found.push((whole, groups.collect()));
    }
    found
}

/// `[$&|$1]` for every match.
fn replaced(text: &str, matches: &[(std::ops::Range<usize>, Vec<Json>)]) -> String {
    let (mut out, mut end) = (String::new(), 0);
    for (whole, groups) in matches {
        let group = |at: usize| groups.get(at).map_or("$1", |group| group.as_str().unwrap_or(""));
        out += &format!("{}[{}|{}]", &text[end..whole.start], group(0), group(1));
        end = whole.end;
    }
    out + &text[end..]
}

proptest! {
    #[test]
    fn methods_do_what_the_regex_crate_does(
        pattern in prop::sample::select(PATTERNS.to_vec()),
        text in text(),
    ) {
        let matches = matches(pattern, &text);
        let all: Vec<Json> = matches.iter().map(|(_, groups)| json!(groups)).collect();
        let first = all.first().cloned().unwrap_or(Json::Null);
        let wanted = json!([first, all, replaced(&text, &matches)]);
        let event = json!({ "event": { "t": text, "p": pattern } }).to_string();
        let mut tape = Tape::new();
        tape.parse_context(event.as_bytes(), &TapeLimits::default()).unwrap();
        let written = pattern.replace('\\', "\\\\");
        // One pattern is compiled with the source, the other during evaluation.
        for pattern in [format!("'{written}'"), "event.p".to_owned()] {
            let source = format!(
                "let t = event.t; \
                 [t.match({pattern}), t.matchAll({pattern}), t.replace({pattern}, '[$&|$1]')]"
            );
            let outcome = compiled(&source, &tape, &Env::at(0));
            prop_assert_eq!(&outcome.0, &CaseOutcome::Value(wanted.clone()), "{}", source);
            prop_assert_eq!(&reference(&source, &tape, &Env::at(0)), &outcome);
        }
    }
}

#[test]
fn hyphens_of_classes_mean_what_they_mean_in_javascript() {
    for (pattern, matching, other) in [
        ("^[!--]$", "&", "."),
        ("^[--/]$", ".", ","),
        ("^[^--/]$", ",", "."),
        ("^[a\\--z]$", "A", "!"),
        ("^[-a]$", "-", "."),
        ("^[a-]$", "-", "."),
        ("^[\\d-x]$", "-", "w"),
    ] {
        let regex = regex::Regex::new(&translate(pattern)).unwrap();
        assert!(regex.is_match(matching), "{pattern} matches {matching}");
        assert!(!regex.is_match(other), "{pattern} does not match {other}");
    }
}
