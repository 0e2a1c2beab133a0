//! Expressions: conditionals, operators, member chains, literals, functions.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::multi::{many0, separated_list0};
use nom::sequence::{delimited, pair, preceded, terminated};

use crate::ast::{
    Applied, BinaryOp, Body, Expr, ExprKind, Link, LinkKind, Name, Sequence, TemplatePart, UnaryOp,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::TokenKind;
use crate::parse::input::{
    Input, Parsed, expected, foreign_word, is_foreign, missing, need, refused, sign,
};
use crate::parse::sequence::{block, is_reserved};

/// `expression = lambda | conditional`
pub(super) fn expression<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    input.nested(|input| if starts_lambda(input) { lambda(input) } else { conditional(input) })
}

/// `conditional = throw ("?" expression ":" conditional)?`, the right recursion as a loop.
fn conditional<'t, 's>(mut input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let mut arms = Vec::new();
    loop {
        // The last branch may be a function: `c ? 1 : x => x`.
        let (rest, operand) = if starts_lambda(input) { lambda(input)? } else { throw(input)? };
        if !rest.is_sign("?") {
            let otherwise = operand;
            if arms.is_empty() {
                return Ok((rest, otherwise));
            }
            let start = arms.first().map_or(otherwise.span, |(first, _): &(Expr, Expr)| first.span);
            let span = start.to(otherwise.span);
            let otherwise = Box::new(otherwise);
            return Ok((rest, Expr::new(ExprKind::Conditional { arms, otherwise }, span)));
        }
        let (rest, value) = expression(rest.rest(1))?;
        let (rest, _) = need(":")(rest)?;
        arms.push((operand, value));
        input = rest;
    }
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

/// All infix operators: one flat row, grouped by precedence.
fn operators<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (input, first) = unary(input)?;
    let (input, rest) = many0(applied).parse(input)?;
    Ok((input, group(first, rest)))
}

fn applied<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Applied> {
    let TokenKind::Sign(found) = input.first().kind else {
        return Err(missing(input, "an operator"));
    };
    let Some((_, op)) = BinaryOp::ALL.iter().find(|(sign, _)| *sign == found) else {
        return Err(missing(input, "an operator"));
    };
    let (rest, operand) = unary(input.rest(1))?;
    Ok((rest, Applied { op: *op, op_span: input.first().span, operand }))
}

/// Splits the row at its loosest operators and groups each piece in turn. Recurses once for each
/// precedence that occurs, so at most seven deep.
fn group(first: Expr, row: Vec<Applied>) -> Expr {
    let Some(loosest) = row.iter().map(|applied| applied.op.precedence()).min() else {
        return first;
    };
    let mut row = row.into_iter().peekable();
    // The operators up to the next loosest one, which form an operand of the chain.
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
        TokenKind::Sign("!") => UnaryOp::Not,
        TokenKind::Sign("-") => UnaryOp::Negate,
        TokenKind::Word("typeof") => UnaryOp::TypeOf,
        _ => return postfix(input),
    };
    let (rest, operand) = input.rest(1).nested(unary)?;
    let span = input.first().span.to(operand.span);
    Ok((rest, Expr::new(ExprKind::Unary { op, operand: Box::new(operand) }, span)))
}

/// `postfix = primary (member | call)*`
fn postfix<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (input, head) = primary(input)?;
    let (input, links) = many0(link).parse(input)?;
    let Some(last) = links.last() else { return Ok((input, head)) };
    let span = head.span.to(last.span);
    Ok((input, Expr::new(ExprKind::Access { head: Box::new(head), links }, span)))
}

fn link<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Link> {
    let start = input.first().span;
    let (rest, kind, end) = match input.first().kind {
        TokenKind::Sign(".") => {
            let (rest, name) = member_name(input.rest(1))?;
            let end = name.span;
            (rest, LinkKind::Member { name, optional: false }, end)
        }
        TokenKind::Sign("?.") if input.rest(1).is_sign("[") => {
            let (rest, (index, end)) = bracketed(input.rest(2))?;
            (rest, LinkKind::Index { index: Box::new(index), optional: true }, end)
        }
        TokenKind::Sign("?.") => {
            let (rest, name) = member_name(input.rest(1))?;
            let end = name.span;
            (rest, LinkKind::Member { name, optional: true }, end)
        }
        TokenKind::Sign("[") => {
            let (rest, (index, end)) = bracketed(input.rest(1))?;
            (rest, LinkKind::Index { index: Box::new(index), optional: false }, end)
        }
        TokenKind::Sign("(") => {
            let (rest, (arguments, end)) = items(")")(input.rest(1))?;
            (rest, LinkKind::Call(arguments), end)
        }
        _ => return Err(missing(input, "an operator")),
    };
    Ok((rest, Link { kind, span: start.to(end) }))
}

fn bracketed<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Expr, crate::span::Span)> {
    pair(expression, need("]")).parse(input)
}

/// Any word may name a member, reserved or not.
fn member_name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(expected(input, "a member name")),
    }
}

