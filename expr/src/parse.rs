//! The parser: tokens to syntax tree, on nom's input types.
//!
//! There is one function for each production of the grammar in `README.md`. Infix operators are
//! read into a flat list of operands and grouped by precedence afterwards. Nesting therefore costs
//! the same few stack frames for any number of precedence levels; `Input::nested` bounds its
//! depth.
//!
//! After a syntax error the parser repairs the token list and parses again. One call thus reports
//! several errors, and the productions contain no recovery code.

mod grammar;
mod input;
mod lookahead;
mod membership;
mod operators;
mod program;
mod repair;
mod terminals;
mod words;

pub(crate) use program::parse;
pub(crate) use words::is_reserved;

#[cfg(test)]
mod tests;
