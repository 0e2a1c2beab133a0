//! The grammar: one function for each production of `README.md`. The productions are mutually
//! recursive, so they share one file; lookahead, terminals and operator grouping are in others.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::multi::separated_list0;
use nom::sequence::delimited;

use super::input::{
    Input, Parsed, expect, expected_error, expected_of_if, fatal_error, mismatch, punct,
};
use super::lookahead::{starts_declaration, starts_lambda, starts_link, starts_map};
use super::operators::{group, operator};
use super::terminals::{key, leaf, member_name, name, word};
use crate::ast::{
    Applied, Body, Expr, ExprKind, Link, LinkKind, Name, Sequence, TemplatePart, UnaryOp,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::TokenKind;
use crate::span::Span;

/// `sequence = (declaration ";")* "return"? body ";"?`
pub(super) fn sequence<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    let mut input = input;
    let mut declarations = Vec::new();
    while starts_declaration(input) {
        let (rest, declared) = declaration(input)?;
        declarations.push(declared);
        input = rest;
    }
    let (input, _) = opt(word("return")).parse(input)?;
    if matches!(input.first().kind, TokenKind::End | TokenKind::Punct("}"))
        && !declarations.is_empty()
    {
        return Err(expected_error(input, "an expression after the declarations"));
    }
    let (input, body) = body(input)?;
    let (input, _) = opt(punct(";")).parse(input)?;
    Ok((input, Sequence::new(declarations, body)))
}

/// `declaration = "let"? identifier "=" expression`, with its `;`.
fn declaration<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Name, Expr)> {
    let start = if input.is_word("let") { input.rest(1) } else { input };
    let (rest, name) = name(start).map_err(|_| expected_error(start, "a name"))?;
    if !rest.is_punct("=") {
        return Err(expected_error(rest, "`=`"));
    }
    let (rest, value) = expression(rest.rest(1))?;
    let (rest, _) = expect(";")(rest)?;
    Ok((rest, (name, value)))
}

fn body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    match input.first().kind {
        TokenKind::Word("if") => conditional_body(input),
        TokenKind::Word("try") => try_body(input),
        _ => {
            let (rest, value) = expression(input)?;
            Ok((rest, Body::Expr(value)))
        }
    }
}

/// `"if" "(" expression ")" block ("else" "if" ...)* "else" block`
fn conditional_body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    let start = input.first().span;
    let mut arms = Vec::new();
    let mut input = input;
    loop {
        let condition = input.rest(1);
        if !condition.is_punct("(") {
            return Err(expected_of_if(condition, "`(`"));
        }
        let (rest, condition) = parenthesised(condition)?;
        let (rest, then) = branch(rest)?;
        arms.push((condition, then));
        if !rest.is_word("else") {
            let message = "this `if` has no `else`, so it may have no value";
            return Err(fatal_error(
                Diagnostic::error(Code::MissingElse, start, message)
                    .with_help("write `if (...) { ... } else { ... }`"),
            ));
        }
        input = rest.rest(1);
        if !input.is_word("if") {
            let (rest, otherwise) = branch(input)?;
            return Ok((rest, Body::If { arms, otherwise: Box::new(otherwise) }));
        }
    }
}

/// A block of an `if`.
fn branch<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    if input.is_punct("{") { block(input) } else { Err(expected_of_if(input, "`{`")) }
}

/// `"try" block "catch" "(" identifier? ")" block`
fn try_body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    let span = input.first().span;
    let (input, attempt) = block(input.rest(1))?;
    let (input, _) = word("catch").parse(input).map_err(|_| expected_error(input, "`catch`"))?;
    let (input, error) = delimited(expect("("), opt(name), expect(")")).parse(input)?;
    let (input, handler) = block(input)?;
    let (attempt, handler) = (Box::new(attempt), Box::new(handler));
    Ok((input, Body::Try { attempt, error, handler, span }))
}

/// `block = "{" sequence "}"`
fn block<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    input.nested(braced)
}

/// A block whose nesting level is counted by the enclosing production.
fn braced<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    let (rest, _) = expect("{")(input)?;
    let (rest, sequence) = sequence(rest)?;
    let (rest, _) = expect("}")(rest)?;
    Ok((rest, sequence))
}

/// `expression = lambda | conditional`
fn expression<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    input.nested(|input| if starts_lambda(input) { lambda(input) } else { conditional(input) })
}

