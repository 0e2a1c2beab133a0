//! Filters share what they have in common, and what nobody holds goes.

use std::sync::Arc;

use switchyard_expr::{Profile, Program, Shapes};

#[expect(clippy::expect_used, reason = "a refused filter is a mistake of the test")]
fn program(shapes: &Shapes, source: &str) -> Arc<Program> {
    shapes.compile(source, Profile::Filter).expect(source)
}

#[test]
fn equal_filters_are_one_program() {
    let shapes = Shapes::new();
    let source = "event.issue.key == 'A-1'";
    let (first, second) = (program(&shapes, source), program(&shapes, source));
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn filters_that_differ_in_constants_share_their_shape() {
    let shapes = Shapes::new();
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
        // Names and patterns are read by the checker.
        ("event['a'] == 'x'", "event['b'] == 'x'", false),
        ("event.a.match('x') == null", "event.a.match('y') == null", false),
        ("event.a.match('x') == null", "event.a.match('(') == null", false),
    ];
    for (first, second, share) in pairs {
        let first = program(&shapes, first);
        let Ok(second) = shapes.compile(second, Profile::Filter) else {
            assert!(!share, "{second}");
            continue;
        };
        assert_eq!(first.shares_shape(&second), share, "{}", second.source());
    }
}

#[test]
fn profiles_are_apart() {
    let shapes = Shapes::new();
    assert!(shapes.compile("issue.key == 'A-1'", Profile::General).is_ok());
    assert!(shapes.compile("issue.key == 'A-1'", Profile::Filter).is_err());
    assert!(shapes.compile("issue.key == 'A-2'", Profile::Filter).is_err());
}

#[test]
fn what_nobody_holds_is_forgotten() {
    const KEPT: usize = 2_000;
    let shapes = Shapes::new();
    for round in 0..10 {
        let sources = (0..KEPT).map(|at| format!("event.a{round}_{} == 'r{round}-{at}'", at % 100));
        let programs: Vec<_> = sources.map(|source| program(&shapes, &source)).collect();
        let (remembered, shapes) = shapes.remembered();
        assert!(remembered <= 4 * programs.len(), "{remembered}");
        assert!(shapes <= 2 * 1024, "{shapes}");
    }
}
