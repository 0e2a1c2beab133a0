//! Compares the scanner with the tape: on JSON, and on JSON with one byte added, removed or
//! changed.

use proptest::prelude::*;
use switchyard_expr::view::NodeValue;
use switchyard_expr::{Tape, View};

use super::*;
use crate::event::members::Members;

fn choice(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(of).prop_map(str::to_owned)
}

pub(in crate::event) fn json() -> impl Strategy<Value = String> {
    let scalar = choice(&[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-12.5",
        "1e3",
        "1E-2",
        "9007199254740993",
        "123456789012345678901234567890",
        "0.1",
        "2.2250738585072014e-308",
        "1e308",
        "1e400",
        "-1e999",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "tru",
        "nul",
        "\"\"",
        "\"a\"",
        "\"text of more than eight bytes\"",
        "\"\\n\"",
        "\"\\u0061\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0061\"",
        "\"\\u12\"",
        "\"\\q\"",
        "\"ä😀\"",
        "\"tab\there\"",
        "\"1234567\u{1}\"",
        "\"1234567\\\"\"",
        "\"open",
    ]);
    let name = || {
        choice(&[
            "a",
            "a",
            "b",
            "key",
            "a longer name than most",
            "",
            "\\u0061",
            "ä",
            "x\\n",
            "c\nd",
        ])
    };
    let blank = || choice(&["", "", "", "", " ", "\n\t", " \r"]);
    scalar.prop_recursive(5, 40, 5, move |inner| {
        let item = (blank(), inner.clone(), blank()).prop_map(|(a, value, b)| a + &value + &b);
        let member = (blank(), name(), blank(), inner, blank())
            .prop_map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{c}{value}"));
        prop_oneof![
            1 => prop::collection::vec(item, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            3 => prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

/// JSON with at most one byte changed.
fn damaged() -> impl Strategy<Value = String> {
    (
        json(),
        any::<prop::sample::Index>(),
        0..5_u8,
        choice(&["\"", "{", "}", "[", ",", ":", "0", "\\", " "]),
    )
        .prop_map(|(text, place, how, byte)| {
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.push(text.len());
            let at = places[place.index(places.len())];
            let (before, behind) = text.split_at(at);
            let mut rest = behind.chars();
            match how {
                0 => {
                    rest.next();
                    format!("{before}{}", rest.as_str())
                }
                1 => format!("{before}{byte}{behind}"),
                2 => before.to_owned(),
                _ => text,
            }
        })
}

/// JSON without whitespace, long enough for several blocks, as tokens.
fn minified() -> impl Strategy<Value = Vec<String>> {
    let text = "[a-z{}\\[\\],: ]{0,90}".prop_map(|text| format!("\"{text}\""));
    let scalar = prop_oneof![
        4 => text,
        1 => choice(&["\"\\\"\"", "\"\\\\\"", "\"a\\n\"", "\"ä\""]),
        4 => choice(&["null", "true", "false", "0", "-12.5e3", "1700000000039053", "[]", "{}"]),
    ];
    let value = scalar.prop_recursive(6, 80, 8, |inner| {
        let name = choice(&["", "a", "id", "name", "customfield_10016", "\\u0061"]);
        let member = (name, inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            1 => prop::collection::vec(inner, 0..6).prop_map(|all| format!("[{}]", all.join(","))),
            3 => prop::collection::vec(member, 0..8).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    });
    value.prop_map(|text| tokens(&text))
}

/// Splits JSON into tokens; strings include their quotes.
fn tokens(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let (mut in_text, mut is_escaped) = (false, false);
    for character in text.chars() {
        let is_single = matches!(character, '{' | '}' | '[' | ']' | ':' | ',');
        let joins = in_text || (!is_single && !all.last().is_none_or(|last| ends(last)));
        match all.last_mut().filter(|_| joins && (in_text || character != '"')) {
            Some(last) => last.push(character),
            None => all.push(character.to_string()),
        }
        let is_quote = character == '"' && !is_escaped;
        is_escaped = in_text && character == '\\' && !is_escaped;
        in_text ^= is_quote;
    }
    all
}

/// Whether a token cannot be extended.
fn ends(token: &str) -> bool {
    matches!(token, "{" | "}" | "[" | "]" | ":" | ",") || token.starts_with('"')
}

/// One change of a list of tokens.
#[derive(Clone, Debug)]
enum Change {
    Delete(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, String),
    Replace(prop::sample::Index, String),
    /// Removes the last byte of a token.
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let token = || {
        choice(&[
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", ",\"a\":", "1", "null", " ",
            "\n", "\\", "\t ",
        ])
    };
    let place = any::<prop::sample::Index>;
    prop_oneof![
        place().prop_map(Change::Delete),
        place().prop_map(Change::Repeat),
        (place(), place()).prop_map(|(a, b)| Change::Swap(a, b)),
        (place(), token()).prop_map(|(at, token)| Change::Insert(at, token)),
        (place(), token()).prop_map(|(at, token)| Change::Replace(at, token)),
        place().prop_map(Change::Cut),
    ]
}

fn changed(mut tokens: Vec<String>, changes: &[Change]) -> String {
    for change in changes {
        let len = tokens.len();
        if len == 0 {
            break;
        }
        match change {
            Change::Delete(at) => drop(tokens.remove(at.index(len))),
            Change::Repeat(at) => tokens.insert(at.index(len), tokens[at.index(len)].clone()),
            Change::Swap(a, b) => tokens.swap(a.index(len), b.index(len)),
            Change::Insert(at, token) => tokens.insert(at.index(len + 1), token.clone()),
            Change::Replace(at, token) => tokens[at.index(len)].clone_from(token),
            Change::Cut(at) => drop(tokens[at.index(len)].pop()),
        }
    }
    tokens.concat()
}

/// Whether the text is accepted, by scanner and tape alike.
fn check(text: &str, limits: &TapeLimits) -> Result<bool, TestCaseError> {
    let (mut scan, mut tape) = (Scan::default(), Tape::new());
    let accepted = scan.read(text.as_bytes(), limits);
    let parsed = tape.parse(text.as_bytes(), limits);
    prop_assert_eq!(accepted, parsed.is_ok(), "{:?}: {:?}", text, parsed);
    if accepted && let Ok(members) = Members::parse(text) {
        let expected = members.member_spans(text);
        match scan.member_spans(text.as_bytes()) {
            Some(outline) => prop_assert_eq!(outline, expected),
            None => prop_assert!(text.contains('\\')),
        }
    }
    Ok(accepted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn accepts_what_the_tape_accepts(text in damaged()) {
        check(&text, &TapeLimits::default())?;
    }

    #[test]
    fn limits_are_those_of_the_tape(text in json(), depth in 0..5_u32, nodes in 0..20_u32) {
        check(&text, &TapeLimits { depth, nodes })?;
    }

    #[test]
    fn any_text_is_scanned_without_a_panic(text in "[\\[\\]{}\",:a0 \\\\-]{0,24}") {
        check(&text, &TapeLimits::default())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Block boundaries fall anywhere in the tested text, which spans several blocks.
    #[test]
    fn result_does_not_depend_on_the_offset_of_a_text(text in damaged(), before in 0..140_usize) {
        check(&format!("{}{text}", " ".repeat(before)), &TapeLimits::default())?;
        check(&format!("[\"{}\",{text}]", "x".repeat(before)), &TapeLimits::default())?;
        check(&format!("[\"{}\",{text}]", "\\".repeat(before)), &TapeLimits::default())?;
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut scan, mut tape) = (Scan::default(), Tape::new());
        let limits = TapeLimits::default();
        prop_assert_eq!(scan.read(&bytes, &limits), tape.parse(&bytes, &limits).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_rejected(
        text in json(),
        place: prop::sample::Index,
        byte in 0x80..=0xff_u8,
    ) {
        let (mut scan, mut tape) = (Scan::default(), Tape::new());
        let mut bytes = text.into_bytes();
        bytes.insert(place.index(bytes.len() + 1), byte);
        let limits = TapeLimits::default();
        prop_assert_eq!(scan.read(&bytes, &limits), tape.parse(&bytes, &limits).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn minified_text_is_accepted_as_by_the_tape(
        tokens in minified(),
        changes in prop::collection::vec(change(), 0..3),
        before in 0..300_usize,
    ) {
        let text = changed(tokens, &changes);
        check(&text, &TapeLimits::default())?;
        check(&format!("[\"{}\",{text}]", "x".repeat(before)), &TapeLimits::default())?;
        check(&format!("{{\"{}\":{text}}}", "x".repeat(before)), &TapeLimits::default())?;
    }

    #[test]
    fn whitespace_between_tokens_changes_nothing(
        tokens in minified(),
        changes in prop::collection::vec(change(), 0..3),
        blanks in prop::collection::vec(choice(&["", "", " ", "\n\t", "\r"]), 1..9),
        wide in (any::<prop::sample::Index>(), 0..400_usize),
    ) {
        let text = changed(tokens, &changes);
        let mut all = String::new();
        let mut apart = self::tokens(&text);
        let place = wide.0.index(apart.len() + 1);
        apart.insert(place, " ".repeat(wide.1));
        for (token, blank) in apart.iter().zip(blanks.iter().cycle()) {
            all += token;
            all += blank;
        }
        check(&all, &TapeLimits::default())?;
    }
}

/// Each token of an event is removed, repeated, and swapped with the next.
#[test]
fn event_with_a_changed_token_is_accepted_as_by_the_tape() {
    let event = include_str!("../../../tests/data/events/jira-updated-issue-unicode.json");
    let minified = serde_json::from_str::<serde_json::Value>(event).unwrap().to_string();
    let tokens = tokens(&minified);
    assert_eq!(tokens.concat(), minified);
    assert!(check(&minified, &TapeLimits::default()).unwrap());
    for at in 0..tokens.len() {
        let (before, behind) = (tokens[..at].concat(), tokens[at + 1..].concat());
        let next = tokens.get(at + 1).map_or("", String::as_str);
        let after_next = tokens.get(at + 2..).unwrap_or_default().concat();
        for text in [
            format!("{before}{behind}"),
            format!("{before}{0}{0}{behind}", tokens[at]),
            format!("{before}{next}{}{after_next}", tokens[at]),
            before,
        ] {
            check(&text, &TapeLimits::default()).unwrap();
        }
    }
}

#[test]
fn depth_ends_at_the_limit() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let limits = TapeLimits::default();
    assert!(check(&nested(512), &limits).unwrap());
    assert!(!check(&nested(513), &limits).unwrap());
    assert!(!check(&nested(1_000_000), &limits).unwrap());
}

#[test]
fn escapes_and_numbers_are_accepted_as_by_the_tape() {
    for text in [
        r#""\\""#,
        r#""\\\""#,
        r#""\\\\""#,
        r#""\\\"\"""#,
        r#"\"#,
        r#"[1\]"#,
        r#"["a"\"b"]"#,
        r#""\ud83d\ude00""#,
        r#""\ud83d\ud83d\ude00""#,
        r#""\ud83dx\ude00""#,
        r#""\ud83d\\ude00""#,
        r#""\\ud83d\ude00""#,
        r#""\ud83d\n""#,
        r#""\ud83d""#,
        r#""\u+123""#,
        r#""\uD8""#,
        "1e99",
        "1e308",
        "1e309",
        "-1e309",
        "1E+00000001",
        "1e-400",
        "0e999",
        "00",
        "-",
        "-0.0",
        "1 2",
        "1,2",
        "\"a\"1",
        "1\"a\"",
        "true1",
        "truefalse",
        "[1}",
        "{\"a\":1]",
        "{\"a\":}",
        "{\"a\" 1}",
        "{1:2}",
        "{,}",
        "[,]",
        "[1,]",
        "{\"a\":1,}",
        "[1 2]",
        "[\"a\":1]",
        ":",
        ",",
        "",
        " ",
        "\u{c}1",
        "1\u{c}",
        "\u{feff}1",
        "[\n\t\r 1\n]",
        "\"\u{7f}\"",
        "\"\t\"",
        "nullx",
    ] {
        check(text, &TapeLimits::default()).unwrap();
        check(&format!("[{text}]"), &TapeLimits::default()).unwrap();
    }
    for digits in [9, 10, 18, 19, 20, 199, 200, 201, 308, 309, 310, 400] {
        check(&"9".repeat(digits), &TapeLimits::default()).unwrap();
        check(&format!("0.{}1", "0".repeat(digits)), &TapeLimits::default()).unwrap();
        check(&format!("{}e99", "9".repeat(digits)), &TapeLimits::default()).unwrap();
    }
}

#[test]
fn numbers_have_the_values_of_the_tape() {
    for text in [
        "0",
        "7",
        "999999999",
        "1000000000",
        "9007199254740993",
        "-0",
        "-1",
        "0.1",
        "1e3",
        "1.5e-8",
    ] {
        let mut tape = Tape::new();
        tape.parse(text.as_bytes(), &TapeLimits::default()).unwrap();
        let NodeValue::Number(expected) = tape.read(tape.root()) else {
            panic!("{text} is a number")
        };
        let number = parse_number(text.as_bytes());
        assert_eq!(number.map(f64::to_bits), Some(expected.to_bits()), "{text}");
    }
}
