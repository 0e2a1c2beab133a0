//! Prints the tree as source that parses to the same tree. Parentheses are printed only where the
//! grammar needs them; comments and layout are lost.

use std::fmt::{self, Display, Formatter, Write};

use super::{Body, Expr, ExprKind, LinkKind, Name, Sequence, TemplatePart, UnaryOp};

/// The loosest form that a position accepts without parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Any expression.
    Any,
    /// Anything but a function or conditional.
    Throw,
    /// Operators of at least this precedence.
    Operator(u8),
    /// A prefix operator.
    Unary,
    /// A form that members and calls can follow.
    Primary,
}

impl Expr {
    fn level(&self) -> Level {
        match &self.kind {
            ExprKind::Lambda { .. } | ExprKind::Conditional { .. } => Level::Any,
            ExprKind::Throw(_) => Level::Throw,
            ExprKind::Chain { rest, .. } => {
                Level::Operator(rest.first().map_or(0, |applied| applied.op.precedence()))
            }
            // A `.` after a number would be read as its fraction.
            ExprKind::Unary { .. } | ExprKind::Access { .. } | ExprKind::Number(_) => Level::Unary,
            _ => Level::Primary,
        }
    }
}

impl Display for Sequence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.declarations {
            write!(f, "let {} = {value}; ", name.text)?;
        }
        match &self.body {
            Body::Expr(expr) => write!(f, "{expr}"),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    write!(f, "if ({condition}) {{ {then} }} else ")?;
                }
                write!(f, "{{ {otherwise} }}")
            }
            Body::Try { attempt, error, handler, .. } => {
                let error = error.as_ref().map_or("", |name| &name.text);
                write!(f, "try {{ {attempt} }} catch ({error}) {{ {handler} }}")
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Null => f.write_str("null"),
            ExprKind::Bool(value) => write!(f, "{value}"),
            ExprKind::Number(number) if number.is_infinite() => f.write_str("1e999"),
            ExprKind::Number(number) => write!(f, "{number}"),
            ExprKind::String(text) => string(f, text),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Template(parts) => template(f, parts),
            ExprKind::List(items) => {
                f.write_char('[')?;
                separated(f, items)?;
                f.write_char(']')
            }
            ExprKind::Map(entries) => map(f, entries),
            ExprKind::New { class, arguments } => {
                write!(f, "new {}(", class.text)?;
                separated(f, arguments)?;
                f.write_char(')')
            }
            ExprKind::Unary { op, operand } => {
                f.write_str(match op {
                    UnaryOp::Not => "!",
                    UnaryOp::Negate if matches!(operand.kind, ExprKind::Number(_)) => "-",
                    // Two signs without a space would be another operator.
                    UnaryOp::Negate => "- ",
                    UnaryOp::TypeOf => "typeof ",
                })?;
                at(f, operand, Level::Unary)
            }
            ExprKind::Chain { first, rest } => {
                let precedence = rest.first().map_or(0, |applied| applied.op.precedence());
                // An operand chain of the same precedence needs parentheses to stay separate.
                let operand = Level::Operator(precedence + 1);
                at(f, first, operand)?;
                rest.iter().try_for_each(|applied| {
                    write!(f, " {} ", applied.op.symbol())?;
                    at(f, &applied.operand, operand)
                })
            }
            ExprKind::Conditional { arms, otherwise } => {
                for (condition, value) in arms {
                    at(f, condition, Level::Throw)?;
                    write!(f, " ? {value} : ")?;
                }
                match otherwise.kind {
                    ExprKind::Lambda { .. } => write!(f, "{otherwise}"),
                    _ => at(f, otherwise, Level::Throw),
                }
            }
            ExprKind::Throw(operand) => {
                f.write_str("throw ")?;
                at(f, operand, Level::Throw)
            }
            ExprKind::Lambda { parameters, body } => lambda(f, parameters, body),
            ExprKind::Access { head, links } => {
                at(f, head, Level::Primary)?;
                links.iter().try_for_each(|link| write!(f, "{}", link.kind))
            }
        }
    }
}

impl Display for LinkKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LinkKind::Member { name, optional: false } => write!(f, ".{}", name.text),
            LinkKind::Member { name, optional: true } => write!(f, "?.{}", name.text),
            LinkKind::Index { index, optional: false } => write!(f, "[{index}]"),
            LinkKind::Index { index, optional: true } => write!(f, "?.[{index}]"),
            LinkKind::Call(arguments) => {
                f.write_char('(')?;
                separated(f, arguments)?;
                f.write_char(')')
            }
        }
    }
}

