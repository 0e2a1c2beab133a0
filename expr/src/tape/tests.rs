//! Tests of tapes: structure, limits, and texts that are not JSON.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::view::{NodeId, NodeValue, View};

fn tape(text: &str) -> Tape {
    let mut tape = Tape::new();
    tape.parse(text.as_bytes(), &TapeLimits::default()).unwrap();
    tape
}

fn error(text: &[u8]) -> TapeError {
    Tape::new().parse(text, &TapeLimits::default()).unwrap_err()
}

fn at<'t>(tape: &'t Tape, path: &str) -> Option<NodeValue<'t>> {
    let mut node = tape.root();
    for name in path.split('.') {
        node = tape.member(node, name)?;
    }
    Some(tape.read(node))
}

#[test]
fn reads_members_of_nested_objects() {
    let tape = tape(r#"{"a": {"b": [1, true, null, "x"]}, "c": "y"}"#);
    assert_eq!(at(&tape, "a.b"), Some(NodeValue::List { len: 4 }));
    assert_eq!(at(&tape, "c"), Some(NodeValue::String("y")));
    assert_eq!(at(&tape, "a.c"), None);
    assert_eq!(at(&tape, "c.d"), None);
}

#[test]
fn keeps_the_last_of_repeated_names() {
    for count in [1, 2, 10, 63, 64, 65, 200] {
        let mut text = String::from("{\"x\": 0");
        for at in 0..count {
            text.push_str(&format!(", \"k{at}\": {at}, \"x\": {at}"));
        }
        text.push('}');
        let tape = tape(&text);
        assert_eq!(tape.read(tape.root()), NodeValue::Map { len: count + 1 });
        assert_eq!(at(&tape, "x"), Some(NodeValue::Number(f64::from(count - 1))));
        let mut names: Vec<&str> = Vec::new();
        let mut child = tape.first_child(tape.root());
        while let Some(node) = child {
            names.push(tape.name(node));
            child = tape.next_sibling(node);
        }
        assert_eq!(names.len(), count as usize + 1);
        assert_eq!(names.iter().filter(|name| **name == "x").count(), 1);
    }
}

#[test]
fn finds_every_member_of_a_large_map() {
    let members: Vec<String> = (0..3000).map(|at| format!("\"customfield_{at}\":{at}")).collect();
    let tape = tape(&format!("{{{}}}", members.join(",")));
    for number in 0..3000 {
        let found = at(&tape, &format!("customfield_{number}"));
        assert_eq!(found, Some(NodeValue::Number(f64::from(number))));
    }
    assert_eq!(at(&tape, "customfield_3000"), None);
}

#[test]
fn resolves_escapes_in_names_and_text() {
    let tape = tape(r#"{"a\n": "x\u0041\ud83d\ude00", "b": "plain"}"#);
    assert_eq!(at(&tape, "a\n"), Some(NodeValue::String("xA😀")));
    assert_eq!(at(&tape, "b"), Some(NodeValue::String("plain")));
}

#[test]
fn bounds_depth_without_using_the_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Tape::new().parse(nested(511).as_bytes(), &TapeLimits::default()).is_ok());
    assert!(Tape::new().parse(nested(512).as_bytes(), &TapeLimits::default()).is_ok());
    assert_eq!(error(nested(513).as_bytes()), TapeError::Depth);
    assert_eq!(error(nested(100_000).as_bytes()), TapeError::Depth);
    assert_eq!(error("{\"a\":".repeat(100_000).as_bytes()), TapeError::Depth);
}

#[test]
fn bounds_the_number_of_values() {
    let limits = TapeLimits { nodes: 4, ..TapeLimits::default() };
    assert!(Tape::new().parse(b"[1,2,3]", &limits).is_ok());
    assert_eq!(Tape::new().parse(b"[1,2,3,4]", &limits), Err(TapeError::Nodes));
}

#[test]
fn refuses_what_is_not_one_json_value() {
    assert_eq!(error(b"{\"a\": }"), TapeError::Syntax { line: 1, column: 7 });
    assert_eq!(error(b"{\"a\":1e999}"), TapeError::Number { line: 1, column: 10 });
    assert!(matches!(error(b"[-1e400, 1"), TapeError::Number { .. }));
    assert!(matches!(error(b"[1e300, 1"), TapeError::Syntax { .. }));
    assert!(matches!(error(b"{} {}"), TapeError::Syntax { .. }));
    assert!(matches!(error(b""), TapeError::Syntax { .. }));
    assert_eq!(error(b"\"ab\xff\""), TapeError::Utf8 { offset: 3 });
}

