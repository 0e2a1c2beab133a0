//! Words with a meaning: reserved words, and words of other languages.

/// Words that cannot be variable names.
pub(crate) fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "let"
            | "return"
            | "if"
            | "else"
            | "try"
            | "catch"
            | "throw"
            | "typeof"
            | "new"
            | "null"
            | "true"
            | "false"
    )
}

/// The operator that a word of another language means.
pub(super) fn word_operator(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "and" => Some("&&"),
        "or" => Some("||"),
        "not" => Some("!"),
        "is" | "eq" | "equals" => Some("=="),
        _ => None,
    }
}

/// The help text for a JQL operator that is a word.
pub(super) fn jql_keyword_hint(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "in" => Some("write `['a', 'b'].includes(value)`"),
        "contains" | "has" | "like" => Some("write `text.includes('...')`"),
        "not" => Some("write `!=`, or `!` before a condition"),
        _ => None,
    }
}

/// Words that start a statement or operator of JavaScript.
pub(super) fn is_foreign(word: &str) -> bool {
    matches!(
        word,
        "for"
            | "while"
            | "do"
            | "switch"
            | "function"
            | "class"
            | "const"
            | "var"
            | "async"
            | "await"
            | "delete"
            | "instanceof"
            | "in"
            | "void"
            | "yield"
            | "finally"
    )
}
