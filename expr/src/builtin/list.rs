//! Members of List.

mod concat;
mod elements;
mod every;
mod filter;
mod flat_map;
mod flatten;
mod includes;
mod index_of;
mod join;
mod length;
mod map;
mod reduce;
mod slice;
mod some;
mod sort;

use super::signature::builtins;
use crate::value::List;

builtins! {
    List<'v>;
    length::Length,
    map::MapElements,
    flat_map::FlatMap,
    flatten::Flatten,
    filter::Filter,
    every::Every,
    some::SomeElement,
    includes::Includes,
    index_of::IndexOf,
    slice::Slice,
    concat::Concat,
    reduce::Reduce,
    join::Join,
    sort::Sort,
}