#[test]
fn is_empty_after_an_error_and_usable_again() {
    let mut tape = tape("{\"a\": 1}");
    assert!(tape.parse(b"{", &TapeLimits::default()).is_err());
    assert_eq!(tape.read(tape.root()), NodeValue::Null);
    assert!(!tape.is_object());
    tape.parse(b"{\"b\": 2}", &TapeLimits::default()).unwrap();
    assert_eq!(at(&tape, "b"), Some(NodeValue::Number(2.0)));
}

/// The expected value or error, by `serde_json`.
fn reference(text: &str) -> Result<Value, TapeError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let read = Value::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| strict::from_serde(&error))
}

fn same(tape: &Tape, node: NodeId, value: &Value) -> bool {
    let children = || {
        std::iter::successors(tape.first_child(node), |child| tape.next_sibling(*child))
            .collect::<Vec<_>>()
    };
    match (tape.read(node), value) {
        (NodeValue::Null, Value::Null) => true,
        (NodeValue::Bool(ours), Value::Bool(theirs)) => ours == *theirs,
        (NodeValue::Number(ours), Value::Number(theirs)) => {
            theirs.as_f64().is_some_and(|theirs| ours.to_bits() == theirs.to_bits())
        }
        (NodeValue::String(ours), Value::String(theirs)) => ours == theirs,
        (NodeValue::List { len }, Value::Array(theirs)) => {
            let ours = children();
            (len as usize, ours.len()) == (theirs.len(), theirs.len())
                && ours.iter().zip(theirs).all(|(ours, theirs)| same(tape, *ours, theirs))
        }
        (NodeValue::Map { len }, Value::Object(theirs)) => {
            (len as usize, children().len()) == (theirs.len(), theirs.len())
                && theirs.iter().all(|(name, theirs)| {
                    tape.member(node, name)
                        .is_some_and(|ours| tape.name(ours) == name && same(tape, ours, theirs))
                })
        }
        _ => false,
    }
}

/// Fails unless the tape and `serde_json` agree on the value or the position of the error.
fn agrees(text: &str) -> Result<(), TestCaseError> {
    let mut tape = Tape::new();
    let ours = tape.parse(text.as_bytes(), &TapeLimits::default());
    match reference(text) {
        Ok(value) => {
            prop_assert_eq!(ours, Ok(()), "{}", text);
            prop_assert!(same(&tape, tape.root(), &value), "{}", text);
        }
        Err(error) => prop_assert_eq!(ours, Err(error), "{}", text),
    }
    Ok(())
}

/// Fragments of JSON, valid and invalid, in any order.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[\\[\\]{},:\" \n\t]".prop_map(String::from),
        2 => prop::sample::select(vec![
            "true", "false", "null", "nul", "-0", "-", "0", "01", "1e5", "1E+400", "1e-400", "1.", ".5",
            "-1.25e-2", "123456789012345678", "1234567890123456789", "18446744073709551616", "1e",
            "\"a\"", "\"a\":", "\"key\":1", "\"\\u00e9\"", "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"", "\"\\q\"", "\"\\\"\"", "\"\\\\\"", "\"\u{1}\"",
            "\"longer than eight bytes\"", "\u{feff}", "/",
        ]).prop_map(String::from),
        1 => "\"[a-c]{0,12}\":".prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ]
}

/// JSON with repeated names, escapes, unusual numbers and white space.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        "\"([a-z]|\\\\n|\\\\u00[0-9a-f]{2}){0,10}\"",
    ];
    let blank = "[ \n\t\r]{0,2}";
    scalar.prop_recursive(4, 200, 80, move |inner| {
        let name = prop_oneof!["\"[ab]{0,3}\"", "\"customfield_[0-9]{1,3}\"", "\"\\\\u006[1-3]\""];
        let member = (name, blank, inner.clone()).prop_map(|(n, b, v)| format!("{n}{b}:{b}{v}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..5), blank)
                .prop_map(|(all, b)| format!("[{b}{}{b}]", all.join(","))),
            (prop::collection::vec(member, 0..100), blank)
                .prop_map(|(all, b)| format!("{{{b}{}{b}}}", all.join(&format!("{b},{b}")))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn reads_json_as_serde_json_does(text in json()) {
        agrees(&text)?;
    }

    #[test]
    fn refuses_broken_text_where_serde_json_does(
        text in json(), at in any::<prop::sample::Index>(), cut in 0_usize..3, piece in piece(),
    ) {
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let start = *at.get(&starts);
        let end = text[start..].char_indices().nth(cut).map_or(text.len(), |(at, _)| start + at);
        agrees(&format!("{}{piece}{}", &text[..start], &text[end..]))?;
    }

    #[test]
    fn agrees_with_serde_json_on_any_pieces(pieces in prop::collection::vec(piece(), 0..12)) {
        agrees(&pieces.concat())?;
    }
}