/// `conditional = throw ("?" expression ":" conditional)?`
///
/// Here and below the rare form has a function of its own, so that the stack frames of nested
/// brackets stay small.
fn conditional<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, first) = throw(input)?;
    if rest.is_punct("?") { branches(rest, first) } else { Ok((rest, first)) }
}

/// The branches after a first condition; a loop replaces the right recursion.
fn branches<'t, 's>(mut input: Input<'t, 's>, first: Expr) -> Parsed<'t, 's, Expr> {
    let start = first.span;
    let mut arms = Vec::new();
    let mut condition = first;
    while input.is_punct("?") {
        let (rest, value) = expression(input.rest(1))?;
        let (rest, _) = expect(":")(rest)?;
        arms.push((condition, value));
        // The last branch may be a function: `c ? 1 : x => x`.
        (input, condition) = if starts_lambda(rest) { lambda(rest)? } else { throw(rest)? };
    }
    let span = start.to(condition.span);
    let otherwise = Box::new(condition);
    Ok((input, Expr::new(ExprKind::Conditional { arms, otherwise }, span)))
}

/// `throw = "throw" throw | nullish`
fn throw<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    if !input.is_word("throw") {
        return operators(input);
    }
    let start = input.first().span;
    let (rest, operand) = input.rest(1).nested(throw)?;
    let span = start.to(operand.span);
    Ok((rest, Expr::new(ExprKind::Throw(Box::new(operand)), span)))
}

/// All infix operators: a flat list, grouped by precedence.
fn operators<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, first) = unary(input)?;
    if operator(rest).is_none() { Ok((rest, first)) } else { row(rest, first) }
}

/// The operators and operands after a first operand.
fn row<'t, 's>(mut input: Input<'t, 's>, first: Expr) -> Parsed<'t, 's, Expr> {
    let mut row = Vec::new();
    while let Some(op) = operator(input) {
        let op_span = input.first().span;
        let (rest, operand) = unary(input.rest(1))?;
        row.push(Applied { op, op_span, operand });
        input = rest;
    }
    Ok((input, group(first, row)))
}

/// `unary = ("!" | "-" | "typeof") unary | postfix`
fn unary<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let op = match input.first().kind {
        TokenKind::Punct("!") => UnaryOp::Not,
        TokenKind::Punct("-") => UnaryOp::Negate,
        TokenKind::Word("typeof") => UnaryOp::TypeOf,
        _ => return postfix(input),
    };
    let (rest, operand) = input.rest(1).nested(unary)?;
    let span = input.first().span.to(operand.span);
    Ok((rest, Expr::new(ExprKind::Unary { op, operand: Box::new(operand) }, span)))
}

/// `postfix = primary (member | call)*`
fn postfix<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, head) = primary(input)?;
    if starts_link(rest) { links(rest, head) } else { Ok((rest, head)) }
}

/// The links after a head.
fn links<'t, 's>(mut input: Input<'t, 's>, head: Expr) -> Parsed<'t, 's, Expr> {
    let mut links = Vec::new();
    while starts_link(input) {
        let (rest, link) = link(input)?;
        links.push(link);
        input = rest;
    }
    let Some(last) = links.last() else { return Ok((input, head)) };
    let span = head.span.to(last.span);
    Ok((input, Expr::new(ExprKind::Access { head: Box::new(head), links }, span)))
}

fn link<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Link> {
    let start = input.first().span;
    let (rest, kind, end) = match input.first().kind {
        TokenKind::Punct(".") => {
            let (rest, name) = member_name(input.rest(1))?;
            let end = name.span;
            (rest, LinkKind::Member { name, optional: false }, end)
        }
        TokenKind::Punct("?.") if input.rest(1).is_punct("[") => {
            let (rest, (index, end)) = bracketed(input.rest(2))?;
            (rest, LinkKind::Index { index: Box::new(index), optional: true }, end)
        }
        TokenKind::Punct("?.") => {
            let (rest, name) = member_name(input.rest(1))?;
            let end = name.span;
            (rest, LinkKind::Member { name, optional: true }, end)
        }
        TokenKind::Punct("[") => {
            let (rest, (index, end)) = bracketed(input.rest(1))?;
            (rest, LinkKind::Index { index: Box::new(index), optional: false }, end)
        }
        TokenKind::Punct("(") => {
            let (rest, (arguments, end)) = items(")")(input.rest(1))?;
            (rest, LinkKind::Call(arguments), end)
        }
        _ => return Err(mismatch(input, "an operator")),
    };
    Ok((rest, Link { kind, span: start.to(end) }))
}

