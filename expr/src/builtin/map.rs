//! Members of Map. Own keys take precedence over them.

mod entries;
mod get;
mod set;

use super::signature::builtins;
use crate::value::Map;

builtins! {
    Map<'v>;
    get::Get,
    set::Set,
    entries::Entries,
}
