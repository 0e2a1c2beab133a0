//! Property tests: both evaluators agree in value, error and steps on generated expressions and
//! events, and the conditions of the index agree with both.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use switchyard_expr::cases::{CaseOutcome, compiled, reference, to_json};
use switchyard_expr::predicate::{Condition, Constant, ItemTest, MethodTest, Path, Resolved};
use switchyard_expr::view::{NodeId, NodeValue};
use switchyard_expr::{
    CheckProfile, Env, EvalError, EvalScratch, Program, Tape, TapeLimits, TemplateCache, Usage,
    View, compile, compile_for, render,
};

/// Names that events have, names that they lack, and names of builtins.
const NAMES: [&str; 12] = [
    "issue",
    "fields",
    "key",
    "labels",
    "name",
    "n",
    "missing",
    "length",
    "get",
    "toString",
    "items",
    "selfGenerated",
];

const METHODS: [&str; 26] = [
    "trim",
    "toLowerCase",
    "toUpperCase",
    "split",
    "slice",
    "includes",
    "indexOf",
    "padStart",
    "padEnd",
    "repeat",
    "replace",
    "match",
    "matchAll",
    "map",
    "flatMap",
    "flatten",
    "filter",
    "every",
    "some",
    "concat",
    "reduce",
    "join",
    "sort",
    "get",
    "set",
    "entries",
];

const OPERATORS: [&str; 14] =
    ["??", "||", "&&", "==", "!=", "<", ">", "<=", ">=", "+", "-", "*", "/", "%"];

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        (0..4_u8).prop_map(|number| number.to_string()),
        prop::sample::select(vec!["''", "'a'", "'Bug'", "\"x😀\"", "'1'", "'[a-z]'", "'key'"])
            .prop_map(str::to_owned),
        prop::sample::select(vec!["['a', 'Bug', 1, null]", "[]", "[3, 1, 2]", "['b', 'a']"])
            .prop_map(str::to_owned),
        prop::sample::select(vec![
            "new Date(0)",
            "new Date('2020-01-31')",
            "new CalendarDate('2024-02-29')",
            "new Map()",
            "{a: 1, key: 'a'}",
            "{}",
            "JSON.parse('{\"a\": [1, 2]}')",
            "1.5",
            "-1",
            "- 2",
            "-(3)",
            "-0",
            "-2.5",
            "[-1, 2, -3]",
            "[0, -1, -0, 1, -2, 3, -1]",
            "[-1, -2.5, 'a', - 2, -(1)]",
        ])
        .prop_map(str::to_owned),
    ]
}

/// `event.issue?.fields['name']` and the like.
fn path() -> impl Strategy<Value = String> {
    let step = (prop::sample::select(NAMES.to_vec()), 0..6_u8);
    prop::collection::vec(step, 0..5).prop_map(|steps| {
        let mut path = "event".to_owned();
        for (name, form) in steps {
            path.push_str(&match form {
                0 => format!("?.{name}"),
                1 => format!("['{name}']"),
                2 => format!("?.['{name}']"),
                _ => format!(".{name}"),
            });
        }
        path
    })
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => path(),
        3 => literal(),
        2 => prop::sample::select(vec!["a", "b", "x"]).prop_map(str::to_owned),
    ]
}