fn bracketed<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Expr, Span)> {
    let (rest, index) = expression(input)?;
    let (rest, end) = expect("]")(rest)?;
    Ok((rest, (index, end)))
}

/// A comma-separated list of expressions up to `close`; a trailing comma is allowed.
fn items<'t, 's: 't>(
    close: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, (Vec<Expr>, Span)> {
    move |input| {
        let mut items = Vec::new();
        let mut input = input;
        loop {
            if input.is_punct(close) {
                return Ok((input.rest(1), (items, input.first().span)));
            }
            let (rest, item) = expression(input)?;
            items.push(item);
            input = if rest.is_punct(",") { rest.rest(1) } else { rest };
            if !rest.is_punct(",") {
                let (rest, end) = expect(close)(rest)?;
                return Ok((rest, (items, end)));
            }
        }
    }
}

fn primary<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    match input.first().kind {
        TokenKind::Punct("(") => parenthesised(input),
        TokenKind::Punct("[") => list(input),
        TokenKind::Punct("{") => map_literal(input),
        TokenKind::TemplateStart => template(input),
        TokenKind::Word("new") => constructor(input),
        _ => leaf(input),
    }
}

/// `"[" (expression ("," expression)* ","?)? "]"`
fn list<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, (items, end)) = items("]")(input.rest(1))?;
    Ok((rest, Expr::new(ExprKind::List(items), input.first().span.to(end))))
}

/// `"(" expression ")"`. The parentheses leave no node.
fn parenthesised<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, _) = expect("(")(input)?;
    let (rest, inner) = expression(rest)?;
    let (rest, _) = expect(")")(rest)?;
    Ok((rest, inner))
}

/// `"new" identifier call`
fn constructor<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, class) = member_name(input.rest(1))?;
    let (rest, _) = expect("(")(rest)?;
    let (rest, (arguments, end)) = items(")")(rest)?;
    let span = input.first().span.to(end);
    Ok((rest, Expr::new(ExprKind::New { class, arguments }, span)))
}

fn template<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let start = input.first().span;
    let mut input = input.rest(1);
    let mut parts = Vec::new();
    while let TokenKind::TemplateText(_) | TokenKind::PlaceholderStart = input.first().kind {
        let (rest, part) = template_part(input)?;
        parts.push(part);
        input = rest;
    }
    if !matches!(input.first().kind, TokenKind::TemplateEnd) {
        return Err(expected_error(input, "the end of the template"));
    }
    let span = start.to(input.first().span);
    Ok((input.rest(1), Expr::new(ExprKind::Template(parts), span)))
}

fn template_part<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, TemplatePart> {
    match &input.first().kind {
        TokenKind::TemplateText(text) => Ok((input.rest(1), TemplatePart::Text(text.clone()))),
        TokenKind::PlaceholderStart => {
            let (rest, expr) = expression(input.rest(1))?;
            match rest.first().kind {
                TokenKind::PlaceholderEnd => Ok((rest.rest(1), TemplatePart::Placeholder(expr))),
                _ => Err(expected_error(rest, "`}`")),
            }
        }
        _ => Err(mismatch(input, "template text")),
    }
}

/// `{ key: expression, ... }`
fn map_literal<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let start = input.first().span;
    let mut input = input.rest(1);
    let mut entries = Vec::new();
    while let Ok((rest, key)) = key(input) {
        let (rest, _) = expect(":")(rest)?;
        let (rest, value) = expression(rest)?;
        entries.push((key, value));
        input = rest;
        if !rest.is_punct(",") {
            break;
        }
        input = rest.rest(1);
    }
    let (rest, end) = expect("}")(input)?;
    Ok((rest, Expr::new(ExprKind::Map(entries), start.to(end))))
}

/// `lambda = (identifier | "(" names? ")") "=>" (map | block | expression)`
fn lambda<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let start = input.first().span;
    let names = delimited(punct("("), separated_list0(punct(","), name), expect(")"));
    let (input, parameters) = alt((names, map(name, |name| vec![name]))).parse(input)?;
    let (input, _) = expect("=>")(input)?;
    let (rest, body) = if input.is_punct("{") && !starts_map(input) {
        // The function and its block count as one nesting level.
        braced(input)?
    } else {
        let (rest, value) = expression(input)?;
        (rest, Sequence::new(Vec::new(), Body::Expr(value)))
    };
    let span = start.to(rest.before(input));
    let body = Box::new(body);
    Ok((rest, Expr::new(ExprKind::Lambda { parameters, body }, span)))
}
