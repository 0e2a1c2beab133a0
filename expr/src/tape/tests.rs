use super::*;

fn tape(text: &str) -> Tape {
    let mut tape = Tape::new();
    tape.parse(text.as_bytes(), &TapeLimits::default()).unwrap();
    tape
}

fn error(text: &[u8]) -> TapeError {
    Tape::new().parse(text, &TapeLimits::default()).unwrap_err()
}

fn at<'t>(tape: &'t Tape, path: &str) -> Option<Read<'t>> {
    let mut node = tape.root();
    for name in path.split('.') {
        node = tape.member(node, name)?;
    }
    Some(tape.read(node))
}

#[test]
fn reads_members_of_nested_objects() {
    let tape = tape(r#"{"a": {"b": [1, true, null, "x"]}, "c": "y"}"#);
    assert_eq!(at(&tape, "a.b"), Some(Read::List { len: 4 }));
    assert_eq!(at(&tape, "c"), Some(Read::String("y")));
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
        assert_eq!(tape.read(tape.root()), Read::Map { len: count + 1 });
        assert_eq!(at(&tape, "x"), Some(Read::Number(f64::from(count - 1))));
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
        assert_eq!(found, Some(Read::Number(f64::from(number))));
    }
    assert_eq!(at(&tape, "customfield_3000"), None);
}

#[test]
fn resolves_escapes_in_names_and_text() {
    let tape = tape(r#"{"a\n": "x\u0041\ud83d\ude00", "b": "plain"}"#);
    assert_eq!(at(&tape, "a\n"), Some(Read::String("xA😀")));
    assert_eq!(at(&tape, "b"), Some(Read::String("plain")));
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
    assert!(matches!(error(b"{} {}"), TapeError::Syntax { .. }));
    assert!(matches!(error(b""), TapeError::Syntax { .. }));
    assert_eq!(error(b"\"ab\xff\""), TapeError::Utf8 { offset: 3 });
}

#[test]
fn is_empty_after_an_error_and_usable_again() {
    let mut tape = tape("{\"a\": 1}");
    assert!(tape.parse(b"{", &TapeLimits::default()).is_err());
    assert_eq!(tape.read(tape.root()), Read::Null);
    assert!(!tape.is_object());
    tape.parse(b"{\"b\": 2}", &TapeLimits::default()).unwrap();
    assert_eq!(at(&tape, "b"), Some(Read::Number(2.0)));
}

#[test]
fn tells_where_the_members_of_the_root_stand() {
    let text = "{ \"a\" : [1, {\"x\": \"}\"}] ,\"b\\\"\":\"q\\\"\", \"c\":12\n}";
    let tape = tape(text);
    let members: Vec<(&str, &str, &str)> = tape
        .top_level_members()
        .map(|member| (member.raw_name, &text[member.range], &text[member.value]))
        .collect();
    let expected = vec![
        ("a", "\"a\" : [1, {\"x\": \"}\"}]", "[1, {\"x\": \"}\"}]"),
        ("b\\\"", "\"b\\\"\":\"q\\\"\"", "\"q\\\"\""),
        ("c", "\"c\":12", "12"),
    ];
    assert_eq!(members, expected);
    assert_eq!(super::Tape::new().top_level_members().count(), 0);
}