fn method(inner: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> {
    let arguments = prop::collection::vec(inner.clone(), 0..3);
    let dot = prop::sample::select(vec![".", ".", "?."]);
    (inner, dot, prop::sample::select(METHODS.to_vec()), arguments).prop_map(
        |(receiver, dot, method, arguments)| {
            format!("({receiver}){dot}{method}({})", arguments.join(", "))
        },
    )
}

fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        let triple = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            6 => (inner.clone(), prop::sample::select(OPERATORS.to_vec()), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            2 => inner.clone().prop_map(|a| format!("({a})")),
            2 => (prop::sample::select(vec!["!", "-", "typeof "]), inner.clone())
                .prop_map(|(op, a)| format!("{op}({a})")),
            1 => triple.clone().prop_map(|(a, b, c)| format!("({a}) ? {b} : {c}")),
            4 => method(inner.clone()),
            3 => (inner.clone(), prop::sample::select(METHODS.to_vec()), inner.clone()).prop_map(
                |(list, method, body)| format!("({list}).{method}(x => {body})")
            ),
            1 => (inner.clone(), inner.clone()).prop_map(
                |(list, body)| format!("({list}).reduce((a, b) => {body}, 0)")
            ),
            1 => (inner.clone(), prop::sample::select(vec!["-1", "- 1", "-1?.key", "-(2)", "- -2"]))
                .prop_map(|(a, number)| format!("{a} {number}")),
            1 => pair.clone().prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => pair.clone().prop_map(|(a, b)| format!("({a})?.[{b}]?.key.name")),
            1 => pair.clone().prop_map(|(a, b)| format!("[{a}, {b},]")),
            1 => pair.clone().prop_map(|(a, b)| format!("({{a: {a}, 'b': {b}}})")),
            1 => pair.clone().prop_map(|(a, b)| format!("`${{{a}}} and ${{{b}}}`")),
            1 => inner.clone().prop_map(|a| format!("(throw {a})")),
            1 => pair.clone().prop_map(|(a, b)| format!("(() => {{ let a = {a}; {b} }})()")),
            1 => pair.clone().prop_map(|(a, b)| format!("((a, b) => {a})({b})")),
            1 => pair.clone().prop_map(
                |(a, b)| format!("(() => {{ try {{ {a} }} catch (b) {{ {b} }} }})()")
            ),
            1 => inner.clone().prop_map(
                |a| format!("(() => {{ try {{ {a} }} catch (e) {{ e.location + e.message }} }})()")
            ),
            1 => triple.prop_map(
                |(a, b, c)| format!("(() => {{ if ({a}) {{ {b} }} else {{ {c} }} }})()")
            ),
        ]
    })
}

fn program() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => expression(),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("let a = {a}; {b}")),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("x = {a}; b = x; {b}")),
    ]
}

fn event_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-2..4_i32).prop_map(Json::from),
        prop::sample::select(vec!["", "a", "Bug", "A1", "x😀y", "In Progress"])
            .prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop::sample::select(NAMES.to_vec());
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            3 => prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
                Json::Object(members.collect())
            }),
        ]
    })
}

/// An event with most of the paths that the expressions read.
fn event() -> impl Strategy<Value = Json> {
    let member = || event_value().boxed();
    (member(), member(), member(), member()).prop_map(|(fields, key, labels, n)| {
        json!({"issue": {"fields": fields, "key": key, "labels": labels}, "n": n, "labels": labels})
    })
}

fn tape(event: &Json) -> Tape {
    let mut tape = Tape::new();
    assert_eq!(tape.parse(event.to_string().as_bytes(), &TapeLimits::default()), Ok(()));
    tape
}

/// The result of an evaluation, with error spans, and its steps.
type Evaluated = (Result<Json, EvalError>, u32);

fn evaluated(program: &Program, tape: &Tape, env: &Env) -> Evaluated {
    let mut scratch = EvalScratch::new();
    let value = program.eval(tape, env, &mut scratch).map(|value| to_json(&value, tape));
    (value, scratch.steps())
}

fn evaluated_by_reference(source: &str, tape: &Tape, env: &Env) -> Option<Evaluated> {
    let tree = switchyard_expr::reference::Tree::parse(source, CheckProfile::General).ok()?;
    let (value, steps) = tree.eval(tape, env);
    Some((value.map(|value| to_json(&value, tape)), steps))
}

