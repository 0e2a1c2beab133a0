//! Tests of the checker: what it rejects, what it warns about, and the messages.

use crate::diagnostic::{Diagnostic, Severity};
use crate::{CheckProfile, compile};

fn refused(source: &str) -> Vec<Diagnostic> {
    compile(source, CheckProfile::Filter).unwrap_err().diagnostics
}

fn warnings(source: &str) -> Vec<String> {
    let warnings = compile(source, CheckProfile::Filter).unwrap().warnings;
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
    warnings.iter().map(|warning| warning.code.to_string()).collect()
}

#[test]
fn refuses_names_other_than_event_in_filters() {
    let findings = refused("issue.key == 'A' && project.key == 'B'");
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0].code.to_string(), "SY-3101");
    assert_eq!(findings[0].message, "`issue` is not defined in a filter");
    let help = "filters start at `event`: `event.issue...`";
    assert_eq!(findings[0].help.as_deref(), Some(help));
    assert!(compile("issue.key == 'A'", CheckProfile::General).is_ok());
    assert!(compile("typeof issue == 'undefined'", CheckProfile::Filter).is_ok());
    assert!(compile("[1].some(issue => issue == 1)", CheckProfile::Filter).is_ok());
}

#[test]
fn rejects_what_fails_whenever_it_is_evaluated() {
    for (source, code) in [
        ("1 < '2'", "SY-3201"),
        ("event.a.b == 1 && null < 1", "SY-3201"),
        ("'a' * 2 == 1", "SY-3202"),
        ("-'a' == 1", "SY-3202"),
        ("'a'.startsWith('a')", "SY-3203"),
        ("[1].find(x => true)", "SY-3203"),
        ("5()", "SY-3204"),
        ("new Issue('A-1').key == 'A-1'", "SY-3104"),
        ("event.a.match('(?=a)') != null", "SY-3208"),
        ("let x = 'a'; x < 1", "SY-3201"),
    ] {
        assert_eq!(refused(source)[0].code.to_string(), code, "{source}");
        assert!(compile(source, CheckProfile::General).is_ok(), "{source}");
        let guarded = format!("try {{ {source} }} catch () {{ false }}");
        assert!(compile(&guarded, CheckProfile::Filter).is_ok(), "{guarded}");
    }
}

#[test]
fn accepts_what_may_succeed() {
    for source in [
        "event.a < event.b",
        "event.a.anything(1) == 2",
        "({find: 1}).find == 1",
        "'a'?.find == null",
        "[1][0] < 2",
        "(event.a ? 1 : 'x') < 2",
        "event.a.match(event.pattern) != null",
    ] {
        assert_eq!(warnings(source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn warns_about_probably_unintended_code() {
    for (source, codes) in [
        ("event.a == undefined", vec!["SY-3102"]),
        ("event.issue.fields?.issueType.name == 'Bug'", vec!["SY-3103"]),
        ("event.a.length == 1 && 'a' == 1", vec!["SY-3207"]),
        ("'x' + event.key", vec!["SY-3206"]),
        ("[1, 2].map(x => x == 1)", vec!["SY-3206"]),
        ("event.key", vec![]),
        ("event.a && event.b", vec![]),
    ] {
        assert_eq!(warnings(source), codes, "{source}");
    }
}

#[test]
fn labels_both_operands() {
    let findings = refused("event.a || 5 > '2'");
    let labels: Vec<(u32, &str)> =
        findings[0].labels.iter().map(|label| (label.span.start, label.text.as_str())).collect();
    assert_eq!(labels, vec![(11, "Number"), (15, "String")]);
}

#[test]
fn patterns_are_bounded_in_number_and_each_counts_once() {
    let with = |count: usize| {
        let tests: Vec<String> =
            (0..count).map(|n| format!("event.a?.match('a{n}') == null")).collect();
        format!("{} && {}", tests.join(" && "), tests.join(" && "))
    };
    assert!(compile(&with(crate::limits::PATTERNS_MAX), CheckProfile::Filter).is_ok());
    let findings = refused(&with(crate::limits::PATTERNS_MAX + 1));
    assert_eq!(findings[0].code.to_string(), "SY-3307");
    let long = |bytes: usize| format!("event.a?.match('{}') == null", "a".repeat(bytes));
    let (most, more) = (crate::limits::PATTERN_BYTES_MAX, crate::limits::PATTERN_BYTES_MAX + 1);
    assert!(compile(&format!("{0} && {0}", long(most)), CheckProfile::Filter).is_ok());
    assert_eq!(refused(&long(more))[0].code.to_string(), "SY-3307");
}

#[test]
fn reports_a_bounded_number_of_mistakes_and_still_rejects() {
    let findings = refused(&vec!["nope"; 2_000].join("+"));
    assert!(findings.len() <= crate::limits::FINDINGS_MAX + 1);
    let many = format!("{} && nope", vec!["1 == 'a'"; 500].join(" && "));
    assert!(compile(&many, CheckProfile::Filter).is_err());
}
