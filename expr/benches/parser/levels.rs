//! A parser for each precedence, of nom's combinators.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::map;
use nom::multi::{fold, separated_list0};
use nom::sequence::{delimited, pair, preceded};

use crate::token::{Parsed, Tokens, Tree, name, note_stack, punct};

/// The operators of each precedence, loosest first.
const LEVELS: [&[&str]; 7] = [
    &["??"],
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["+", "-"],
    &["*", "/", "%"],
];

pub(crate) fn expression(input: Tokens<'_>) -> Parsed<'_, Tree> {
    level::<0>(input)
}

fn level<const AT: usize>(input: Tokens<'_>) -> Parsed<'_, Tree> {
    let (input, first) = next::<AT>(input)?;
    let operators = LEVELS.get(AT).copied().unwrap_or(&[]);
    let mut first = Some(first);
    fold(
        0..,
        pair(punct(operators), next::<AT>),
        move || first.take().unwrap_or(Tree::Name(String::new())),
        Tree::binary,
    )
    .parse(input)
}

/// The parser of the next tighter precedence.
fn next<const AT: usize>(input: Tokens<'_>) -> Parsed<'_, Tree> {
    match AT {
        0 => level::<1>(input),
        1 => level::<2>(input),
        2 => level::<3>(input),
        3 => level::<4>(input),
        4 => level::<5>(input),
        5 => level::<6>(input),
        _ => unary(input),
    }
}

fn unary(input: Tokens<'_>) -> Parsed<'_, Tree> {
    alt((map(preceded(punct(&["!"]), unary), |tree| Tree::Not(Box::new(tree))), postfix))
        .parse(input)
}

enum Link {
    Member(String),
    Call(Vec<Tree>),
}

fn postfix(input: Tokens<'_>) -> Parsed<'_, Tree> {
    let (input, head) = primary(input)?;
    let link = alt((
        map(preceded(punct(&["."]), name), Link::Member),
        map(
            delimited(punct(&["("]), separated_list0(punct(&[","]), expression), punct(&[")"])),
            Link::Call,
        ),
    ));
    let mut head = Some(head);
    fold(
        0..,
        link,
        move || head.take().unwrap_or(Tree::Name(String::new())),
        |tree, link| match link {
            Link::Member(name) => Tree::Member(Box::new(tree), name),
            Link::Call(arguments) => Tree::Call(Box::new(tree), arguments),
        },
    )
    .parse(input)
}

fn primary(input: Tokens<'_>) -> Parsed<'_, Tree> {
    note_stack();
    alt((delimited(punct(&["("]), expression, punct(&[")"])), map(name, Tree::Name))).parse(input)
}