/// The same expression with other strings and numbers in place of its constants.
fn with_other_constants(source: &str, seed: u32) -> String {
    let texts = ["", "a", "Bug", "a longer text", "1", "[a-z]", "😀", "key", "2020-01-31"];
    let mut state = seed;
    let mut pick = |from: &[&'static str]| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        from.get((state >> 16) as usize % from.len()).copied().unwrap_or_default()
    };
    let (mut out, mut rest, mut quote) = (String::new(), source.chars().peekable(), None);
    while let Some(c) = rest.next() {
        let in_word = out.ends_with(|last: char| last.is_alphanumeric() || "_.".contains(last));
        out.push(c);
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => {
                let inner: String = std::iter::from_fn(|| rest.next_if(|n| *n != c)).collect();
                let is_plain = !inner.contains('\\');
                out.push_str(if is_plain { pick(&texts) } else { &inner });
                quote = Some(c);
            }
            None if c.is_ascii_digit() && !in_word => {
                out.pop();
                while rest.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {}
                out.push_str(pick(&["0", "7", "12345", "2.5", "1000000000000", "-2", "-0", "- 1"]));
            }
            None => {}
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn compiled_form_agrees_with_the_reference(source in program(), event in event()) {
        let tape = tape(&event);
        let env = Env::at(1_700_000_000_000);
        let (found, steps) = compiled(&source, &tape, &env);
        let (expected, expected_steps) = reference(&source, &tape, &env);
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(steps, expected_steps);
        // A generated expression must not fail to parse.
        if let CaseOutcome::Error { code, .. } = &found {
            prop_assert!(code.kind() != switchyard_expr::ErrorKind::Syntax, "{}", source);
        }
    }

    #[test]
    fn filters_of_one_shape_keep_their_own_constants(
        source in program(),
        seed in any::<u32>(),
        event in event(),
        steps_max in 0..200_u32,
    ) {
        let tape = tape(&event);
        let cache = TemplateCache::new();
        let sources = [source.clone(), with_other_constants(&source, seed)];
        let programs = sources.each_ref().map(|text| cache.compile(text, CheckProfile::General));
        for (text, program) in sources.iter().zip(&programs) {
            let alone = compile(text, CheckProfile::General);
            prop_assert_eq!(program.is_ok(), alone.is_ok(), "{}", text);
            let (Ok(program), Ok(alone)) = (program, alone) else { continue };
            prop_assert!(program.is_of(text));
            prop_assert_eq!(&program.source(), text);
            prop_assert_eq!(program.source_len(), text.len());
            let facts = [program.facts(), alone.program.facts()].map(|facts| format!("{facts:?}"));
            prop_assert_eq!(&facts[0], &facts[1], "{}", text);
            for steps_max in [steps_max, 50_000] {
                let env = Env { now_ms: 0, steps_max };
                let expected = evaluated_by_reference(text, &tape, &env);
                prop_assert_eq!(Some(evaluated(program, &tape, &env)), expected, "{}", text);
            }
        }
    }

    #[test]
    fn agrees_under_any_step_limit(source in program(), event in event(), steps_max in 0..60_u32) {
        let tape = tape(&event);
        let env = Env { now_ms: 0, steps_max };
        prop_assert_eq!(compiled(&source, &tape, &env), reference(&source, &tape, &env));
    }

    #[test]
    fn canonical_spelling_means_the_same(source in program(), event in event()) {
        let Ok(canonical) = switchyard_expr::canonical(&source) else {
            return Err(TestCaseError::fail(source));
        };
        prop_assert_eq!(switchyard_expr::canonical(&canonical).ok(), Some(canonical.clone()));
        let tape = tape(&event);
        let env = Env::at(0);
        let (found, steps) = compiled(&canonical, &tape, &env);
        let (expected, expected_steps) = compiled(&source, &tape, &env);
        // An expression may read the location of an error, which depends on the layout.
        if !source.contains("location") {
            prop_assert_eq!(steps, expected_steps, "{}", canonical);
            prop_assert_eq!(found, expected, "{}", canonical);
        }
    }

    #[test]
    fn explained_verdict_is_the_verdict(source in program(), event in event()) {
        let (tape, env) = (tape(&event), Env::at(0));
        let explained = switchyard_expr::explain::explain(&source, &tape, &env);
        let compiled = compile(&source, CheckProfile::Filter);
        prop_assert_eq!(explained.is_ok(), compiled.is_ok());
        if let (Ok(explained), Ok(compiled)) = (explained, compiled) {
            let mut scratch = EvalScratch::new();
            let verdict = compiled.program.verdict(&tape, &env, &mut scratch);
            prop_assert_eq!(&explained.verdict, &verdict);
            prop_assert!(!explained.text().is_empty());
        }
    }

    #[test]
    fn checker_never_panics_and_its_findings_render(tokens in prop::collection::vec(token(), 0..40)) {
        let source = tokens.join(" ");
        let usage = Usage { events: &["avi:jira:created:issue"], delivers_on_error: true };
        if let Err(rejected) = compile_for(&source, CheckProfile::Filter, &usage) {
            prop_assert!(rejected.first_error().is_some());
            prop_assert!(!render::render(&rejected.diagnostics, &source, "x").is_empty());
        }
    }

    #[test]
    fn never_panics_on_any_text(source in "\\PC{0,60}") {
        let _ = compile(&source, CheckProfile::Filter);
    }

    #[test]
    fn never_panics_on_shuffled_tokens(tokens in prop::collection::vec(token(), 0..40)) {
        let source = tokens.join(" ");
        let tape = Tape::new();
        let env = Env::at(0);
        prop_assert_eq!(compiled(&source, &tape, &env), reference(&source, &tape, &env));
        let _ = compile(&source, CheckProfile::Filter);
    }

    #[test]
    fn paths_resolve_as_they_evaluate(path in path(), event in event()) {
        let source = format!("{path} == 'Bug'");
        let Ok(compiled) = compile(&source, CheckProfile::Filter) else {
            return Err(TestCaseError::reject("the checker rejects the filter"));
        };
        let condition = compiled.program.facts().condition.clone();
        let tape = tape(&event);
        let env = Env::at(0);
        if let Condition::OneOf { path: indexed, .. } = &condition {
            let expected = match reference(&path, &tape, &env).0 {
                CaseOutcome::Error { .. } => Resolved::Error,
                CaseOutcome::Value(Json::Null) => Resolved::Null,
                CaseOutcome::Value(_) => match indexed.resolve(&tape) {
                    Resolved::Value(node) => Resolved::Value(node),
                    other => return Err(TestCaseError::fail(format!("{path}: {other:?}"))),
                },
            };
            prop_assert_eq!(indexed.resolve(&tape), expected);
        }
    }

    #[test]
    fn conditions_decide_as_the_filter_does(
        operands in prop::collection::vec(operand(), 1..4),
        any in any::<bool>(),
        event in event(),
    ) {
        let source = operands.join(if any { " || " } else { " && " });
        let Ok(accepted) = compile(&source, CheckProfile::Filter) else { return Ok(()) };
        let tape = tape(&event);
        let found = match reference(&source, &tape, &Env::at(0)).0 {
            CaseOutcome::Value(Json::Bool(value)) => Decided::from(value),
            _ => Decided::Failed,
        };
        match decide(&accepted.program.facts().condition, &tape) {
            Decided::Unknown { can_fail } => prop_assert!(can_fail || found != Decided::Failed),
            decided => prop_assert_eq!(found, decided, "{}", source),
        }
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        "?.",
        ".",
        ",",
        ";",
        "=",
        "=>",
        "==",
        "&&",
        "||",
        "??",
        "-",
        "!",
        "+",
        "<",
        "typeof",
        "throw",
        "new",
        "let",
        "return",
        "if",
        "else",
        "try",
        "catch",
        "null",
        "true",
        "event",
        "x",
        "Number",
        "JSON",
        "Map",
        "map",
        "1",
        "'a'",
        "`a${",
        "}`",
        "`",
        "Date",
        "undefined",
    ])
}

