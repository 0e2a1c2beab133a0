//! Productions of expressions: conditionals, operators, member chains, literals, functions.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::map;
use nom::multi::separated_list0;
use nom::sequence::delimited;

use crate::ast::{
    Applied, BinaryOp, Body, Expr, ExprKind, Link, LinkKind, Name, Sequence, TemplatePart, UnaryOp,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::TokenKind;
use crate::parse::input::{
    Input, Parsed, expect, expected_error, expected_of_if, fatal_error, foreign_word, is_foreign,
    mismatch, punct, word_operator_error,
};
use crate::parse::sequence::{braced, is_reserved};

/// `expression = lambda | conditional`
pub(super) fn expression<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
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

fn operator(input: Input<'_, '_>) -> Option<BinaryOp> {
    let TokenKind::Punct(found) = input.first().kind else { return None };
    // Most operands end with a bracket or comma, which are not operators.
    if matches!(found, ")" | "(" | "," | "]" | "." | ":" | "}" | ";") {
        return None;
    }
    BinaryOp::ALL.iter().find(|(punct, _)| *punct == found).map(|(_, op)| *op)
}

/// Splits the list at its loosest operators and groups each piece. Recurses once for each
/// precedence that occurs, so at most seven deep.
fn group(first: Expr, row: Vec<Applied>) -> Expr {
    let Some(loosest) = row.iter().map(|applied| applied.op.precedence()).min() else {
        return first;
    };
    let mut row = row.into_iter().peekable();
    // The operators up to the next loosest one form an operand of the chain.
    let mut tighter = |head: Expr| {
        let piece = std::iter::from_fn(|| row.next_if(|applied| applied.op.precedence() > loosest));
        let operand = group(head, piece.collect());
        (operand, row.next())
    };
    let (first, mut next) = tighter(first);
    let mut rest = Vec::new();
    while let Some(Applied { op, op_span, operand }) = next {
        let (grouped, following) = tighter(operand);
        rest.push(Applied { op, op_span, operand: grouped });
        next = following;
    }
    let end = rest.last().map_or(first.span, |applied| applied.operand.span);
    let span = first.span.to(end);
    Expr::new(ExprKind::Chain { first: Box::new(first), rest }, span)
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

fn starts_link(input: Input<'_, '_>) -> bool {
    matches!(input.first().kind, TokenKind::Punct("." | "?." | "[" | "("))
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

fn bracketed<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Expr, crate::span::Span)> {
    let (rest, index) = expression(input)?;
    let (rest, end) = expect("]")(rest)?;
    Ok((rest, (index, end)))
}

/// Any word can be a member name, reserved or not.
fn member_name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(expected_error(input, "a member name")),
    }
}

/// A comma-separated list of expressions up to `close`; a trailing comma is allowed.
fn items<'t, 's: 't>(
    close: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, (Vec<Expr>, crate::span::Span)> {
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

/// A literal or a name.
fn leaf<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let token = input.first();
    let kind = match &token.kind {
        TokenKind::Number(number) => ExprKind::Number(*number),
        TokenKind::String(text) => ExprKind::String(text.clone()),
        TokenKind::Word("null") => ExprKind::Null,
        TokenKind::Word("true") => ExprKind::Bool(true),
        TokenKind::Word("false") => ExprKind::Bool(false),
        TokenKind::Word("if") => return Err(expected_of_if(input, "an expression")),
        TokenKind::Word(word) if is_foreign(word) => {
            return Err(fatal_error(foreign_word(word, token.span)));
        }
        // Two adjacent names are never valid.
        TokenKind::Word(word)
            if word.eq_ignore_ascii_case("not")
                && matches!(input.peek(1).kind, TokenKind::Word(_)) =>
        {
            return Err(fatal_error(word_operator_error(word, token.span)));
        }
        TokenKind::Word(word) if !is_reserved(word) => ExprKind::Name((*word).into()),
        TokenKind::Punct("+") => {
            return Err(fatal_error(
                Diagnostic::error(Code::ForeignOperator, token.span, "there is no unary `+`")
                    .with_help("convert text with `Number(text)`"),
            ));
        }
        _ => return Err(expected_error(input, "an expression")),
    };
    Ok((input.rest(1), Expr::new(kind, token.span)))
}

/// `"[" (expression ("," expression)* ","?)? "]"`
fn list<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, (items, end)) = items("]")(input.rest(1))?;
    Ok((rest, Expr::new(ExprKind::List(items), input.first().span.to(end))))
}

/// `"(" expression ")"`. The parentheses leave no node.
pub(super) fn parenthesised<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
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

fn key<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Box<str>> {
    match &input.first().kind {
        TokenKind::Word(word) => Ok((input.rest(1), (*word).into())),
        TokenKind::String(text) => Ok((input.rest(1), text.clone())),
        _ => Err(mismatch(input, "a key")),
    }
}

/// Whether an arrow function starts here. Looks ahead over `name =>` or a parenthesized list of
/// names, never over an expression.
fn starts_lambda(input: Input<'_, '_>) -> bool {
    let arrow_at = |at: usize| matches!(input.peek(at).kind, TokenKind::Punct("=>"));
    match input.first().kind {
        TokenKind::Word(_) => arrow_at(1),
        TokenKind::Punct("(") => {
            let mut at = 1;
            while matches!(input.peek(at).kind, TokenKind::Word(_) | TokenKind::Punct(",")) {
                at += 1;
            }
            matches!(input.peek(at).kind, TokenKind::Punct(")")) && arrow_at(at + 1)
        }
        _ => false,
    }
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

/// A `{` after an arrow opens a map if `}` or a key with `:` follows, otherwise a block.
fn starts_map(input: Input<'_, '_>) -> bool {
    match input.peek(1).kind {
        TokenKind::Punct("}") => true,
        TokenKind::Word(_) | TokenKind::String(_) => {
            matches!(input.peek(2).kind, TokenKind::Punct(":"))
        }
        _ => false,
    }
}

/// A name that can be declared.
pub(super) fn name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) if !is_reserved(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(mismatch(input, "a name")),
    }
}
