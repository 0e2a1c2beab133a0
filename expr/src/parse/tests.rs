//! Tests of the parser: trees, messages and error recovery.

use super::parse;
use crate::ast::{Body, Expr, ExprKind};
use crate::diagnostic::Diagnostic;

fn first_error(source: &str) -> Diagnostic {
    parse(source).unwrap_err().remove(0)
}

fn expression(source: &str) -> Expr {
    match parse(source).unwrap().body {
        Body::Expr(expr) => expr,
        other => panic!("{other:?}"),
    }
}

/// The tree with a pair of parentheses for each operator.
fn shape(expr: &Expr, source: &str) -> String {
    match &expr.kind {
        ExprKind::Chain { first, rest } => rest.iter().fold(shape(first, source), |left, next| {
            format!("({left}{}{})", next.op.symbol(), shape(&next.operand, source))
        }),
        ExprKind::Conditional { arms, otherwise } => {
            arms.iter().rev().fold(shape(otherwise, source), |otherwise, (condition, value)| {
                format!("({}?{}:{otherwise})", shape(condition, source), shape(value, source))
            })
        }
        ExprKind::Throw(operand) => format!("throw[{}]", shape(operand, source)),
        _ => expr.span.text(source).to_owned(),
    }
}

#[test]
fn groups_operators_by_precedence_from_the_left() {
    for (source, expected_error) in [
        ("a+b*c-d", "((a+(b*c))-d)"),
        ("a*b+c*d", "((a*b)+(c*d))"),
        ("a||b&&c==d<e+f*g", "(a||(b&&(c==(d<(e+(f*g))))))"),
        ("a*b+c<d==e&&f||g??h", "(((((((a*b)+c)<d)==e)&&f)||g)??h)"),
        ("a??b||c", "(a??(b||c))"),
        ("a?b:c?d:e", "(a?b:(c?d:e))"),
        ("throw a?b:c", "(throw[a]?b:c)"),
        ("throw a??b", "throw[(a??b)]"),
        ("a-b-c%d%e", "((a-b)-((c%d)%e))"),
    ] {
        assert_eq!(shape(&expression(source), source), expected_error, "{source}");
    }
}

#[test]
fn spans_cover_what_was_written() {
    let source = " a.b + ( c ) ";
    assert_eq!(expression(source).span.text(source), "a.b + ( c");
    let source = "xs.map(x => x.y)[0]";
    assert_eq!(expression(source).span.text(source), source);
    let source = "[x => x + 1, 2]";
    let ExprKind::List(items) = expression(source).kind else { panic!() };
    assert_eq!(items[0].span.text(source), "x => x + 1");
}

#[test]
fn reports_what_is_wrong_and_what_to_write() {
    for (source, code, message, help) in [
        ("a === b", "SY-3003", "`===` is not an operator of the language", "write `==`"),
        ("a = b", "SY-3001", "expected `;`, found the end", ""),
        ("f(a = b)", "SY-3002", "expected `==`, found `=`", "compare with `==`"),
        ("1 # one", "SY-3006", "`#` has no meaning here", "a comment starts with `//`"),
        ("'abc", "SY-3004", "the string does not end", "close it with `'`"),
        ("if (a) { b }", "SY-3007", "this `if` has no `else`", "write `if"),
        ("", "SY-3008", "the expression is empty", "a filter is an expression"),
        (" // nothing", "SY-3008", "the expression is empty", "a filter is an expression"),
        ("[1, 2", "SY-3001", "expected `]`, found the end", ""),
        ("a b", "SY-3001", "expected the end of the expression, found `b`", ""),
        ("var a = 1; a", "SY-3009", "`var` is not part of the language", "declare names"),
        ("for (;;) {}", "SY-3009", "`for` is not part of the language", "use the methods"),
        ("a?.(b)", "SY-3003", "`?.(` is not an operator of the language", "call without"),
        ("0x1F", "SY-3005", "`0x1F` is not a number of the language", "write decimal digits"),
        ("+1", "SY-3003", "there is no unary `+`", "convert text"),
    ] {
        let found = first_error(source);
        assert_eq!(found.code.to_string(), code, "{source}: {found:?}");
        assert!(found.message.starts_with(message), "{source}: {found:?}");
        assert!(found.help.unwrap_or_default().starts_with(help), "{source}");
    }
}

#[test]
fn reports_the_position_in_bytes_units_and_columns() {
    let source = "'😀é' +\n 'ü' = 1";
    let at = first_error(source).position(source);
    assert_eq!((at.offset, at.offset16, at.line, at.column, at.length), (17, 13, 2, 6, 1));
}

#[test]
fn reports_all_mistakes_at_once_and_none_twice() {
    for (source, codes) in [
        ("a === 1 & b !== 2", vec!["SY-3003", "SY-3003", "SY-3003"]),
        ("f(a = b, c = d)", vec!["SY-3002", "SY-3002"]),
        ("a && && b || ) c", vec!["SY-3001", "SY-3001"]),
        ("a. != null && b == ", vec!["SY-3001", "SY-3001"]),
        ("[1, 2 && (a", vec!["SY-3001"]),
        ("1 # one\n + # two", vec!["SY-3006", "SY-3006", "SY-3001"]),
        ("'abc && (", vec!["SY-3004"]),
        ("if (a) { b } else", vec!["SY-3001"]),
        ("for (;;) { a = b }", vec!["SY-3009"]),
    ] {
        let found = parse(source).unwrap_err();
        let found: Vec<String> = found.iter().map(|error| error.code.to_string()).collect();
        assert_eq!(found, codes, "{source}");
    }
}

#[test]
fn reports_at_most_a_bounded_number_of_mistakes() {
    let source = "= ".repeat(5_000);
    assert!(parse(&source).unwrap_err().len() <= crate::limits::SYNTAX_ERRORS_MAX);
    let source = "a === ".repeat(1_500);
    assert!(parse(&source).unwrap_err().len() <= crate::limits::SYNTAX_ERRORS_MAX + 1);
}

#[test]
fn slashes_divide_behind_an_operand_and_hold_a_pattern_where_one_is_due() {
    for source in [
        "a / b / c",
        "(a) / 2 / 3",
        "xs[0] / 2 / 3",
        "`${a}` / 2 / 3",
        "event.return / 2 / 3",
        "event?.typeof / 2 / 3",
        "(f(1) / 2) / 3 // and a comment / here",
        "-1 / 2 / 3",
    ] {
        assert!(parse(source).is_ok(), "{source}");
    }
    let written = |source: &str| {
        let found = first_error(source);
        assert_eq!(found.code.number(), 3009, "{source}: {found:?}");
        (found.span.text(source).to_owned(), found.replacement.map(String::from))
    };
    for (source, pattern, replacement) in [
        (r"a.match(/x\d+/)", r"/x\d+/", Some(r"'x\d+'")),
        (r"a.replace(/\//, 'b')", r"/\//", None),
        ("return /a/ == b", "/a/", Some("'a'")),
        ("[/a/gi, 1]", "/a/gi", None),
        ("a == /it's/", "/it's/", None),
    ] {
        assert_eq!(written(source), (pattern.to_owned(), replacement.map(String::from)));
        assert_eq!(parse(source).unwrap_err().len(), 1, "nothing else is wrong with {source}");
    }
    // Unterminated, or with a line break inside, it is not a pattern.
    for source in ["a.match(/x)", "a.match(/x\ny/)", "/"] {
        assert_ne!(first_error(source).code.number(), 3009, "{source}");
    }
}
