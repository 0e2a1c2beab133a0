//! Adversarial sources and events: the result is a value or an error with a code, on a stack of
//! ordinary size and within the step limit.

use switchyard_expr::cases::{CaseOutcome, compiled, reference};
use switchyard_expr::limits::{NESTING_MAX, SOURCE_CHARS_MAX, STEPS_MAX};
use switchyard_expr::{CheckProfile, Env, ErrorKind, Tape, TapeLimits, compile};

/// Runs both evaluators, which must agree, on an event with `event.n == 1` and a list of 200.
fn outcome(source: &str) -> CaseOutcome {
    let list: Vec<String> = (0..200).map(|at| at.to_string()).collect();
    let event = format!(r#"{{"n": 1, "a": {{"a": null}}, "xs": [{}]}}"#, list.join(","));
    let mut tape = Tape::new();
    assert_eq!(tape.parse(event.as_bytes(), &TapeLimits::default()), Ok(()));
    let (found, steps) = compiled(source, &tape, &Env::at(0));
    let (naive, naive_steps) = reference(source, &tape, &Env::at(0));
    assert_eq!(found, naive, "{source:.80}");
    assert_eq!(steps, naive_steps, "{source:.80}");
    assert!(steps <= STEPS_MAX);
    // The filter profile walks and drops the same tree.
    let _ = compile(source, CheckProfile::Filter);
    found
}

fn kind(source: &str) -> Option<ErrorKind> {
    match outcome(source) {
        CaseOutcome::Value(_) => None,
        CaseOutcome::Error { kind, .. } => Some(kind),
    }
}

fn code(source: &str) -> String {
    match outcome(source) {
        CaseOutcome::Value(value) => value.to_string(),
        CaseOutcome::Error { code, .. } => code.to_string(),
    }
}

fn wrapped(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// Nested constructs: opening, innermost and closing text.
const NESTING: [(&str, &str, &str); 16] = [
    ("(", "1", ")"),
    ("[", "1", "]"),
    ("!", "1", ""),
    ("-", "1", ""),
    ("typeof ", "1", ""),
    ("throw ", "1", ""),
    ("{a:", "1", "}"),
    ("`${", "1", "}`"),
    ("x=>", "1", ""),
    ("()=>{", "1", "}"),
    ("[1].map(", "1", ")"),
    ("event[", "'n'", "]"),
    ("(1||", "1", ")"),
    ("1?", "1", ":0"),
    ("new Map(", "1", ")"),
    ("if(1){", "1", "}else{2}"),
];

#[test]
fn nests_up_to_the_limit_and_no_further() {
    for (open, inner, close) in NESTING {
        let level = |times| code(&wrapped(open, inner, close, times));
        for times in [1, 2, NESTING_MAX - 1, NESTING_MAX] {
            assert_ne!(level(times), "SY-3302", "{open} {times}");
        }
        for times in [NESTING_MAX + 1, NESTING_MAX + 2] {
            assert_eq!(level(times), "SY-3302", "{open} {times}");
        }
    }
}

#[test]
fn survives_ten_thousand_characters_of_nesting() {
    for (open, inner, close) in NESTING {
        let times = SOURCE_CHARS_MAX / (open.len() + close.len()) - inner.len();
        assert_eq!(code(&wrapped(open, inner, close, times)), "SY-3302", "{open}");
        // Without the closing text, too.
        let open_only = open.repeat(SOURCE_CHARS_MAX / open.len());
        assert!(kind(&open_only).is_some(), "{open}");
    }
}

#[test]
fn walks_long_chains_without_recursion() {
    let chain = |first: &str, link: &str| {
        let times = (SOURCE_CHARS_MAX - first.len()) / link.len();
        format!("{first}{}", link.repeat(times))
    };
    for link in ["+1", "-1", "*1", "&&1", "||0", "??1", "%2", "/1"] {
        assert_eq!(kind(&chain("1", link)), None, "{link}");
    }
    assert_eq!(kind(&chain("1", "==1")), None);
    assert_eq!(code(&chain("1", "<2")), "SY-3201");
    assert_eq!(code(&chain("event", ".a")), "SY-3401");
    assert_eq!(kind(&chain("event", "?.b")), None);
    assert_eq!(code(&chain("event", "[0]")), "SY-3202");
    assert_eq!(code(&chain("event", "()")), "SY-3204");
    assert_eq!(code(&chain("''", ".trim()")), "\"\"");
    assert_eq!(kind(&format!("{}1", "0?1:".repeat(2_000))), None);
    assert_eq!(kind(&format!("{}1", "let a=1;".repeat(1_200))), None);
    let else_ifs = format!("if(0){{1}}{}else{{2}}", "else if(0){1}".repeat(700));
    assert_eq!(kind(&else_ifs), None);
}

#[test]
fn bounds_alternating_precedence_inside_brackets() {
    let every_level = wrapped("(1??0||1&&1==1<1+1*-", "1", ")", 127);
    assert_eq!(code(&every_level), "SY-3302");
    let two_levels = wrapped("(0||1&&", "1", ")", 120);
    assert_eq!(kind(&two_levels), None);
}

#[test]
fn bounds_functions_that_call_themselves() {
    assert_eq!(code("let f = g => g(g); f(f)"), "SY-3305");
    assert_eq!(code("let f = g => [1].map(x => g(g)); f(f)"), "SY-3305");
    let deep = wrapped("(0||1&&", "g(g)", ")", 120);
    assert_eq!(code(&format!("let f = g => {deep}; f(f)")), "SY-3305");
    assert_eq!(code("try { let f = g => g(g); f(f) } catch (e) { 1 }"), "SY-3305");
    // Within the limit, recursion through an argument is valid.
    assert_eq!(code("let f = (g, n) => n == 0 ? 0 : n + g(g, n - 1); f(f, 10)"), "55.0");
}

#[test]
fn bounds_values_that_nest() {
    for build in ["[a]", "{k: a}", "() => a", "[a].map(x => x)", "new Map().set('k', a)"] {
        let source = format!("event.xs.reduce((a, x) => {build}, 0)");
        assert_eq!(code(&source), "SY-3305", "{build}");
    }
    assert_eq!(code("event.xs.reduce((a, x) => a.map, [1])"), "SY-3203");
    let parsed = format!("JSON.parse('{}')", wrapped("[", "", "]", 2_000));
    assert_eq!(code(&parsed), "SY-3406");
}

#[test]
fn bounds_steps_and_memory() {
    assert_eq!(code("event.xs.map(a => event.xs.map(b => a + b)).length"), "SY-3303");
    assert_eq!(code("event.xs.reduce((s, x) => s + s, 'ab')"), "SY-3304");
    assert_eq!(code("event.xs.reduce((l, x) => l.concat(l), [1, 2])"), "SY-3304");
    assert_eq!(code("event.xs.reduce((s, x) => s.repeat(100), 'ab')"), "SY-3304");
    assert_eq!(code("try { event.xs.reduce((s, x) => s + s, 'ab') } catch (e) { 1 }"), "SY-3304");
    assert_eq!(code("event.xs.map(x => 'a'.padEnd(100)).join('-').length"), "10003.0");
}

#[test]
fn counts_characters_not_bytes() {
    let source = |count: usize| format!("'{}'.length > 0", "é".repeat(count));
    let rest = source(0).chars().count();
    for (count, expected) in [
        (SOURCE_CHARS_MAX - rest - 1, None),
        (SOURCE_CHARS_MAX - rest, None),
        (SOURCE_CHARS_MAX - rest + 1, Some(ErrorKind::Limit)),
    ] {
        assert_eq!(kind(&source(count)), expected);
    }
}

#[test]
fn spends_exactly_the_steps_it_is_given() {
    let tape = Tape::new();
    let source = "1 + 2 * 3 == 7 && [1, 2].some(x => x > 1)";
    let (_, needed) = compiled(source, &tape, &Env::at(0));
    for (steps_max, fails) in [(needed - 1, true), (needed, false), (needed + 1, false)] {
        let env = Env { now_ms: 0, steps_max };
        let (found, steps) = compiled(source, &tape, &env);
        assert_eq!(reference(source, &tape, &env), (found.clone(), steps));
        assert_eq!(matches!(found, CaseOutcome::Error { .. }), fails);
        assert_eq!(steps, needed.min(steps_max));
    }
}