/// Expressions separated by commas, a trailing one allowed, up to `close`.
fn items<'t, 's: 't>(
    close: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, (Vec<Expr>, crate::span::Span)> {
    move |input| {
        let mut items = Vec::new();
        let mut input = input;
        loop {
            if let Ok((rest, end)) = sign(close)(input) {
                return Ok((rest, (items, end)));
            }
            let (rest, item) = expression(input)?;
            items.push(item);
            input = if rest.is_sign(",") { rest.rest(1) } else { rest };
            if !rest.is_sign(",") {
                let (rest, end) = need(close)(rest)?;
                return Ok((rest, (items, end)));
            }
        }
    }
}

fn primary<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let token = input.first();
    let literal = |kind| Ok((input.rest(1), Expr::new(kind, token.span)));
    match &token.kind {
        TokenKind::Number(number) => literal(ExprKind::Number(*number)),
        TokenKind::String(text) => literal(ExprKind::String(text.clone())),
        TokenKind::Word("null") => literal(ExprKind::Null),
        TokenKind::Word("true") => literal(ExprKind::Bool(true)),
        TokenKind::Word("false") => literal(ExprKind::Bool(false)),
        TokenKind::Word("new") => constructor(input),
        TokenKind::Word(word) if is_foreign(word) => Err(refused(foreign_word(word, token.span))),
        TokenKind::Word(word) if is_reserved(word) => Err(expected(input, "an expression")),
        TokenKind::Word(word) => literal(ExprKind::Name((*word).into())),
        TokenKind::TemplateStart => template(input),
        TokenKind::Sign("(") => delimited(sign("("), expression, need(")")).parse(input),
        TokenKind::Sign("[") => {
            let (rest, (items, end)) = items("]")(input.rest(1))?;
            Ok((rest, Expr::new(ExprKind::List(items), token.span.to(end))))
        }
        TokenKind::Sign("{") => map_literal(input),
        TokenKind::Sign("+") => Err(refused(
            Diagnostic::error(Code::ForeignOperator, token.span, "there is no unary `+`")
                .with_help("convert text with `Number(text)`"),
        )),
        _ => Err(expected(input, "an expression")),
    }
}

/// `"new" identifier call`
fn constructor<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let (rest, class) = member_name(input.rest(1))?;
    let (rest, _) = need("(")(rest)?;
    let (rest, (arguments, end)) = items(")")(rest)?;
    let span = input.first().span.to(end);
    Ok((rest, Expr::new(ExprKind::New { class, arguments }, span)))
}

fn template<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let start = input.first().span;
    let (input, parts) = many0(template_part).parse(input.rest(1))?;
    if !matches!(input.first().kind, TokenKind::TemplateEnd) {
        return Err(expected(input, "the end of the template"));
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
                _ => Err(expected(rest, "`}`")),
            }
        }
        _ => Err(missing(input, "template text")),
    }
}

/// `{ key: expression, ... }`
fn map_literal<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let entry = pair(terminated(key, need(":")), expression);
    let start = input.first().span;
    let (input, entries) = preceded(sign("{"), separated_list0(sign(","), entry)).parse(input)?;
    let (input, _) = opt(sign(",")).parse(input)?;
    let (input, end) = need("}")(input)?;
    Ok((input, Expr::new(ExprKind::Map(entries), start.to(end))))
}

fn key<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Box<str>> {
    match &input.first().kind {
        TokenKind::Word(word) => Ok((input.rest(1), (*word).into())),
        TokenKind::String(text) => Ok((input.rest(1), text.clone())),
        _ => Err(missing(input, "a key")),
    }
}

/// Whether an arrow function starts here. Looks ahead over `name =>` or a list of names in
/// parentheses, never over an expression.
fn starts_lambda(input: Input<'_, '_>) -> bool {
    let arrow_at = |at: usize| matches!(input.peek(at).kind, TokenKind::Sign("=>"));
    match input.first().kind {
        TokenKind::Word(_) => arrow_at(1),
        TokenKind::Sign("(") => {
            let mut at = 1;
            while matches!(input.peek(at).kind, TokenKind::Word(_) | TokenKind::Sign(",")) {
                at += 1;
            }
            matches!(input.peek(at).kind, TokenKind::Sign(")")) && arrow_at(at + 1)
        }
        _ => false,
    }
}

/// `lambda = (identifier | "(" names? ")") "=>" (map | block | expression)`
fn lambda<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let start = input.first().span;
    let names = delimited(sign("("), separated_list0(sign(","), name), need(")"));
    let (input, parameters) = alt((names, map(name, |name| vec![name]))).parse(input)?;
    let (input, _) = need("=>")(input)?;
    let (rest, body) = if input.is_sign("{") && !starts_map(input) {
        block(input)?
    } else {
        let (rest, value) = expression(input)?;
        (rest, Sequence::new(Vec::new(), Body::Expr(value)))
    };
    let span = start.to(rest.before(input));
    let body = Box::new(body);
    Ok((rest, Expr::new(ExprKind::Lambda { parameters, body }, span)))
}

/// A `{` behind an arrow opens a map if `}` or a key with `:` follows, otherwise a block.
fn starts_map(input: Input<'_, '_>) -> bool {
    match input.peek(1).kind {
        TokenKind::Sign("}") => true,
        TokenKind::Word(_) | TokenKind::String(_) => {
            matches!(input.peek(2).kind, TokenKind::Sign(":"))
        }
        _ => false,
    }
}

/// A name that may be declared.
pub(super) fn name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) if !is_reserved(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(missing(input, "a name")),
    }
}
