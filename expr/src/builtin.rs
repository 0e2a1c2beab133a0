//! Builtin members, functions and constructors: one file each.
//!
//! The file of a builtin holds its signature, documentation, examples and evaluation. The file of
//! a family (`string.rs`, `list.rs`, ...) lists its builtins, and `table.rs` joins the families. A
//! new builtin is its file, its line in the list of its family, and its row of the manual, which
//! the tests print. Implementations use the [`Machine`] trait, so both evaluators share them.

mod arguments;
mod calendar_date;
mod call;
mod civil;
mod constructor;
mod date;
mod error;
mod function;
mod list;
mod lookup;
mod machine;
mod map;
mod number;
mod raise;
pub(crate) mod regexp;
mod rich_text;
mod shift;
mod signature;
mod string;
mod table;
mod units;

use arguments::Arguments;
pub(crate) use call::{call, close_over, construct};
pub(crate) use lookup::{MemberLookup, lookup, lookup_index, read_member, unknown_member};
pub(crate) use machine::{EvalResult, Machine};
pub(crate) use raise::{caught, throw};
use signature::Builtin;
pub use signature::MethodTest;
pub(crate) use signature::{Callback, Form, IndexTest, Returns, Signature};
pub(crate) use table::{
    Member, constructor_named, constructor_names, families, function_named, members_of,
};
