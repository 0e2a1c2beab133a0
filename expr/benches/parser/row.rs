//! A flat list of operands, grouped by precedence afterwards: the way of `src/parse`.

use crate::token::{Parsed, Token, Tokens, Tree, mismatch, name, note_stack, punct};

type Row = Vec<(&'static str, Tree)>;

pub(crate) fn expression(input: Tokens<'_>) -> Parsed<'_, Tree> {
    let (rest, first) = unary(input)?;
    if operator(rest).is_none() { Ok((rest, first)) } else { row(rest, first) }
}

fn row(mut input: Tokens<'_>, first: Tree) -> Parsed<'_, Tree> {
    let mut row = Row::new();
    while let Some(op) = operator(input) {
        let (rest, operand) = unary(input.rest())?;
        row.push((op, operand));
        input = rest;
    }
    Ok((input, group(first, row)))
}

fn operator(input: Tokens<'_>) -> Option<&'static str> {
    match input.first() {
        Some(Token::Punct(found)) => precedence(found).map(|_| found),
        _ => None,
    }
}

fn precedence(op: &str) -> Option<u8> {
    Some(match op {
        "??" => 0,
        "||" => 1,
        "&&" => 2,
        "==" | "!=" => 3,
        "<" | ">" | "<=" | ">=" => 4,
        "+" | "-" => 5,
        "*" | "/" | "%" => 6,
        _ => return None,
    })
}

/// Splits the list at its loosest operators and groups each piece.
fn group(first: Tree, row: Row) -> Tree {
    let Some(loosest) = row.iter().map(|(op, _)| precedence(op)).min() else { return first };
    let mut row = row.into_iter().peekable();
    let mut tighter = |head: Tree| {
        let piece = std::iter::from_fn(|| row.next_if(|(op, _)| precedence(op) > loosest));
        let operand = group(head, piece.collect());
        (operand, row.next())
    };
    let (mut tree, mut next) = tighter(first);
    while let Some((op, operand)) = next {
        let (grouped, following) = tighter(operand);
        tree = Tree::binary(tree, (op, grouped));
        next = following;
    }
    tree
}

fn unary(input: Tokens<'_>) -> Parsed<'_, Tree> {
    if !input.is_punct("!") {
        return postfix(input);
    }
    let (rest, operand) = unary(input.rest())?;
    Ok((rest, Tree::Not(Box::new(operand))))
}

fn postfix(input: Tokens<'_>) -> Parsed<'_, Tree> {
    let (rest, head) = primary(input)?;
    if rest.is_punct(".") || rest.is_punct("(") { links(rest, head) } else { Ok((rest, head)) }
}

fn links(mut input: Tokens<'_>, mut tree: Tree) -> Parsed<'_, Tree> {
    loop {
        if input.is_punct(".") {
            let (rest, member) = name(input.rest())?;
            tree = Tree::Member(Box::new(tree), member);
            input = rest;
        } else if input.is_punct("(") {
            let (rest, arguments) = arguments(input.rest())?;
            tree = Tree::Call(Box::new(tree), arguments);
            input = rest;
        } else {
            return Ok((input, tree));
        }
    }
}

fn arguments(mut input: Tokens<'_>) -> Parsed<'_, Vec<Tree>> {
    let mut arguments = Vec::new();
    while !input.is_punct(")") {
        let (rest, argument) = expression(input)?;
        arguments.push(argument);
        input = if rest.is_punct(",") { rest.rest() } else { rest };
        if !rest.is_punct(",") && !rest.is_punct(")") {
            return Err(mismatch(rest));
        }
    }
    Ok((input.rest(), arguments))
}

fn primary(input: Tokens<'_>) -> Parsed<'_, Tree> {
    note_stack();
    if !input.is_punct("(") {
        let (rest, name) = name(input)?;
        return Ok((rest, Tree::Name(name)));
    }
    let (rest, inner) = expression(input.rest())?;
    let (rest, _) = punct(&[")"])(rest)?;
    Ok((rest, inner))
}
