//! Suggested replacements: for members that other languages have, and for comparing a map.

use crate::value::Type;

/// Returns what to write instead of `name` on a value of type `ty`.
pub(crate) fn suggest_replacement(ty: Type, name: &str) -> Option<&'static str> {
    Some(match (ty, name) {
        (Type::String, "startsWith") => "write `text.indexOf('...') == 0`",
        (Type::String, "endsWith") => "write `text.slice(-3) == '...'`",
        (Type::String | Type::List, "contains" | "has") => "write `includes`",
        (Type::String, "substring" | "substr") => "write `slice(start, end)`",
        (Type::String, "charAt" | "at") => "write `text[0]`",
        (Type::String, "replaceAll") => "write `replace`: it replaces every match",
        (Type::String, "search" | "test") => "write `text.match('...') != null`",
        (Type::String, "toLower" | "lower") => "write `toLowerCase()`",
        (Type::String, "toUpper" | "upper") => "write `toUpperCase()`",
        (Type::String | Type::List, "size" | "count") => "write `length`",
        (Type::String | Type::List, "isEmpty") => "write `length == 0`",
        (Type::List, "find") => "write `list.filter(x => ...)[0]`",
        (Type::List, "findIndex") => "write `list.map(x => ...).indexOf(true)`",
        (Type::List, "push" | "add") => "lists never change: write `list.concat(x)`",
        (Type::List, "at") => "write `list[0]`",
        (Type::List, "forEach") => "write `map`, `some` or `every`",
        (Type::List, "any") => "write `some(x => ...)`",
        (Type::List, "all") => "write `every(x => ...)`",
        (Type::List, _) => "it is a list: write `list.some(x => x.name == '...')`",
        _ => return None,
    })
}

/// Returns the path of the member that identifies the map at `path`.
pub(crate) fn member_to_compare(path: &str) -> String {
    let member = match path.rsplit('.').next() {
        Some("issue" | "parent" | "project" | "space") => "key",
        Some("assignee" | "reporter" | "creator" | "author") => "accountId",
        _ => "name",
    };
    format!("{path}.{member}")
}