fn operand() -> impl Strategy<Value = String> {
    let constant = prop::sample::select(vec!["'Bug'", "'a'", "1", "-1", "null", "true", "''"]);
    (path(), path(), constant.clone(), constant, 0..13_u8).prop_map(|(p, q, a, b, form)| match form
    {
        0 => format!("{p} == {a}"),
        1 => format!("{a} == {p}"),
        2 => format!("[{a}, {b}].includes({p})"),
        3 => format!("({p} == {a} || {p} == {b})"),
        4 => format!("{p} != {a}"),
        5 => format!("!({p} == {a} || {q} != {b})"),
        6 => format!("({p} == {a} && {q} == {b})"),
        7 => format!("{p} > {a}"),
        8 => format!("{a} <= {p}"),
        9 => format!("{p}.includes({a})"),
        10 => format!("{p}.some(i => i.key == {a} && i.name == {b})"),
        11 => format!("{p}.some(i => i.n != {a} && i.name == {b})"),
        _ => format!("{p}.some(l => l == {a})"),
    })
}

/// The result of a condition that is decided without evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decided {
    True,
    False,
    Failed,
    Unknown { can_fail: bool },
}

impl From<bool> for Decided {
    fn from(value: bool) -> Decided {
        if value { Decided::True } else { Decided::False }
    }
}

