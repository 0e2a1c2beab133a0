//! Generates filters and events from a small vocabulary, so that they often match.

use proptest::prelude::*;

use super::world::Registered;
use crate::domain::OnError;

/// Number of installations that register.
pub(super) const INSTALLATIONS: usize = 5;

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// An installation replaces all its modules.
    Register(usize, Vec<Registered>),
    /// An event arrives.
    Event(String),
}

pub(super) fn act(filter: impl Strategy<Value = String>) -> impl Strategy<Value = Act> {
    let registered = (filter, any::<[bool; 4]>(), 0..8_u8, 0..4_u8).prop_map(
        |(text, [own, licence, bare, _], bits, on_error)| Registered {
            text: (!(bare && bits == 0)).then_some(text),
            ignore_self: own && bits % 2 == 0,
            requires_licence: licence && bits % 3 == 0,
            second_type: bits % 4 == 1,
            filter_of_second_type: bits == 5,
            on_error: match on_error {
                0 => OnError::Ignore,
                1 => OnError::IgnoreAndLog,
                2 => OnError::Receive,
                _ => OnError::ReceiveAndLog,
            },
        },
    );
    prop_oneof![
        1 => (0..INSTALLATIONS, prop::collection::vec(registered, 0..6))
            .prop_map(|(installation, modules)| Act::Register(installation, modules)),
        2 => event_text().prop_map(Act::Event),
    ]
}

fn one_of(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(choices).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    one_of(&[
        "event.a",
        "event.a",
        "event.n",
        "event.n",
        "event.p.k",
        "event.p.k",
        "event.p?.k",
        "event['p']['k']",
        "event.p.k.z",
        "event?.p?.k?.z",
        "event.q.r",
        "event.q?.r",
        "event.list",
        "event.toString",
        "event.selfGenerated",
        "event.permissions.scopes[0]",
        "event.missing",
        "event.missing.deep",
        "event.missing?.deep",
        "event.p.length",
    ])
}

fn constant() -> impl Strategy<Value = String> {
    one_of(&[
        "'x'",
        "'x'",
        "'y'",
        "''",
        "1",
        "1",
        "2",
        "1.0",
        "'1'",
        "-1",
        "true",
        "null",
        "0",
        "9007199254740993",
        "'ä\u{1F600}'",
    ])
}

/// An equality, which every index can hold.
fn equality() -> impl Strategy<Value = String> {
    (path(), constant(), constant(), 0..8_u8).prop_map(|(path, a, b, form)| match form {
        0 => format!("{a} == {path}"),
        1 => format!("[{a}, {b}].includes({path})"),
        2 => format!("({path} == {a} || {path} == {b})"),
        _ => format!("{path} == {a}"),
    })
}

fn item_test() -> impl Strategy<Value = String> {
    let member = || one_of(&["field", "fieldId", "toString", "fromString", "to?.x"]);
    let test = (member(), one_of(&["==", "==", "==", "!="]), one_of(&["'x'", "'y'", "1", "null"]))
        .prop_map(|(member, op, constant)| format!("i.{member} {op} {constant}"));
    prop::collection::vec(test, 1..4).prop_map(|tests| tests.join(" && "))
}

fn atom() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => equality(),
        1 => (path(), constant()).prop_map(|(path, a)| format!("{path} != {a}")),
        2 => (path(), one_of(&["<", "<=", ">", ">="]), one_of(&["0", "1", "2", "-1", "'x'"]))
            .prop_map(|(path, op, a)| format!("{path} {op} {a}")),
        1 => (path(), one_of(&["<", ">="]), one_of(&["0", "1", "2"]))
            .prop_map(|(path, op, a)| format!("{a} {op} {path}")),
        1 => (path(), one_of(&["0", "1"])).prop_map(|(p, a)| format!("{p} != null && {p} > {a}")),
        2 => (path(), constant()).prop_map(|(path, a)| format!("{path}.includes({a})")),
        1 => (path(), one_of(&["'x'", "'y'"])).prop_map(|(p, a)| format!("{p}?.includes({a})")),
        2 => item_test().prop_map(|test| format!("event.changelog.items.some(i => {test})")),
        1 => item_test().prop_map(|test| format!("event.changelog?.items?.some(i => {test})")),
        1 => (path(), constant()).prop_map(|(p, a)| format!("{p}.some(l => l == {a})")),
        1 => path(),
        1 => constant(),
        1 => path().prop_map(|path| format!("typeof {path} == 'String'")),
        1 => (path(), path()).prop_map(|(a, b)| format!("{a} == {b}")),
        1 => unindexed(),
    ]
}

