//! Tests of the template cache: what filters share, and when entries are removed.

use std::sync::Arc;

use switchyard_expr::{CheckProfile, Program, TemplateCache};

#[expect(clippy::expect_used, reason = "a refused filter is a mistake of the test")]
fn program(cache: &TemplateCache, source: &str) -> Arc<Program> {
    cache.compile(source, CheckProfile::Filter).expect(source)
}

#[test]
fn equal_filters_are_one_program() {
    let cache = TemplateCache::new();
    let source = "event.issue.key == 'A-1'";
    let (first, second) = (program(&cache, source), program(&cache, source));
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn filters_that_differ_in_constants_share_their_shape() {
    let cache = TemplateCache::new();
    let pairs = [
        ("event.issue.key == 'A-1'", "event.issue.key == \"A-1\"", false),
        ("event.issue.key == 'A-1'", "event.issue.key == 'something else'", true),
        ("event.issue.n > 3", "event.issue.n > 475", true),
        ("event.issue.n > 3", "event.issue.n > 4.75", false),
        ("event.issue.n > -3", "event.issue.n > -12", true),
        ("['a', 'b'].includes(event.x)", "['', 'é'].includes(event.x)", true),
        ("['a', 'b'].includes(event.x)", "['a'].includes(event.x)", false),
        ("['a', 2].includes(event.x)", "['a', '2'].includes(event.x)", false),
        ("event.xs.some(i => i.a == 'b')", "event.xs.some(i => i.a == 'c')", true),
        // The checker reads names and patterns.
        ("event['a'] == 'x'", "event['b'] == 'x'", false),
        ("event.a.match('x') == null", "event.a.match('y') == null", false),
        ("event.a.match('x') == null", "event.a.match('(') == null", false),
    ];
    for (first, second, share) in pairs {
        let first = program(&cache, first);
        let Ok(second) = cache.compile(second, CheckProfile::Filter) else {
            assert!(!share, "{second}");
            continue;
        };
        assert_eq!(first.shares_template(&second), share, "{}", second.source());
    }
}

#[test]
fn profiles_are_apart() {
    let cache = TemplateCache::new();
    assert!(cache.compile("issue.key == 'A-1'", CheckProfile::General).is_ok());
    assert!(cache.compile("issue.key == 'A-1'", CheckProfile::Filter).is_err());
    assert!(cache.compile("issue.key == 'A-2'", CheckProfile::Filter).is_err());
}

#[test]
fn unused_entries_are_removed() {
    const KEPT: usize = 2_000;
    let cache = TemplateCache::new();
    for round in 0..10 {
        let sources = (0..KEPT).map(|at| format!("event.a{round}_{} == 'r{round}-{at}'", at % 100));
        let programs: Vec<_> = sources.map(|source| program(&cache, &source)).collect();
        let (entry_counts, cache) = cache.entry_counts();
        assert!(entry_counts <= 4 * programs.len(), "{entry_counts}");
        assert!(cache <= 2 * 1024, "{cache}");
    }
}