/// Decides a condition by its documentation.
fn decide(condition: &Condition, tape: &Tape) -> Decided {
    match condition {
        Condition::OneOf { path, constants } => match path.resolve(tape) {
            Resolved::Error => Decided::Failed,
            _ => constants.iter().any(|c| value_at(path, tape).as_ref() == Some(c)).into(),
        },
        Condition::Ordered { path, order, bound } => match value_at(path, tape) {
            Some(Constant::Number(number)) => order.holds(number, *bound).into(),
            _ => Decided::Failed,
        },
        Condition::Method { path, test: MethodTest::Includes, constant } => {
            match (path.resolve(tape), constant) {
                (Resolved::Value(list), _) if matches!(tape.read(list), NodeValue::List { .. }) => {
                    children(list, tape)
                        .any(|item| scalar(tape.read(item)).as_ref() == Some(constant))
                        .into()
                }
                (Resolved::Value(text), Constant::String(part)) => match tape.read(text) {
                    NodeValue::String(text) => text.contains(&**part).into(),
                    _ => Decided::Failed,
                },
                (Resolved::Null, _) => Decided::Unknown { can_fail: true },
                _ => Decided::Failed,
            }
        }
        Condition::Some { path, tests, exact } => match path.resolve(tape) {
            Resolved::Value(list) if matches!(tape.read(list), NodeValue::List { .. }) => {
                decide_some(list, tests, *exact, tape)
            }
            Resolved::Null => Decided::Unknown { can_fail: true },
            _ => Decided::Failed,
        },
        Condition::All(operands) => decide_chain(operands, Decided::False, tape),
        Condition::Any(operands) => decide_chain(operands, Decided::True, tape),
        Condition::Not(operand) => match decide(operand, tape) {
            Decided::True => Decided::False,
            Decided::False => Decided::True,
            other => other,
        },
        Condition::Opaque { can_fail } => Decided::Unknown { can_fail: *can_fail },
    }
}

fn decide_chain(operands: &[Condition], settles: Decided, tape: &Tape) -> Decided {
    let mut unknown = false;
    for operand in operands {
        match decide(operand, tape) {
            decided if decided == settles => return settles,
            Decided::Failed if !unknown => return Decided::Failed,
            Decided::Failed | Decided::Unknown { can_fail: true } => {
                return Decided::Unknown { can_fail: true };
            }
            Decided::Unknown { can_fail: false } => unknown = true,
            _ => {}
        }
    }
    match settles {
        _ if unknown => Decided::Unknown { can_fail: false },
        Decided::True => Decided::False,
        _ => Decided::True,
    }
}

fn decide_some(list: NodeId, tests: &[ItemTest], exact: bool, tape: &Tape) -> Decided {
    for item in children(list, tape) {
        if tests.iter().any(|test| test.name.is_some())
            && !matches!(tape.read(item), NodeValue::Map { .. })
        {
            return Decided::Failed;
        }
        let holds = |test: &ItemTest| {
            let node = match &test.name {
                None => Some(item),
                Some(name) => tape.member(item, name),
            };
            let value = node.map_or(Some(Constant::Null), |node| scalar(tape.read(node)));
            value.as_ref() == Some(&test.constant)
        };
        if tests.iter().all(holds) {
            // A later item may be no map; it is not read if this one matches.
            return if exact { Decided::True } else { Decided::Unknown { can_fail: true } };
        }
    }
    Decided::False
}

fn children(list: NodeId, tape: &Tape) -> impl Iterator<Item = NodeId> {
    std::iter::successors(tape.first_child(list), |node| tape.next_sibling(*node))
}

/// A value that can equal a constant; lists and maps cannot.
fn scalar(read: NodeValue<'_>) -> Option<Constant> {
    match read {
        NodeValue::Null => Some(Constant::Null),
        NodeValue::Bool(value) => Some(Constant::Bool(value)),
        NodeValue::Number(number) => Some(Constant::Number(number)),
        NodeValue::String(text) => Some(Constant::String(text.into())),
        NodeValue::List { .. } | NodeValue::Map { .. } => None,
    }
}

fn value_at(path: &Path, tape: &Tape) -> Option<Constant> {
    match path.resolve(tape) {
        Resolved::Error => None,
        Resolved::Null => Some(Constant::Null),
        Resolved::Value(node) => scalar(tape.read(node)),
    }
}
