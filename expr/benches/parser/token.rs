//! Tokens, the tree, and the token slice as nom input.

use std::cell::Cell;
use std::iter::Enumerate;

use nom::{IResult, Needed};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Token<'s> {
    Name(&'s str),
    Punct(&'static str),
}

const PUNCTUATION: [&str; 20] = [
    "==", "!=", "<=", ">=", "&&", "||", "??", "<", ">", "+", "-", "*", "/", "%", "!", ".", "(",
    ")", ",", ";",
];

/// The tokens of a source.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut rest = source.trim_start();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let punct = PUNCTUATION.iter().find(|punct| rest.starts_with(**punct));
        let length = match punct {
            Some(punct) => punct.len(),
            None => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()).max(1),
        };
        let (text, after) = rest.split_at(length);
        tokens.push(punct.map_or(Token::Name(text), |punct| Token::Punct(punct)));
        rest = after.trim_start();
    }
    tokens
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Tree {
    Name(String),
    Not(Box<Tree>),
    Binary(&'static str, Box<(Tree, Tree)>),
    Member(Box<Tree>, String),
    Call(Box<Tree>, Vec<Tree>),
}

impl Tree {
    pub(crate) fn binary(left: Tree, (op, right): (&'static str, Tree)) -> Tree {
        Tree::Binary(op, Box::new((left, right)))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'t>(&'t [Token<'t>]);

pub(crate) type Parsed<'t, T> = IResult<Tokens<'t>, T>;

impl<'t> Tokens<'t> {
    pub(crate) fn new(tokens: &'t [Token<'t>]) -> Self {
        Tokens(tokens)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(self) -> Option<Token<'t>> {
        self.0.first().copied()
    }

    pub(crate) fn rest(self) -> Self {
        Tokens(self.0.get(1..).unwrap_or_default())
    }

    pub(crate) fn is_punct(self, punct: &str) -> bool {
        matches!(self.first(), Some(Token::Punct(found)) if found == punct)
    }
}

/// Matches one of some signs.
pub(crate) fn punct<'t>(
    signs: &'static [&'static str],
) -> impl Fn(Tokens<'t>) -> Parsed<'t, &'static str> {
    move |input| match input.first() {
        Some(Token::Punct(found)) if signs.contains(&found) => Ok((input.rest(), found)),
        _ => Err(mismatch(input)),
    }
}

pub(crate) fn name(input: Tokens<'_>) -> Parsed<'_, String> {
    match input.first() {
        Some(Token::Name(name)) => Ok((input.rest(), name.to_owned())),
        _ => Err(mismatch(input)),
    }
}

pub(crate) fn mismatch(input: Tokens<'_>) -> nom::Err<nom::error::Error<Tokens<'_>>> {
    nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Tag))
}

thread_local! {
    static LOWEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Records the position of the stack; both parsers call it where brackets are innermost.
pub(crate) fn note_stack() {
    let local = 0_u8;
    let here = std::ptr::from_ref(std::hint::black_box(&local)).addr();
    LOWEST.set(LOWEST.get().min(here));
}

/// The bytes of stack that `work` uses down to the lowest note.
pub(crate) fn stack_bytes(work: impl FnOnce()) -> usize {
    let local = 0_u8;
    let start = std::ptr::from_ref(std::hint::black_box(&local)).addr();
    LOWEST.set(usize::MAX);
    work();
    start.saturating_sub(LOWEST.get())
}

impl<'t> nom::Input for Tokens<'t> {
    type Item = &'t Token<'t>;
    type Iter = std::slice::Iter<'t, Token<'t>>;
    type IterIndices = Enumerate<std::slice::Iter<'t, Token<'t>>>;

    fn input_len(&self) -> usize {
        self.0.len()
    }

    fn take(&self, index: usize) -> Self {
        Tokens(self.0.get(..index).unwrap_or(self.0))
    }

    fn take_from(&self, index: usize) -> Self {
        Tokens(self.0.get(index..).unwrap_or_default())
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), self.take(index))
    }

    fn position<P: Fn(Self::Item) -> bool>(&self, predicate: P) -> Option<usize> {
        self.0.iter().position(predicate)
    }

    fn iter_elements(&self) -> Self::Iter {
        self.0.iter()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.0.iter().enumerate()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        if self.0.len() >= count { Ok(count) } else { Err(Needed::new(count - self.0.len())) }
    }
}
