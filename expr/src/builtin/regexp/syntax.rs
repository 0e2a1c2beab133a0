//! Translation of JavaScript patterns to the syntax of the `regex` crate.

/// White space of JavaScript, as members of a character class.
const SPACES: &str = "\\t-\\r\\x20\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\
    \\x{202F}\\x{205F}\\x{3000}\\x{FEFF}";

/// Translates JavaScript syntax to that of the `regex` crate.
pub(super) fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('b') if in_class => out.push_str("\\x08"),
                Some('b') => out.push_str("(?-u:\\b)"),
                Some('B') => out.push_str("(?-u:\\B)"),
                Some('s') => out.extend(["[", SPACES, "]"]),
                Some('S') => out.extend(["[^", SPACES, "]"]),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            // Doubled, these are set operations in the `regex` crate.
            '&' | '~' if in_class => out.extend(['\\', c]),
            // A literal hyphen must not form a set operation or a range.
            '-' if in_class && is_plain(&out) => out.push_str("\\-"),
            '.' if !in_class => out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a hyphen after this part of a class is a literal.
fn is_plain(class: &str) -> bool {
    let first = class.ends_with('[') && !class.ends_with("\\[") || class.ends_with("[^");
    first || class.ends_with('-') && !class.ends_with("\\-")
}
