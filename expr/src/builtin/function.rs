//! Functions.

mod json_parse;
mod json_stringify;
mod number;

use super::signature::builtins;

builtins! {
    ();
    number::Number,
    json_parse::JsonParse,
    json_stringify::JsonStringify,
}
