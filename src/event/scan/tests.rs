//! The scan against the tape: on JSON, and on JSON with a byte too many, too few or changed.

use proptest::prelude::*;
use switchyard_expr::Tape;

use super::*;
use crate::event::members::Members;

fn choice(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(of).prop_map(str::to_owned)
}

fn json() -> impl Strategy<Value = String> {
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

fn children(scan: &ScanView<'_>, of: NodeId) -> Vec<NodeId> {
    std::iter::successors(scan.first_child(of), |child| scan.next_sibling(*child)).collect()
}

/// Everything there is to find, in the order found; a member stands for all of its name.
fn same(scan: &ScanView<'_>, at: NodeId, tape: &Tape, of: NodeId) -> Result<(), TestCaseError> {
    let (found, expected) = (scan.read(at), tape.read(of));
    if scan.is_stuck() {
        scan.stuck.set(false);
        prop_assert!(matches!(expected, Read::String(_)), "only text has escapes");
        return Ok(());
    }
    match expected {
        Read::Map { .. } => {
            prop_assert!(matches!(found, Read::Map { .. }), "no map");
            let mut child = tape.first_child(of);
            while let Some(node) = child {
                let twin = scan.member(at, tape.name(node));
                prop_assert!(twin.is_some(), "{} is missing", tape.name(node));
                same(scan, twin.unwrap_or(NodeId(0)), tape, node)?;
                child = tape.next_sibling(node);
            }
            for child in children(scan, at) {
                prop_assert!(tape.member(of, scan.name(child)).is_some());
            }
        }
        Read::List { .. } => {
            prop_assert_eq!(found, expected);
            let mut child = tape.first_child(of);
            for twin in children(scan, at) {
                let Some(node) = child else { return Err(TestCaseError::fail("too many items")) };
                same(scan, twin, tape, node)?;
                child = tape.next_sibling(node);
            }
        }
        Read::Number(number) => match found {
            Read::Number(twin) => prop_assert_eq!(twin.to_bits(), number.to_bits()),
            _ => prop_assert!(false, "no number"),
        },
        _ => prop_assert_eq!(found, expected),
    }
    Ok(())
}

fn check(text: &str, limits: &TapeLimits) -> Result<bool, TestCaseError> {
    let (mut scan, mut tape) = (Scan::default(), Tape::new());
    let accepted = scan.read(text, limits);
    let parsed = tape.parse(text.as_bytes(), limits);
    if accepted {
        prop_assert_eq!(parsed, Ok(()), "{}", text);
        same(&scan.view(text), NodeId(0), &tape, NodeId(0))?;
        if let Ok(members) = Members::parse(text) {
            prop_assert_eq!(scan.view(text).outline(), Some(members.outline(text)));
        }
    } else {
        // The only JSON that is left to the tape.
        prop_assert!(parsed.is_err() || text.contains('\\'), "{} is refused", text);
    }
    Ok(accepted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_reads_as_on_the_tape(text in damaged()) {
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
    #[test]
    fn large_maps_are_read_as_on_the_tape(
        names in prop::collection::vec("[ab]{0,3}|customfield_100[0-9]{2}", 8..80),
    ) {
        let members = names.iter().enumerate().map(|(at, name)| format!("\"{name}\":{at}"));
        check(&format!("{{{}}}", members.collect::<Vec<_>>().join(",")), &TapeLimits::default())?;
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
fn plain_text_ends_at_the_first_special_byte() {
    for len in 0..20 {
        let text = "x".repeat(len);
        assert_eq!(plain(text.as_bytes()), len);
        for special in ["\"", "\\", "\u{0}", "\u{1f}", "\n"] {
            for tail in ["", "y", "\"", "a tail of some length"] {
                assert_eq!(plain(format!("{text}{special}{tail}").as_bytes()), len);
            }
        }
        assert_eq!(plain(format!("{text}ä\u{7f} !").as_bytes()), len + 5);
    }
}
