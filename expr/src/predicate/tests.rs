use crate::{Compiled, Profile, compile};

use super::*;

fn facts(source: &str) -> Facts {
    let Compiled { program, .. } = compile(source, Profile::Filter).unwrap();
    program.facts().clone()
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

fn one_of(steps: &[&str], constants: &[Constant]) -> Conjunct {
    Conjunct::OneOf { path: path(steps), constants: constants.into() }
}

#[test]
fn reads_equality_in_both_directions() {
    let expected = vec![one_of(&["issue", "?key"], &[text("A-1")])];
    assert_eq!(facts("event.issue?.key == 'A-1'").conjuncts, expected);
    assert_eq!(facts("'A-1' == event.issue?.key").conjuncts, expected);
    assert_eq!(facts("event['issue']?.['key'] == 'A-1'").conjuncts, expected);
    assert_eq!(facts("event.n == -1").conjuncts, vec![one_of(&["n"], &[Constant::Number(-1.0)])]);
}

#[test]
fn merges_alternatives_over_one_path() {
    let expected = vec![one_of(&["a", "b"], &[text("x"), text("y"), Constant::Null])];
    assert_eq!(
        facts("event.a.b == 'x' || ['y', 'x'].includes(event.a.b) || event.a.b == null").conjuncts,
        expected
    );
    assert_eq!(
        facts("event.a.b == 'x' || event.a?.b == 'y'").conjuncts,
        vec![Conjunct::Opaque { can_fail: true }]
    );
}

#[test]
fn keeps_conjuncts_in_order_and_says_which_may_fail() {
    let conjuncts = facts(
        "event.a == 1 && (event.b != 2 && event.c.d != 3) && !(event.e?.f == true) && event.g",
    )
    .conjuncts;
    assert_eq!(
        conjuncts,
        vec![
            one_of(&["a"], &[Constant::Number(1.0)]),
            Conjunct::Opaque { can_fail: false },
            Conjunct::Opaque { can_fail: true },
            Conjunct::Opaque { can_fail: false },
            Conjunct::Opaque { can_fail: true },
        ]
    );
}

#[test]
fn leaves_paths_through_builtin_members_to_evaluation() {
    for source in [
        "event.labels.length == 2",
        "event.get == null",
        "event.a.includes == 'x'",
        "(event?.a).b == 'x'",
        "event.a[0] == 'x'",
        "let x = 1; event.a == 'x'",
        "event.a == 'x' == true",
    ] {
        assert_eq!(facts(source).conjuncts, vec![Conjunct::Opaque { can_fail: true }], "{source}");
    }
    // A changelog item has a member of this name.
    assert!(matches!(facts("event.toString == 'x'").conjuncts[..], [Conjunct::OneOf { .. }]));
}

#[test]
fn knows_who_reads_self_generated() {
    for source in [
        "event.selfGenerated",
        "event['selfGenerated'] == true",
        "event[event.a.b] == 1",
        "[event].some(e => e.selfGenerated)",
        "event.get('selfGenerated')",
        "let e = event; e.selfGenerated",
        "[1].some(x => event?.selfGenerated)",
    ] {
        assert!(facts(source).reads_self_generated, "{source}");
    }
    for source in ["event.issue.key == 'A'", "typeof event == 'Map'", "event.a.selfGenerated"] {
        assert!(!facts(source).reads_self_generated, "{source}");
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
