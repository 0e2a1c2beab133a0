//! Members of String. Positions and lengths count UTF-16 units, as in JavaScript.

mod case;
mod count;
mod includes;
mod index_of;
mod length;
mod match_all;
mod match_first;
mod pad;
mod pad_end;
mod pad_start;
mod repeat;
mod replace;
mod search;
mod slice;
mod split;
mod to_lower_case;
mod to_upper_case;
mod trim;

use super::signature::builtins;
use crate::value::Text;

builtins! {
    Text<'v>;
    length::Length,
    trim::Trim,
    to_lower_case::ToLowerCase,
    to_upper_case::ToUpperCase,
    split::Split,
    slice::Slice,
    includes::Includes,
    index_of::IndexOf,
    pad_start::PadStart,
    pad_end::PadEnd,
    repeat::Repeat,
    replace::Replace,
    match_first::MatchFirst,
    match_all::MatchAll,
}
