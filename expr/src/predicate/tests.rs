//! Tests of conditions: which filters become which tests, and which of them an index can use.

use crate::limits::{STEPS_PER_ERROR, STEPS_PER_REMAINDER};
use crate::{CheckProfile, Compiled, Program, compile};

use super::*;

fn program(source: &str) -> Program {
    let Compiled { program, .. } = compile(source, CheckProfile::Filter).unwrap();
    program
}

fn facts(source: &str) -> Facts {
    program(source).facts()
}

fn text(text: &str) -> Constant {
    Constant::String(text.into())
}

fn path(steps: &[&str]) -> Path {
    let steps = steps.iter().map(|step| Step {
        name: step.trim_start_matches('?').into(),
        optional: step.starts_with('?'),
    });
    Path { steps: steps.collect() }
}

fn one_of(steps: &[&str], constants: &[Constant]) -> Condition {
    Condition::OneOf { path: path(steps), constants: constants.into() }
}

fn condition(source: &str) -> Condition {
    facts(source).condition
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

#[test]
fn reads_equality_in_both_directions() {
    let expected = one_of(&["issue", "?key"], &[text("A-1")]);
    assert_eq!(condition("event.issue?.key == 'A-1'"), expected);
    assert_eq!(condition("'A-1' == event.issue?.key"), expected);
    assert_eq!(condition("event['issue']?.['key'] == 'A-1'"), expected);
    assert_eq!(condition("event.n == -1"), one_of(&["n"], &[Constant::Number(-1.0)]));
    assert_eq!(condition("'x' != event.n"), not(one_of(&["n"], &[text("x")])));
}

#[test]
fn merges_alternatives_over_one_path() {
    assert_eq!(
        condition("event.a.b == 'x' || ['y', 'x'].includes(event.a.b) || event.a.b == null"),
        one_of(&["a", "b"], &[text("x"), text("y"), Constant::Null])
    );
    assert_eq!(
        condition("event.a.b == 'x' || event.a?.b == 'y'"),
        Condition::Any(Box::new([
            one_of(&["a", "b"], &[text("x")]),
            one_of(&["a", "?b"], &[text("y")])
        ]))
    );
}

#[test]
fn reads_comparisons_from_either_side() {
    let expected = Condition::Ordered { path: path(&["a", "n"]), order: Order::Less, bound: -2.5 };
    assert_eq!(condition("event.a.n < -2.5"), expected);
    assert_eq!(condition("-2.5 > event.a.n"), expected);
    assert_eq!(condition("event.a.n < 'x'"), Condition::Opaque { can_fail: true });
}

#[test]
fn reads_membership_and_tests_of_items() {
    let includes = Condition::Method {
        path: path(&["a", "labels"]),
        test: MethodTest::Includes,
        constant: text("x"),
    };
    assert_eq!(condition("event.a.labels.includes('x')"), includes);
    let some = |tests: &[(Option<&str>, &str)], exact| Condition::Some {
        path: path(&["changelog", "?items"]),
        tests: tests
            .iter()
            .map(|(name, constant)| ItemTest {
                name: name.map(Box::from),
                constant: text(constant),
            })
            .collect(),
        exact,
    };
    let two = [(Some("field"), "status"), (Some("toString"), "Done")];
    assert_eq!(
        condition("event.changelog?.items.some(i => i.field == 'status' && 'Done' == i.toString)"),
        some(&two, true)
    );
    assert_eq!(
        condition(
            "event.changelog?.items.some(i => i.field == 'status' && i.fromString != 'Done')"
        ),
        some(&two[..1], false)
    );
    assert_eq!(condition("event.changelog?.items.some(l => l == 'x')"), some(&[(None, "x")], true));
    for source in [
        "event.a.some(i => i?.b == 1)",
        "event.a.some(i => i.b.c == 1)",
        "event.a.some(i => i.get == 1)",
        "event.a.some(i => i == 1 && i.b == 2)",
        "event.a.some(i => i.b == 1 || i.c == 2)",
        "event.a.some((x, i) => i == 1)",
        "event.a.some(i => i.b != 1)",
        "event.a.some(() => event.b == 1)",
        "event.a?.some(i => i.b == 1)",
        "(event?.a).includes('x')",
        "event.includes('x')",
        "event.a.includes(event.b)",
    ] {
        assert_eq!(condition(source), Condition::Opaque { can_fail: true }, "{source}");
    }
}

#[test]
fn operands_keep_their_order_and_state_whether_they_may_fail() {
    assert_eq!(
        condition("event.a == 1 && (event.b != 2 && event.c.d) && !(event.e?.f == true)"),
        Condition::All(Box::new([
            one_of(&["a"], &[Constant::Number(1.0)]),
            not(one_of(&["b"], &[Constant::Number(2.0)])),
            Condition::Opaque { can_fail: true },
            not(one_of(&["e", "?f"], &[Constant::Bool(true)])),
        ]))
    );
    assert_eq!(condition("typeof event.a == 'List'"), Condition::Opaque { can_fail: false });
}

#[test]
fn paths_through_builtin_members_are_opaque() {
    for source in [
        "event.labels.length == 2",
        "event.get == null",
        "event.a.includes == 'x'",
        "(event?.a).b == 'x'",
        "event.a[0] == 'x'",
        "let x = 1; event.a == 'x'",
        "event.a == 'x' == true",
    ] {
        assert_eq!(condition(source), Condition::Opaque { can_fail: true }, "{source}");
    }
    // A changelog item has a member of this name.
    assert!(matches!(condition("event.toString == 'x'"), Condition::OneOf { .. }));
}

#[test]
fn index_keys_end_at_the_first_operand_that_may_fail() {
    let keys = |source: &str| -> Vec<String> {
        facts(source).indexed().map(ToString::to_string).collect()
    };
    assert_eq!(keys("event.a == 1 && event.b.c < 2"), ["a = 1", "b.c < 2"]);
    assert_eq!(keys("event.a == 1 && event.b.trim() == '' && event.c == 3"), ["a = 1"]);
    assert_eq!(keys("event.b.trim() == '' && event.a == 1"), [""; 0]);
    assert_eq!(keys("typeof event.b == 'Map' && event.a == 1"), ["a = 1"]);
    assert_eq!(keys("event.a != 1"), [""; 0]);
    assert_eq!(keys("event.a == 1 || event.b == 2"), ["(a = 1 or b = 2)"]);
    assert_eq!(keys("event.a == 1 || event.b != 2"), [""; 0]);
    // A value that depends on the app is not an index key.
    assert_eq!(keys("event.selfGenerated == false && event.a == 1"), ["a = 1"]);
    assert_eq!(keys("event.a == 1 || event.selfGenerated == true"), [""; 0]);
}

#[test]
fn detects_filters_that_depend_on_the_app() {
    for source in [
        "event.selfGenerated",
        "event['selfGenerated'] == true",
        "event[event.a.b] == 1",
        "[event].some(e => e.selfGenerated)",
        "event.get('selfGenerated')",
        "let e = event; e.selfGenerated",
        "[1].some(x => event?.selfGenerated)",
        "event.permissions.scopes.includes('a')",
        "event['permissions'] == null",
    ] {
        assert!(facts(source).is_app_specific, "{source}");
    }
    for source in ["event.issue.key == 'A'", "typeof event == 'Map'", "event.a.permissions"] {
        assert!(!facts(source).is_app_specific, "{source}");
    }
}

#[test]
fn collects_entity_properties_once() {
    let paths = facts(
        "event.runtime.issue.properties['k'].a.b == 1
         && event.runtime.issue.properties.k['a.b'] == 2
         && (event.runtime.project.properties['p'].list).length > 0
         && event.runtime.project.properties['p'].list.includes('x')",
    )
    .property_paths;
    let paths: Vec<(&str, &str, &str)> =
        paths.iter().map(|path| (&*path.entity, &*path.key, &*path.path)).collect();
    assert_eq!(paths, vec![("issue", "k", "a.b"), ("project", "p", "list")]);
}

#[test]
fn each_operand_is_an_equivalent_filter_of_its_own() {
    for source in [
        "event.a == 1",
        "event.a == 1 && event.b == event.c && !(event.d == 'x')",
        "event.a == 1 && (event.b == 2 && (event.c == event.d || event.e)) && event.f",
        "(event.a == event.b) && ((event.c) == (event.d)) && [event.e, 1].includes(2)",
        "event.list.some(i => i.a == event.b && i.c) && event.n > 1 /* && */",
    ] {
        let conjuncts = program(source).conjuncts();
        let whole = condition(source);
        assert_eq!(conjuncts.len(), whole.operands().len(), "{source}");
        for (conjunct, operand) in conjuncts.iter().zip(whole.operands()) {
            assert_eq!(condition(&conjunct.source), *operand, "{}", conjunct.source);
        }
    }
    assert_eq!(program("let a = event.a; a == 1 && a == 2").conjuncts(), []);
}

#[test]
fn conjuncts_have_the_parameters_of_the_filter_and_count_functions() {
    let cache = crate::TemplateCache::new();
    let compile = |source: &str| cache.compile(source, CheckProfile::Filter).unwrap();
    compile("event.a == 'other' && event.l.some(i => event.l.some(j => i == j))");
    let program = compile("event.a == 'x => y' && event.l.some(i => event.l.some(j => i == j))");
    let expected = [
        Conjunct { source: "event.a == 'x => y'".into(), functions: 0 },
        Conjunct { source: "event.l.some(i => event.l.some(j => i == j))".into(), functions: 2 },
    ];
    assert_eq!(program.conjuncts(), expected);
}

#[test]
fn extra_steps_are_those_of_optional_links_and_remainders() {
    for (source, optional, remainders) in [
        ("event.a == '?.' && event.b == '%'", 0, 0),
        ("event?.a?.['b'] == 1 && event.list.some(i => i?.a == 1)", 3, 0),
        ("event.n % 2 == 1 && `${event?.a % 3}` == '1'", 1, 2),
    ] {
        let expected = optional * STEPS_PER_ERROR + remainders * STEPS_PER_REMAINDER;
        assert_eq!(facts(source).extra_steps, expected, "{source}");
    }
}

#[test]
fn a_list_keeps_the_first_of_equal_constants() {
    let listed = condition("['b', 1, 'a', 'b', 1.0, null, 0, 0, null].includes(event.a)");
    let constants =
        [text("b"), Constant::Number(1.0), text("a"), Constant::Null, Constant::Number(0.0)];
    assert_eq!(listed, one_of(&["a"], &constants));
}

#[test]
fn a_negative_number_is_a_constant_however_it_is_written() {
    let numbers =
        |numbers: &[f64]| numbers.iter().copied().map(Constant::Number).collect::<Vec<_>>();
    for source in ["event.a == -2", "- 2 == event.a", "event.a == -(2)", "[-2].includes(event.a)"] {
        assert_eq!(condition(source), one_of(&["a"], &numbers(&[-2.0])), "{source}");
    }
    let listed = condition("[-1, 2, - 3, -(4), -5.5, -1].includes(event.a)");
    assert_eq!(listed, one_of(&["a"], &numbers(&[-1.0, 2.0, -3.0, -4.0, -5.5])));
    let cache = crate::TemplateCache::new();
    let compile =
        |source: &str| cache.compile(source, CheckProfile::Filter).unwrap().facts().condition;
    assert_eq!(compile("event.a == 2"), one_of(&["a"], &numbers(&[2.0])));
    assert_eq!(compile("event.a == -2"), one_of(&["a"], &numbers(&[-2.0])));
}

#[test]
fn index_size_counts_tests_constants_and_different_paths() {
    let size = |source: &str| {
        let IndexSize { entries, paths } = program(source).index_size();
        (entries, paths)
    };
    assert_eq!(size("event.a == 'x'"), (2, 1));
    assert_eq!(size("['x', 'y', 'z'].includes(event.a)"), (4, 1));
    // The group, and two tests with a constant each.
    assert_eq!(size("event.a == 'x' && event.b > 1"), (5, 2));
    assert_eq!(size("event.a == 'x' && !(event.a == 'y')"), (6, 1));
    assert_eq!(size("event.a.trim() == 'x'"), (1, 0));
    let many: Vec<_> = (0..480).map(|at| format!("event.a{at}=='x'")).collect();
    assert_eq!(size(&many.join("||")), (961, 480));
}
