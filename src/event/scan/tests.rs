//! The scan against the tape: on JSON, and on JSON with a byte too many, too few or changed.

use proptest::prelude::*;
use switchyard_expr::view::Read;
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

/// The same text, at most one byte off.
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

/// Whether the text is accepted, as by the tape.
fn check(text: &str, limits: &TapeLimits) -> Result<bool, TestCaseError> {
    let (mut scan, mut tape) = (Scan::default(), Tape::new());
    let accepted = scan.read(text.as_bytes(), limits);
    let parsed = tape.parse(text.as_bytes(), limits);
    prop_assert_eq!(accepted, parsed.is_ok(), "{:?}: {:?}", text, parsed);
    if accepted && let Ok(members) = Members::parse(text) {
        let expected = members.outline(text);
        match scan.outline(text.as_bytes()) {
            Some(outline) => prop_assert_eq!(outline, expected),
            None => prop_assert!(text.contains('\\')),
        }
    }
    Ok(accepted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_tape_accepts_the_same(text in damaged()) {
        check(&text, &TapeLimits::default())?;
    }

    #[test]
    fn limits_are_those_of_the_tape(text in json(), depth in 0..5_u32, nodes in 0..20_u32) {
        check(&text, &TapeLimits { depth, nodes })?;
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:a0 \\\\-]{0,24}") {
        check(&text, &TapeLimits::default())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Blocks end anywhere in what is tested, and more than one of them.
    #[test]
    fn where_a_text_stands_does_not_matter(text in damaged(), before in 0..140_usize) {
        check(&format!("{}{text}", " ".repeat(before)), &TapeLimits::default())?;
        check(&format!("[\"{}\",{text}]", "x".repeat(before)), &TapeLimits::default())?;
        check(&format!("[\"{}\",{text}]", "\\".repeat(before)), &TapeLimits::default())?;
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut scan, mut tape) = (Scan::default(), Tape::new());
        let limits = TapeLimits::default();
        prop_assert_eq!(scan.read(&bytes, &limits), tape.parse(&bytes, &limits).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused(
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

#[test]
fn depth_ends_at_the_limit() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let limits = TapeLimits::default();
    assert!(check(&nested(512), &limits).unwrap());
    assert!(!check(&nested(513), &limits).unwrap());
    assert!(!check(&nested(1_000_000), &limits).unwrap());
}

#[test]
fn escapes_and_numbers_end_where_the_tape_ends_them() {
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
fn numbers_are_those_of_the_tape() {
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
        let Read::Number(expected) = tape.read(tape.root()) else { panic!("{text} is a number") };
        let number = parse_number(text.as_bytes());
        assert_eq!(number.map(f64::to_bits), Some(expected.to_bits()), "{text}");
    }
}