/// Expressions that the index has no test for, and that several filters share.
fn unindexed() -> impl Strategy<Value = String> {
    one_of(&[
        "event.a == event.n",
        "event.a == event.p.k",
        "event.p?.k == event.q?.r",
        "(event.a == event.n || event.a == 'x')",
        "!(event.a == event.p.k)",
        "event.a.trim() == 'x'",
        "event.list.map(l => l == event.a).includes(true)",
        "event.list.some(l => l == event.a)",
        "event.selfGenerated != event.a",
        "event.permissions.scopes.includes('scope-1')",
        "event.a.repeat(5000).length > 1",
    ])
}

/// A conjunction, as most filters are.
pub(super) fn small_filter() -> impl Strategy<Value = String> {
    let plain = || {
        (path(), constant(), any::<bool>())
            .prop_map(|(path, a, equal)| format!("{path} {} {a}", if equal { "==" } else { "!=" }))
    };
    let around = (prop::option::of(plain()), unindexed(), prop::collection::vec(plain(), 0..3));
    prop_oneof![
        3 => around.prop_map(|(before, operand, behind)| {
            let all: Vec<String> = before.into_iter().chain([operand]).chain(behind).collect();
            all.join(" && ")
        }),
        5 => prop::collection::vec(equality(), 1..4).prop_map(|tests| tests.join(" && ")),
        5 => prop::collection::vec(atom(), 1..4).prop_map(|tests| tests.join(" && ")),
        2 => filter(),
    ]
}

/// Any filter.
pub(super) fn filter() -> impl Strategy<Value = String> {
    atom().prop_recursive(4, 16, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            5 => list().prop_map(|all| all.join(" && ")),
            2 => list().prop_map(|all| format!("({})", all.join(" && "))),
            4 => list().prop_map(|any| format!("({})", any.join(" || "))),
            2 => inner.clone().prop_map(|one| format!("!({one})")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(({a}) ? {b} : {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} ?? {b})")),
        ]
    })
}

fn scalar() -> impl Strategy<Value = String> {
    one_of(&[
        r#""x""#,
        r#""x""#,
        r#""\u0078""#,
        r#""y""#,
        r#""""#,
        r#""axb""#,
        "1",
        "1",
        "1.0",
        "1e0",
        "2",
        "-1",
        "-0",
        r#""1""#,
        "true",
        "false",
        "null",
        "null",
        "9007199254740993",
        "9007199254740992",
        r#""\u00e4😀""#,
    ])
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(|all| format!("[{}]", all.join(", "))),
        2 => prop::collection::vec((one_of(&["k", "k", "r", "z", "\\u006b"]), scalar()), 0..3)
            .prop_map(|members| object(&members)),
    ]
}

/// Mostly the type of value that filters expect at a path.
fn expected(value: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop_oneof![5 => value.boxed(), 1 => self::value().boxed()]
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn holder(name: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec((one_of(&["z", "other"]), value()), 0..2).prop_flat_map(move |rest| {
        value().prop_map(move |held| {
            let mut members = rest.clone();
            members.push((name.to_owned(), held));
            object(&members)
        })
    })
}

fn item() -> impl Strategy<Value = String> {
    let name = one_of(&["field", "field", "fieldId", "toString", "toString", "fromString", "to"]);
    let text = one_of(&[r#""x""#, r#""x""#, r#""y""#, "1", "null", "{\"x\":1}"]);
    prop_oneof![
        9 => prop::collection::vec((name, text), 0..5).prop_map(|members| object(&members)),
        1 => scalar(),
    ]
}

fn changelog() -> impl Strategy<Value = String> {
    let items = prop_oneof![
        9 => prop::collection::vec(item(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
        1 => value(),
    ];
    items.prop_map(|items| format!("{{\"id\":\"1\",\"items\":{items}}}"))
}

/// An event; member names may repeat, and then the last counts.
pub(super) fn event_text() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        3 => expected(scalar()).prop_map(|v| ("a".to_owned(), v)),
        3 => expected(one_of(&["0", "1", "2", "1.5", "null"])).prop_map(|v| ("n".to_owned(), v)),
        3 => expected(holder("k")).prop_map(|v| ("p".to_owned(), v)),
        2 => expected(holder("r")).prop_map(|v| ("q".to_owned(), v)),
        2 => expected(one_of(&[r#"["x", 1]"#, r#"["y"]"#, "[]", r#""axb""#]))
            .prop_map(|v| ("list".to_owned(), v)),
        3 => expected(changelog()).prop_map(|v| ("changelog".to_owned(), v)),
        1 => scalar().prop_map(|v| ("toString".to_owned(), v)),
        1 => scalar().prop_map(|v| ("\\u0061".to_owned(), v)),
        1 => one_of(&["true", "false", "\"x\""]).prop_map(|v| ("selfGenerated".to_owned(), v)),
        1 => one_of(&["\"acc-0\"", "\"acc-1\"", "1"]).prop_map(|v| ("atlassianId".to_owned(), v)),
    ];
    prop::collection::vec(member, 0..12).prop_map(|members| object(&members))
}