/// Prints an expression, in parentheses if it is looser than `level`.
fn at(f: &mut Formatter<'_>, expr: &Expr, level: Level) -> fmt::Result {
    if expr.level() < level { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

fn separated(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(at, item)| {
        let comma = if at > 0 { ", " } else { "" };
        write!(f, "{comma}{item}")
    })
}

fn lambda(f: &mut Formatter<'_>, parameters: &[Name], body: &Sequence) -> fmt::Result {
    let names: Vec<&str> = parameters.iter().map(|name| &*name.text).collect();
    match names.as_slice() {
        [name] => f.write_str(name)?,
        names => write!(f, "({})", names.join(", "))?,
    }
    match &body.body {
        Body::Expr(expr) if body.declarations.is_empty() => write!(f, " => {expr}"),
        _ => write!(f, " => {{ {body} }}"),
    }
}

fn map(f: &mut Formatter<'_>, entries: &[(Box<str>, Expr)]) -> fmt::Result {
    f.write_char('{')?;
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_word {
            f.write_str(key)?;
        } else {
            string(f, key)?;
        }
        write!(f, ": {value}")?;
    }
    f.write_char('}')
}

/// Formats text as a string literal.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    // Infallible: the target is a string.
    let _ = string(&mut out, text);
    out
}

fn string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('\'')?;
    text.chars().try_for_each(|c| escaped(out, c, '\''))?;
    out.write_char('\'')
}

fn template(f: &mut Formatter<'_>, parts: &[TemplatePart]) -> fmt::Result {
    f.write_char('`')?;
    for part in parts {
        match part {
            TemplatePart::Text(text) => text.chars().try_for_each(|c| match c {
                '$' => f.write_str("\\$"),
                _ => escaped(f, c, '`'),
            })?,
            TemplatePart::Placeholder(expr) => write!(f, "${{{expr}}}")?,
        }
    }
    f.write_char('`')
}

fn escaped(f: &mut impl Write, c: char, quote: char) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if c == quote => write!(f, "\\{c}"),
        c => f.write_char(c),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;

    /// The tree without its spans, which differ with the layout.
    fn tree(source: &str) -> String {
        let debug = format!("{:?}", parse(source).unwrap_or_else(|e| panic!("{source}: {e:?}")));
        let span = regex::Regex::new(r"Span \{ start: \d+, end: \d+ \}").unwrap();
        span.replace_all(&debug, "_").into_owned()
    }

    fn prints(source: &str) -> String {
        let printed = parse(source).unwrap().to_string();
        assert_eq!(tree(&printed), tree(source), "{source} became {printed}");
        printed
    }

    #[test]
    fn prints_parentheses_only_where_the_grammar_needs_them() {
        for (source, expected) in [
            ("(((a)))", "a"),
            ("(a-b)-c", "(a - b) - c"),
            ("a-(b-c)", "a - (b - c)"),
            ("a-b-c", "a - b - c"),
            ("(a*b)+c", "a * b + c"),
            ("a*(b+c)", "a * (b + c)"),
            ("a ? b : (c ? d : e)", "a ? b : (c ? d : e)"),
            ("a ? b : c ? d : e", "a ? b : c ? d : e"),
            ("(a ? b : c) ? d : x => e", "(a ? b : c) ? d : x => e"),
            ("(throw a) ? b : c", "throw a ? b : c"),
            ("throw (a ? b : c)", "throw (a ? b : c)"),
            ("(a?.b).c", "(a?.b).c"),
            ("- -a", "- - a"),
            ("a - -b", "a - - b"),
            ("!(a && b)", "!(a && b)"),
            ("(1).x", "(1).x"),
            ("(x => x)(1)", "(x => x)(1)"),
            ("x => ({})", "x => {}"),
            ("x => { let y = x; y }", "x => { let y = x; y }"),
            ("() => {a: 1}.a", "() => {a: 1}.a"),
            ("(a, b) => { return a }", "(a, b) => a"),
            ("{'a b': 1, c: '\\'\\\\d\\n'}", "{'a b': 1, c: '\\'\\\\d\\n'}"),
            ("`a${b}\\`\\${c}`", "`a${b}\\`\\${c}`"),
            (
                "if (a) { b } else if (c) { d } else { e }",
                "if (a) { b } else if (c) { d } else { e }",
            ),
            ("try { a } catch () { b }", "try { a } catch () { b }"),
            ("x = 1; return x", "let x = 1; x"),
            ("1e999 + .5e-7", "1e999 + 0.00000005"),
            ("a?.['b']?.[0][c](d, e,)", "a?.['b']?.[0][c](d, e)"),
            ("new Date(1).getTime()", "new Date(1).getTime()"),
            ("typeof typeof a", "typeof typeof a"),
        ] {
            assert_eq!(prints(source), expected);
        }
    }

    #[test]
    fn every_expression_of_the_corpus_round_trips() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
        let mut checked = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for case in crate::cases::parse(&text).unwrap() {
                if parse(&case.expr).is_ok() {
                    prints(&case.expr);
                    checked += 1;
                }
            }
        }
        assert!(checked > 200, "{checked}");
    }
}
